/**
 * Two databases are the same when pg_dump says the same of them. pg_dump writes rows as they lie in the heap, so
 * the lines of each COPY block are sorted; and its `\restrict` token is random, so those lines are left out.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TestAddress } from "./postgres.ts";
import { installedServers } from "./postgres.ts";
import { mustRun } from "./run.ts";

export interface DumpOptions {
  /** The folder with `pg_dump`; by default the newest that is installed. */
  programs?: string;
  /** With owners and rights, and the database's own entry. */
  isWhole?: boolean;
  /** More arguments for pg_dump. */
  args?: readonly string[];
}

/** The plain dump of a database as lines that can be compared. */
export async function dumpLines(address: TestAddress, options: DumpOptions = {}): Promise<string[]> {
  const folder = options.programs ?? installedServers()[0]?.programs ?? "";
  const program = existsSync(join(folder, "pg_dump")) ? join(folder, "pg_dump") : "pg_dump";
  const { stdoutBytes } = await mustRun(
    program,
    [...(options.isWhole === true ? ["--create"] : ["--no-owner", "--no-acl"]), ...(options.args ?? [])],
    {
      env: {
        PGHOST: address.host,
        PGPORT: String(address.port),
        PGUSER: address.user,
        PGPASSWORD: address.password ?? "",
        PGDATABASE: address.database,
      },
    },
  );
  // latin1 keeps every byte, whatever the text holds.
  return sortCopyBlocks(stdoutBytes.toString("latin1").split("\n"));
}

/** Sorts the rows of each COPY block and leaves out the `\restrict` lines. Pure. */
export function sortCopyBlocks(lines: readonly string[]): string[] {
  const out: string[] = [];
  let rows: string[] | undefined;
  for (const line of lines) {
    if (rows !== undefined && line === "\\.") {
      for (const row of rows.toSorted()) out.push(row);
      rows = undefined;
      out.push(line);
    } else if (rows !== undefined) rows.push(line);
    else if (!line.startsWith("\\restrict ") && !line.startsWith("\\unrestrict ")) {
      out.push(line);
      if (/^COPY .* FROM stdin;$/.test(line)) rows = [];
    }
  }
  return out;
}

/** Fails with the first lines that differ, unless pg_dump says the same of both databases. */
export async function assertSameDatabase(a: TestAddress, b: TestAddress, options: DumpOptions = {}): Promise<void> {
  const left = await dumpLines(a, options);
  const right = await dumpLines(b, options);
  const at = left.findIndex((line, index) => line !== right[index]);
  if (at === -1 && left.length === right.length) return;
  const from = Math.max(0, (at === -1 ? left.length : at) - 2);
  assert.deepEqual(
    right.slice(from, from + 8),
    left.slice(from, from + 8),
    `the dumps differ from line ${from + 3} on`,
  );
  assert.equal(right.length, left.length, "the dumps have different lengths");
}
