/** What a crash and a promotion leave in the log of a real server. */
import assert from "node:assert/strict";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Client } from "pg";
import { parseHistory } from "../../src/wal/history.ts";
import { formatLsn, historyName, type Lsn, parseLsn, segmentName, segmentStart } from "../../src/wal/lsn.ts";
import { startPostgres, type TestAddress } from "../harness/postgres.ts";
import { startStandby } from "../harness/standby.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { LOG_SETTINGS, readLog, readWhole } from "../wal/real-log.ts";

async function ask(address: TestAddress, ...statements: readonly string[]): Promise<string[]> {
  const client = new Client(address);
  // The server is crashed under it.
  client.on("error", () => {});
  await client.connect();
  const found: string[] = [];
  for (const sql of statements) {
    const { rows } = await client.query<{ found?: string }>(sql);
    if (rows[0]?.found !== undefined) found.push(rows[0].found);
  }
  await client.end();
  return found;
}

/** Zeros a file from a place on: what was written there never reached the disk. */
async function loseFrom(file: string, at: number): Promise<void> {
  const handle = await open(file, "r+");
  const { size } = await handle.stat();
  await handle.write(Buffer.alloc(size - at), 0, size - at, at);
  await handle.close();
}

/** Written to the log's file when it returns. */
const INSERT = ["set synchronous_commit = on", "insert into kept values (1)"];
const INSERT_LSN = "select pg_current_wal_insert_lsn()::text as found";

test("a record of which a crash lost the end is given up, and the log goes on behind it", async () => {
  await using server = await StoppedPostgres.make();
  const settings = [...LOG_SETTINGS, "autovacuum=off", "checkpoint_timeout=1h"];
  await server.start(settings);
  const [before = "", after = ""] = await ask(
    server.address,
    "create table kept (id int)",
    INSERT_LSN,
    "select from pg_logical_emit_message(false, 'lost', repeat('x', 60000))",
    INSERT_LSN,
    ...INSERT,
  );
  await server.crash();
  const [from, to] = [parseLsn(before), parseLsn(after)];
  const lost: Lsn = ((from + to) / 2n / 8192n) * 8192n;
  const segment = 2 ** 24;
  const file = join(server.data, "pg_wal", segmentName(1, lost, segment));
  assert.equal(segmentStart(from, segment), segmentStart(to, segment));
  await loseFrom(file, Number(lost - segmentStart(lost, segment)));
  await server.start(settings);
  await ask(server.address, ...INSERT);
  const [system = "", end = ""] = await ask(
    server.address,
    "select system_identifier::text as found from pg_control_system()",
    "select pg_current_wal_flush_lsn()::text as found",
  );

  const start = segmentStart(lost, segment);
  const bytes = (await readFile(file)).subarray(0, Number(parseLsn(end) - start));
  const options = { from: start, major: 15, systemId: system, timeline: 1, segmentBytes: segment };
  const { events, problem, reader } = readWhole(options, bytes, [1000]);
  assert.equal(problem, undefined);
  assert.equal(formatLsn(reader.validTo), end);
  const given = events.find(({ kind }) => kind === "overwritten");
  assert.ok(given?.kind === "overwritten" && given.lost >= from && given.lost < lost);
  const later = events.filter(({ lsn }) => lsn > given.lsn);
  assert.deepEqual(
    later.map(({ kind }) => kind),
    ["restart", "commit"],
  );
});

test("after a promotion the log is read on the new timeline, from the segment that both have", async () => {
  await using primary = await startPostgres({ settings: LOG_SETTINGS });
  await primary.query("create table t (id int); insert into t select generate_series(1, 1000)");
  await using standby = await startStandby(primary, LOG_SETTINGS);
  await primary.query("insert into t select generate_series(1, 1000)");
  await standby.caughtUp();
  await standby.promote();
  await standby.query("insert into t select generate_series(1, 1000)");
  // What a checkpoint tells of timelines is asked for below.
  await standby.query("checkpoint");
  const log = await readLog(standby);
  const history = parseHistory(2, await readFile(join(log.folder, historyName(2)), "utf8"));
  assert.ok(history !== undefined && log.options.timeline === 2);
  const [parent] = history.parents;
  assert.ok(parent?.timeline === 1 && parent.switchLsn > log.options.from);

  const { events, problem, reader } = readWhole({ ...log.options, timeline: history }, log.bytes);
  assert.equal(problem, undefined);
  assert.equal(formatLsn(reader.validTo), formatLsn(log.end));
  const started = events.find(({ kind }) => kind === "timeline");
  assert.ok(started?.kind === "timeline");
  assert.deepEqual([started.startLsn, started.timeline, started.parent], [parent.switchLsn, 2, 1]);
  assert.equal(readWhole(log.options, log.bytes).problem?.kind, "timeline");
  // Where a page begins exactly as the timelines part, or amid one: from the switch on there is nothing but the new one.
  const skipped = Number(parent.switchLsn - log.options.from);
  const rest = readWhole({ ...log.options, from: parent.switchLsn, timeline: history }, log.bytes.subarray(skipped));
  assert.deepEqual([rest.problem, rest.reader.validTo], [undefined, log.end]);
});
