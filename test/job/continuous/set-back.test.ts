/**
 * A server's clock ran years ahead for a while and was set right: a moment of afterwards is that moment, `now` is the end of the log, and
 * what the window says lies in no future.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { silent } from "../../../src/base/progress.ts";
import { findServingBases } from "../../../src/job/continuous/moment-source.ts";
import { lookAtWindow } from "../../../src/job/continuous/list.ts";
import { passageOf } from "../../../src/job/continuous/set-back.ts";
import { type AskedMoment, parseMoment } from "../../../src/point/moment.ts";
import { randomMoment } from "../../../src/policy/random-moment.ts";
import { connect } from "../../../src/postgres/connect.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { parseLsn } from "../../../src/wal/lsn.ts";
import { startPostgres, type TestServer } from "../../harness/postgres.ts";
import { recoverMoment } from "../../harness/recovered.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { FOLLOWED, protect, serverTime } from "../../scenario/protected-desk.ts";
import { IDENTITY } from "../memory-desk.ts";

const TEN_YEARS_US = 10n * 365n * 86_400_000_000n;

let server: TestServer;
let repository: Repository;
const times: Record<string, string> = {};
const positions: Record<string, bigint> = {};

/** A row in a transaction of its own, and when that was over. */
async function write(word: string): Promise<void> {
  await server.query(`insert into written values ('${word}')`);
  times[word] = await serverTime(server);
  const [row] = await server.query("select pg_current_wal_insert_lsn()::text as lsn");
  positions[word] = parseLsn(String(row?.["lsn"]));
}

before(async () => {
  server = await startPostgres({ settings: FOLLOWED });
  repository = await newRepository(createMemoryStore());
  await server.query("create table written (word text)");
  const protection = await protect(server, IDENTITY, { database: "postgres" });
  await write("before");
  // These two are in a segment of their own, or in one with what is before and behind.
  await server.query("select pg_switch_wal()");
  await write("ahead");
  await write("ahead too");
  await write("right again");
  await write("last");
  const [from, to] = [positions["before"] ?? 0n, positions["ahead too"] ?? 0n];
  await protection.finish(repository, {
    retime: ({ lsn, timeUs }) => (lsn > from && lsn <= to ? timeUs + TEN_YEARS_US : timeUs),
  });
});

after(async () => await server[Symbol.asyncDispose]());

async function wordsAt(asked: AskedMoment): Promise<unknown[]> {
  await using recovered = await recoverMoment({
    repository,
    installation: IDENTITY.id,
    asked,
    database: "postgres",
    places: { kinds: ["programs"] },
    signal,
  });
  await using connection = await connect({ ...recovered.address, database: "postgres" }, { signal });
  return (await connection.query("select word from written")).map(({ word }) => word);
}

function timeOf(word: string, aheadUs = 0n): AskedMoment & { kind: "time" } {
  const asked = parseMoment(times[word] ?? "", 0);
  assert.ok(asked?.kind === "time");
  return { kind: "time", us: asked.us + aheadUs };
}

test("a time after the clock was set right has all that came until then", async () => {
  assert.deepEqual(await wordsAt(timeOf("right again")), ["before", "ahead", "ahead too", "right again"]);
});

test("a time before, one of the wrong clock, and now are what they were", async () => {
  assert.deepEqual(await wordsAt(timeOf("before")), ["before"]);
  assert.deepEqual(await wordsAt(timeOf("ahead", TEN_YEARS_US)), ["before", "ahead"]);
  assert.deepEqual(await wordsAt({ kind: "now" }), ["before", "ahead", "ahead too", "right again", "last"]);
});

async function found(asked: AskedMoment) {
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  const search = { repository: fresh, installationId: IDENTITY.id, asked, signal };
  const { serving, continuous } = await findServingBases(search);
  assert.ok(serving[0] !== undefined);
  return await passageOf(serving[0], continuous, { repository: fresh, clock: systemClock, progress: silent, signal });
}

test("that the clock had a time twice is said, with both positions, and nothing of one that it had once", async () => {
  const passage = await found(timeOf("right again"));
  assert.ok(passage?.lsn !== undefined && passage.lsn <= (positions["right again"] ?? 0n));
  assert.ok(passage.lsn > (positions["ahead too"] ?? 0n));
  const [finding] = passage.findings;
  assert.equal(finding?.kind, "moment-clock-set-back");
  const [, last = "", first = ""] =
    /the last time is taken, lsn:(\S+); the first is lsn:(\S+)$/.exec(finding.message) ?? [];
  assert.equal(parseLsn(last), passage.lsn);
  assert.ok(parseLsn(first) <= (positions["before"] ?? 0n), first);
  assert.equal(await found({ kind: "now" }), undefined);
  // What follows is dated in the future.
  const before = await found(timeOf("before"));
  assert.equal(before?.lsn, undefined);
  assert.deepEqual(
    before?.findings.map(({ kind, level }) => `${level} ${kind}`),
    ["warning moment-clock-ahead"],
  );
});

test("the window ends with what was committed last, and every moment by chance lies in it", async () => {
  const { window } = await lookAtWindow(reopen(repository), IDENTITY.id, { signal });
  const [range, ...others] = window.ranges;
  assert.ok(range?.toUs !== undefined && others.length === 0);
  assert.ok(range.toUs <= timeOf("last").us && range.toUs > timeOf("right again").us);
  for (const share of [0n, 1n, 2n]) {
    const us = randomMoment(window, (end) => ((end - 1n) * share) / 2n);
    assert.ok(us !== undefined && us >= range.fromUs && us <= range.toUs);
  }
});
