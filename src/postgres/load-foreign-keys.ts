/**
 * Foreign keys of a database that lacks rows: each is made without looking at the rows that are there, then they are looked at.
 * One that does not hold stays so: PostgreSQL then holds new rows to it, and old ones not.
 */
import { readFile } from "node:fs/promises";
import { decodeArchive } from "./archive.ts";
import type { Connection } from "./connect.ts";
import { sqlState } from "./server-errors.ts";

export interface ForeignKey {
  /** Of the entry in the archive. */
  id: number;
  /** As pg_dump writes it. */
  definition: string;
}

const VIOLATED = "23503";
const MADE = /^ALTER TABLE (?:ONLY )?([^]+?)\s+ADD CONSTRAINT ([^]+?) FOREIGN KEY/;

/** @param path the schema's archive. */
export async function readForeignKeys(path: string): Promise<ForeignKey[]> {
  const { entries } = decodeArchive(await readFile(path));
  return entries
    .filter(({ kind }) => kind === "FK CONSTRAINT")
    .map(({ id, definition }) => ({
      id,
      definition: Buffer.from(definition ?? "", "latin1")
        .toString("utf8")
        .trim(),
    }));
}

export async function addForeignKey(connection: Connection, definition: string): Promise<void> {
  const isOpen = definition.endsWith(" NOT VALID;");
  await connection.query(isOpen ? definition : definition.replace(/;$/, " NOT VALID;"));
  const [, table, name] = MADE.exec(definition) ?? [];
  if (isOpen || table === undefined || name === undefined) return;
  try {
    await connection.query(`alter table ${table} validate constraint ${name}`);
  } catch (error) {
    if (sqlState(error) !== VIOLATED) throw error;
  }
}
