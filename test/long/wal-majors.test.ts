/** The log of every major that can be followed, as real servers write it, judged by what the servers themselves say of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMicros } from "../../src/point/continuous.ts";
import { formatLsn } from "../../src/wal/lsn.ts";
import { EMBEDDED_MAJORS, type EmbeddedMajor, embeddedPostgres } from "../harness/embedded.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { inspect } from "../wal/judges.ts";
import { busyRows, ends, LOG_SETTINGS, readLog, readWhole, rowsByFile, work } from "../wal/real-log.ts";

/** Many small transactions, as a desk's, and rows of many MiB. */
const LOAD = [
  "create extension pg_walinspect",
  `create procedure load(n int) language plpgsql as $$ begin
     for i in 1..n loop
       update busy set t = 'load ' || i where id = 1 + i % 4000;
       insert into wide values (i, repeat(md5(i::text), i % 300));
       if i % 7 = 0 then rollback; else commit; end if;
     end loop;
   end $$`,
  "call load(8000)",
  "insert into wide select g, (select string_agg(md5(n::text || g), '') from generate_series(1, 100000) n) from generate_series(1, 5) g",
  "alter table wide replica identity full",
  "delete from wide where id > 7000",
  "truncate wide",
  "create database another",
  "drop database another",
];

interface Variant {
  major: EmbeddedMajor;
  segmentMib?: number;
  settings: readonly string[];
}

const VARIANTS: readonly Variant[] = [
  ...EMBEDDED_MAJORS.map((major) => ({ major, settings: ["wal_compression=on"] })),
  ...EMBEDDED_MAJORS.map((major) => ({ major, segmentMib: 1, settings: ["wal_level=logical"] })),
  { major: 16, segmentMib: 64, settings: ["wal_level=logical", "wal_consistency_checking=all"] },
];

/** When each transaction was committed, as the server remembers it. */
async function commitTimes(server: TestServer, xids: readonly number[]): Promise<Map<number, string>> {
  const rows = await server.query(
    `select xid, to_char(pg_xact_commit_timestamp(xid::text::xid) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
     from unnest('{${xids.join(",")}}'::bigint[]) xid`,
  );
  return new Map(rows.map(({ xid, at }) => [Number(xid), String(at)]));
}

for (const { major, segmentMib, settings } of VARIANTS) {
  test(`the log of PostgreSQL ${major} with segments of ${segmentMib ?? 16} MiB and ${settings.join(", ")}`, async () => {
    const { programs } = await embeddedPostgres(major);
    await using server = await startPostgres({
      programs,
      settings: [...LOG_SETTINGS, ...settings],
      ...(segmentMib === undefined ? {} : { segmentMib }),
    });
    await work(server);
    const busy = await busyRows(server);
    const first = await readLog(server);
    const worked = readWhole(first.options, first.bytes);
    assert.equal(rowsByFile(worked.events)[busy.file], busy.rows);
    const begun = worked.reader.validTo;
    for (const sql of LOAD) if (major >= 15 || !sql.includes("walinspect")) await server.query(sql);

    const log = await readLog(server);
    const { reader, events, problem } = readWhole(log.options, log.bytes, [131_072, 77]);
    assert.equal(problem, undefined);
    assert.equal(formatLsn(reader.validTo), formatLsn(log.end));
    const commits = events.flatMap((event) => (event.kind === "commit" && event.lsn > begun ? [event] : []));
    const times = await commitTimes(
      server,
      commits.map(({ xid }) => xid),
    );
    for (const { xid, timeUs } of commits) assert.equal(formatMicros(timeUs), times.get(xid), String(xid));
    assert.ok(commits.length > 6_800 && commits.every(({ isWhole }) => isWhole));
    const named = commits.some(({ truncated }) => truncated.length > 0);
    assert.equal(named, settings.includes("wal_level=logical"));
    assert.ok(commits.some(({ dropped }) => dropped.length > 2));
    if (major < 15) return;
    const judged = await inspect(server, log);
    assert.equal(reader.records, judged.records.length);
    assert.deepEqual(ends(events), judged.ends);
    assert.deepEqual(rowsByFile(events), judged.rows);
  });
}
