/** A real server's write-ahead log, written by statements of which is known what they did. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { formatLsn, type Lsn, parseLsn, parseSegmentName, segmentName } from "../../src/wal/lsn.ts";
import type { WalEvent } from "../../src/wal/events.ts";
import { createWalReader, type WalReader, type WalReaderOptions } from "../../src/wal/reader.ts";
import type { WalProblem } from "../../src/wal/problem.ts";
import type { TestServer } from "../harness/postgres.ts";

/** What the log needs that the tests' servers do not have by themselves. */
export const LOG_SETTINGS = [
  "full_page_writes=on",
  "wal_level=replica",
  "max_prepared_transactions=5",
  "track_commit_timestamp=on",
  "wal_keep_size=1GB",
  "max_wal_size=4GB",
];

export interface RealLog {
  readonly options: WalReaderOptions;
  /** From `options.from` to the end of the last record. */
  readonly bytes: Buffer;
  readonly end: Lsn;
  readonly folder: string;
}

const TRIES = 100;

/** The end of the log and whose it is, at a moment at which all of it is in its files. */
async function standOf(server: TestServer): Promise<Record<string, unknown>> {
  for (let n = 0; n < TRIES; n += 1) {
    // What came before it is in its file, too, when a commit returns that waits for that.
    await server.query(
      "begin; set local synchronous_commit = on; select pg_logical_emit_message(true, 'end', ''); commit",
    );
    const [row = {}] = await server.query(
      `select pg_current_wal_flush_lsn()::text as end, pg_current_wal_insert_lsn()::text as written,
         current_setting('data_directory') as data,
         (select system_identifier::text from pg_control_system()) as system,
         (select timeline_id from pg_control_checkpoint()) as timeline,
         (select bytes_per_wal_segment from pg_control_init()) as segment`,
    );
    // The server writes of its own accord, now and then, and may have half of that in its file.
    if (row["end"] === row["written"]) return row;
  }
  throw new Error(`the server wrote something of its own ${TRIES} times`);
}

/** All of the log that is there: nobody may write meanwhile. */
export async function readLog(server: TestServer): Promise<RealLog> {
  const row = await standOf(server);
  const folder = join(String(row["data"]), "pg_wal");
  const segmentBytes = Number(row["segment"]);
  const timeline = Number(row["timeline"]);
  const end = parseLsn(String(row["end"]));
  const names = (await readdir(folder)).map((name) => parseSegmentName(name, segmentBytes));
  const starts = names.flatMap((name) => (name?.timeline === timeline ? [name.start] : []));
  const start = starts.reduce((first, one) => (one < first ? one : first), end);
  const parts: Buffer[] = [];
  for (let at = start; at < end; at += BigInt(segmentBytes)) {
    parts.push(await readFile(join(folder, segmentName(timeline, at, segmentBytes))));
  }
  const bytes = Buffer.concat(parts).subarray(0, Number(end - start));
  const options = { from: start, major: server.major, systemId: String(row["system"]), timeline, segmentBytes };
  return { options, bytes, end, folder };
}

export interface Read {
  readonly reader: WalReader;
  readonly events: WalEvent[];
  readonly problem: WalProblem | undefined;
}

/** Reads bytes in pieces of the given lengths, again and again. */
export function readWhole(options: WalReaderOptions, bytes: Uint8Array, pieces: readonly number[] = [65_536]): Read {
  const reader = createWalReader(options);
  const events: WalEvent[] = [];
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const count = pieces[n % pieces.length] ?? bytes.length;
    events.push(...reader.push(bytes.subarray(at, at + count)).events);
    at += count;
  }
  return { reader, events, problem: reader.problem };
}

/** Everything that a transaction can leave in the log: rows of every kind, parts rolled back, prepared ones, files dropped. */
const WORK = [
  "create table busy (id int primary key, t text) with (fillfactor = 60)",
  "create table wide (id int, t text)",
  "insert into busy select g, repeat(chr(97 + g % 26), g % 90) from generate_series(1, 4000) g",
  "alter table wide alter t set storage external",
  "insert into wide select g, repeat(md5(g::text), 9000) from generate_series(1, 2) g",
  "update busy set t = t || '!' where id % 7 = 0",
  "update busy set id = id + 100000 where id % 50 = 0",
  "delete from busy where id % 10 = 1",
  "insert into busy values (1, 'again') on conflict do nothing",
  "create table copied as select g as id from generate_series(1, 3000) g",
  "checkpoint",
  "update busy set t = t || '?' where id % 9 = 0",
  "begin; insert into busy values (-1, 'a'); savepoint one; insert into busy values (-2, 'b'); savepoint two; delete from busy where id = -1; commit",
  "begin; insert into busy values (-3, 'a'); savepoint one; insert into busy values (-4, 'b'); rollback to one; insert into busy values (-5, 'c'); commit",
  "begin; insert into busy values (-6, 'a'); rollback",
  "begin; insert into busy values (-7, 'a'); savepoint one; insert into busy values (-8, 'b'); prepare transaction 'both'",
  "commit prepared 'both'",
  "begin; insert into busy values (-9, 'a'); prepare transaction 'neither'",
  "rollback prepared 'neither'",
  "begin; drop table copied; prepare transaction 'dropped'",
  "commit prepared 'dropped'",
  "select pg_create_restore_point('before everything went')",
  "select pg_switch_wal()",
  "begin; truncate wide; insert into wide values (1, 'one'); truncate wide; commit",
  "vacuum busy",
] as const;

export async function work(server: TestServer): Promise<void> {
  for (const sql of WORK) await server.query(sql);
}

/** Counts per file, `inserted/updated/deleted`, of all that ended. */
export function rowsByFile(events: readonly WalEvent[]): Record<string, string> {
  const sums = new Map<string, number[]>();
  for (const event of events) {
    if (event.kind !== "commit" && event.kind !== "abort") continue;
    for (const { tablespace, database, relation, inserted, updated, deleted } of event.rows) {
      const name = `${tablespace}/${database}/${relation}`;
      const [i = 0, u = 0, d = 0] = sums.get(name) ?? [];
      sums.set(name, [i + inserted, u + updated, d + deleted]);
    }
  }
  const counted = [...sums].filter(([, counts]) => counts.some((count) => count > 0));
  return Object.fromEntries(counted.map(([name, counts]) => [name, counts.join("/")]));
}

/** Each end of a transaction in one line: where its record begins, its number, what became of it and when. */
export function ends(events: readonly WalEvent[]): string[] {
  return events.flatMap((event) =>
    event.kind === "commit" || event.kind === "abort"
      ? [`${formatLsn(event.startLsn)} ${event.xid} ${event.kind} ${event.timeUs}`]
      : [],
  );
}

/** What {@link work} did to the table `busy`, and its file, as {@link rowsByFile} has both. */
export async function busyRows(server: TestServer): Promise<{ file: string; rows: string }> {
  const [row = {}] = await server.query(
    "select (select oid from pg_database where datname = current_database()) as db, pg_relation_filenode('busy') as file",
  );
  return { file: `1663/${Number(row["db"])}/${Number(row["file"])}`, rows: "4010/1052/401" };
}
