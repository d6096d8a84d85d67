/**
 * Foreign keys of a database that lacks rows: each is made without looking at the rows that are there, then they are looked at.
 * One that does not hold stays so: PostgreSQL then holds new rows to it, and old ones not. Where it cannot do that, it is left out.
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
const WRONG_OBJECT = "42809";
const NOT_VALID = " NOT VALID;";
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

/** A key that the rows which are there do not keep. */
export interface UnheldKey {
  /** As pg_dump writes it for the whole database. */
  definition: string;
  /** `fk_name of public.child`. */
  shown: string;
  /** Not there at all; otherwise it is there as NOT VALID. */
  isLeftOut: boolean;
}

/** @returns those that do not hold. */
export async function addForeignKeys(connection: Connection, keys: readonly ForeignKey[]): Promise<UnheldKey[]> {
  const unheld: UnheldKey[] = [];
  for (const { definition } of keys) {
    const [, table, name] = MADE.exec(definition) ?? [];
    const state = await addForeignKey(
      connection,
      definition,
      table === undefined ? "" : `${table} validate constraint ${name}`,
    );
    const shown = `${name ?? definition} of ${table ?? "a table"}`;
    if (state !== "holds") unheld.push({ definition, shown, isLeftOut: state === "left out" });
  }
  return unheld;
}

async function addForeignKey(
  connection: Connection,
  definition: string,
  validation: string,
): Promise<"holds" | "not valid" | "left out"> {
  if (definition.endsWith(NOT_VALID)) {
    await connection.query(definition);
    return "holds";
  }
  try {
    await connection.query(asNotValid(definition));
  } catch (error) {
    // Of a partitioned table, until PostgreSQL 18.
    if (sqlState(error) !== WRONG_OBJECT) throw error;
    return (await isDone(connection, definition)) ? "holds" : "left out";
  }
  return validation !== "" && (await isDone(connection, `alter table ${validation}`)) ? "holds" : "not valid";
}

/** False where the rows do not keep the key. */
async function isDone(connection: Connection, statement: string): Promise<boolean> {
  try {
    await connection.query(statement);
    return true;
  } catch (error) {
    if (sqlState(error) !== VIOLATED) throw error;
    return false;
  }
}

/** The same key for new rows alone. */
export function asNotValid(definition: string): string {
  return `${definition.replace(/;$/, "")}${NOT_VALID}`;
}
