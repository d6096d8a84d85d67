/** How the demo talks to its database: as the application would, straight through `pg`. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Client } from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { bug } from "../base/errors.ts";
import type { ColumnFact } from "./catalogue.ts";

/** Where a server is and whom to be there. Has the fields of `ServerAddress` in `postgres/`. */
export interface DemoAddress {
  host: string;
  port: number;
  user: string;
  password?: string | undefined;
  database: string;
}

/** A value of a row: objects and arrays become JSON, text stands as it is, numbers in a vector column its text. */
export type Value = string | number | boolean | null | object;
export type Row = Readonly<Record<string, Value>>;

/** Runs `act` on a connection of its own. */
export async function onDatabase<T>(address: DemoAddress, act: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ ...address, application_name: "chatkeep demo" });
  // A connection that breaks while idle makes the next query fail; nothing more is to be done about it.
  client.on("error", () => {});
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/** Quotes an SQL identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes an SQL text for statements that take no parameters. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function formatField(value: Value, { type }: ColumnFact, hasVector: boolean): string {
  if (value === null) return "\\N";
  if (typeof value === "boolean") return value ? "t" : "f";
  let text: string;
  if (typeof value === "object") {
    text = JSON.stringify(value);
    // pgvector writes [1,2]; where it is lacking the column is an array, which is written {1,2}.
    if (type === "vector" && !hasVector) text = `{${text.slice(1, -1)}}`;
  } else text = String(value);
  return text.replaceAll(/[\\\n\r\t]/g, (character) => ESCAPES[character] ?? character);
}

export interface CopyOptions {
  columns: readonly ColumnFact[];
  hasVector: boolean;
  signal: AbortSignal;
}

/** Loads rows, which all have the same columns as the first one; other columns get their defaults. */
export async function copyRows(
  client: Client,
  table: string,
  rows: readonly Row[],
  { columns, hasVector, signal }: CopyOptions,
): Promise<void> {
  const [first] = rows;
  if (first === undefined) return;
  const given = Object.keys(first).map((name) => {
    const column = columns.find((fact) => fact.name === name);
    if (column === undefined) throw bug(`the demo writes ${table}.${name}, which Chatwoot does not have`);
    return column;
  });
  const names = given.map(({ name }) => quoteName(name)).join(", ");
  function* lines() {
    for (const row of rows) {
      yield `${given.map((column) => formatField(row[column.name] ?? null, column, hasVector)).join("\t")}\n`;
    }
  }
  const target = client.query(copyFrom(`COPY ${quoteName(table)} (${names}) FROM STDIN`));
  await pipeline(Readable.from(batches(lines())), target, { signal });
}

/** Joins lines to pieces worth sending. */
function* batches(lines: Iterable<string>): Generator<string> {
  let batch: string[] = [];
  for (const line of lines) {
    batch.push(line);
    if (batch.length === 500) {
      yield batch.join("");
      batch = [];
    }
  }
  if (batch.length > 0) yield batch.join("");
}
