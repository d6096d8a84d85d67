/** Looks for what was there before, in everything that a dump of the database would hold, and in files. */
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Scanner } from "../../chatwoot/originals.ts";
import { readTables } from "../../postgres/catalogue.ts";
import type { Connection } from "../../postgres/connect.ts";
import { qualifiedName, shownName } from "../../postgres/names.ts";
import { readFilledViews } from "../../postgres/views.ts";

export interface FoundOriginals {
  /** A table, a view, or a file below the folder. */
  readonly where: string;
  readonly count: number;
}

interface Source {
  readonly where: string;
  readonly select: string;
}

/** Where originals stand in the rows of tables and filled views, and how many. */
export async function originalsInRows(
  connection: Connection,
  scanner: Scanner,
  { signal }: { signal: AbortSignal },
): Promise<FoundOriginals[]> {
  const { tables } = await readTables(connection);
  const sources = [...tables, ...(await readFilledViews(connection))].map((one) => ({
    where: shownName(one),
    select: `select * from ${qualifiedName(one)}`,
  }));
  return await originalsIn(connection, sources, scanner, { signal });
}

/** Where originals stand in what the server remembers of columns; of rows that are written anew, and not before. */
export async function originalsInStatistics(
  connection: Connection,
  scanner: Scanner,
  { signal }: { signal: AbortSignal },
): Promise<FoundOriginals[]> {
  const select = `select most_common_vals::text, histogram_bounds::text from pg_catalog.pg_stats
      where schemaname not in ('pg_catalog', 'information_schema')`;
  return await originalsIn(connection, [{ where: "pg_stats", select }], scanner, { signal });
}

async function originalsIn(
  connection: Connection,
  sources: readonly Source[],
  scanner: Scanner,
  { signal }: { signal: AbortSignal },
): Promise<FoundOriginals[]> {
  const found: FoundOriginals[] = [];
  for (const { where, select } of sources) {
    const count = await countIn(connection.copyTo(`copy (${select}) to stdout`), scanner, { signal });
    if (count > 0) found.push({ where, count });
  }
  return found;
}

/** Where originals stand in the files of a folder: in their names, and in their bytes. */
export async function originalsInFolder(
  folder: string,
  scanner: Scanner,
  { signal }: { signal: AbortSignal },
): Promise<FoundOriginals[]> {
  const found: FoundOriginals[] = [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const inName = scanner.count(entry.name);
    const inBytes = entry.isFile()
      ? await countIn(createReadStream(join(entry.parentPath, entry.name)), scanner, { signal })
      : 0;
    if (inName + inBytes > 0) found.push({ where: join(entry.parentPath, entry.name), count: inName + inBytes });
  }
  return found;
}

/** A row or a line is looked at whole, unless it is longer than this: then what is cut is looked at with what follows. */
const PIECE_CHARS = 4 * 1024 * 1024;
const OVERLAP_CHARS = 4096;

async function countIn(stream: Readable, scanner: Scanner, { signal }: { signal: AbortSignal }): Promise<number> {
  const decoder = new TextDecoder("utf-8");
  let rest = "";
  let count = 0;
  for await (const bytes of stream) {
    signal.throwIfAborted();
    rest += decoder.decode(bytes as Uint8Array, { stream: true });
    const end = rest.lastIndexOf("\n");
    if (end >= 0) {
      count += scanner.count(rest.slice(0, end));
      rest = rest.slice(end + 1);
    } else if (rest.length > PIECE_CHARS) {
      count += scanner.count(rest);
      rest = rest.slice(-OVERLAP_CHARS);
    }
  }
  return count + scanner.count(rest + decoder.decode());
}
