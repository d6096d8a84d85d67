/** Damages pages of a running server's tables, and mends them again. */
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { TestServer } from "../harness/postgres.ts";

const PAGE = 8192;

/** Few buffers, so that a page that was not looked at lately is read from the disk. */
export const FEW_BUFFERS = ["shared_buffers=512kB", "max_connections=20"] as const;

async function one(server: TestServer, database: string, sql: string): Promise<string> {
  const [row] = await server.query(sql, database);
  return String(Object.values(row ?? {})[0]);
}

/** The page that a row lies on. */
export async function pageOf(server: TestServer, database: string, table: string, where: string): Promise<number> {
  return Number(await one(server, database, `select (ctid::text::point)[0]::int from ${table} where ${where}`));
}

/** The ids of the rows on a page. */
export async function idsOn(server: TestServer, database: string, table: string, page: number): Promise<number[]> {
  const sql = `select id from ${table} where ctid >= '(${page},0)' and ctid < '(${page + 1},0)' order by id`;
  return (await server.query(sql, database)).map(({ id }) => Number(id));
}

async function fileOf(server: TestServer, database: string, table: string): Promise<string> {
  return join(
    await one(server, database, "show data_directory"),
    await one(server, database, `select pg_relation_filepath('${table}')`),
  );
}

/**
 * Turns one bit in the middle of a page on the disk, whose checksum then tells: by its head it is as old as it was. The function that
 * comes back turns it back.
 */
export async function turnBit(
  server: TestServer,
  database: string,
  table: string,
  page: number,
): Promise<() => Promise<void>> {
  const file = await fileOf(server, database, table);
  await server.query("checkpoint", database);
  const turn = () => {
    const handle = openSync(file, "r+");
    try {
      const byte = Buffer.alloc(1);
      const at = page * PAGE + 5000;
      readSync(handle, byte, 0, 1, at);
      writeSync(handle, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
    } finally {
      closeSync(handle);
    }
  };
  turn();
  return async () => turn();
}

/** Writes nonsense over a page on the disk; the function that comes back mends it. */
export async function damagePage(
  server: TestServer,
  database: string,
  table: string,
  page: number,
): Promise<() => Promise<void>> {
  const file = await fileOf(server, database, table);
  await server.query("checkpoint", database);
  await evict(server, database);
  const before = Buffer.alloc(PAGE);
  const exchange = (bytes: Uint8Array) => {
    const handle = openSync(file, "r+");
    try {
      if (bytes !== before) readSync(handle, before, 0, PAGE, page * PAGE);
      writeSync(handle, bytes, 0, PAGE, page * PAGE);
    } finally {
      closeSync(handle);
    }
  };
  exchange(Buffer.alloc(PAGE, 0xa5));
  return async () => {
    await evict(server, database);
    exchange(before);
  };
}

/** Other pages take all buffers. */
async function evict(server: TestServer, database: string): Promise<void> {
  // A large table's plain scan keeps to a few buffers of its own, an index's does not.
  const settings = "set enable_seqscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off";
  const looks = ["attname) from pg_attribute where attrelid > 0", "prosrc) from pg_proc where oid > 0"];
  const all = looks.map((look) => `select count(${look}`).join("; ");
  await server.query([settings, ...Array.from({ length: 6 }, () => all)].join("; "), database);
}
