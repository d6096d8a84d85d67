/**
 * A server that ran with `wal_level = minimal` for a while: what it wrote then cannot be replayed. What was before can be had to its end, a
 * base is taken at once, and what lies between is a gap that says why.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../src/base/clock.ts";
import { Failure } from "../../../src/base/errors.ts";
import { BaseKeeper } from "../../../src/job/continuous/keep-bases.ts";
import { lookAtWindow } from "../../../src/job/continuous/list.ts";
import type { AskedMoment } from "../../../src/point/moment.ts";
import { connect } from "../../../src/postgres/connect.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { recoverMoment } from "../../harness/recovered.ts";
import { StoppedPostgres } from "../../harness/stopped-postgres.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { FOLLOWED } from "../../scenario/protected-desk.ts";
import { IDENTITY } from "../memory-desk.ts";
import { ask, follow, TIMES } from "./following.ts";

const PATIENCE_MS = 120_000;

async function wordsAt(repository: Repository, asked: AskedMoment): Promise<unknown[]> {
  const places = { kinds: ["programs"] } as const;
  const of = { repository, installation: IDENTITY.id, asked, database: "postgres", places, signal };
  await using recovered = await recoverMoment(of);
  await using connection = await connect({ ...recovered.address, database: "postgres" }, { signal });
  return (await connection.query("select word from written order by at")).map(({ word }) => word);
}

test("what a server wrote with wal_level = minimal is a gap, a base is taken at once, and both sides can be had", async () => {
  await using server = await StoppedPostgres.make();
  const { address } = server;
  const write = async (word: string) => {
    await ask(address, `insert into written values ('${word}')`);
  };
  await server.start(FOLLOWED);
  await ask(address, "create table written (word text, at timestamptz default clock_timestamp())");
  const repository = await newRepository(createMemoryStore());
  const stop = new AbortController();
  const [reasons, taken]: [string[], string[]] = [[], []];
  const keeper = new BaseKeeper({
    places: [{ name: "one", open: async () => reopen(repository) }],
    address: () => address,
    identity: IDENTITY,
    program: "chatkeep test",
    rate: undefined,
    everyMs: undefined,
    mostLogBytes: async () => undefined,
    clock: { ...systemClock, sleep: async (_ms, end) => await systemClock.sleep(50, end) },
    signal: stop.signal,
    onBegin: (reason) => reasons.push(reason),
    onBase: ({ repository: name }) => taken.push(name),
    onServed() {},
    onTrouble() {},
  });
  {
    await using following = follow(
      address,
      { one: repository },
      {
        // All of it goes to the journal at first.
        times: { ...TIMES, spanBytes: 2 ** 30 },
        onLine: (begun) => keeper.lineBegun(begun),
        onState: ({ durableTo }) => keeper.position(durableTo),
        onEvents: (events, line) => keeper.events(events, line),
      },
    );
    const running = keeper.run();
    running.catch(() => {});
    const until = async (what: string, holds: () => boolean) => {
      const end = performance.now() + PATIENCE_MS;
      while (!holds()) {
        assert.ok(performance.now() < end, what);
        await sleep(50);
      }
    };
    await until("a base is there", () => taken.length === 1);
    await write("before");
    await following.caughtUp();
    await server.stop();
    await server.start([...FOLLOWED, "wal_level=minimal", "max_wal_senders=0"]);
    await write("meanwhile");
    await server.stop();
    await server.start(FOLLOWED);
    await until("another base is there", () => taken.length === 2);
    await write("after");
    await following.caughtUp();
    stop.abort(new Failure("run/cancelled", "the test is over"));
    await assert.rejects(running, /the test is over/);
  }
  assert.deepEqual(reasons.slice(1, 2), ["the server ran with wal_level = minimal since the newest"]);
  const told = async () => await lookAtWindow(reopen(repository), IDENTITY.id, { signal });
  const { window, spans } = await told();
  assert.deepEqual(spans, [], "the journal has all of it");
  const [before, after] = window.ranges;
  assert.ok(before !== undefined && after !== undefined && window.ranges.length === 2);
  assert.deepEqual(
    window.gaps.map(({ reason, from }) => [reason, from === before.to]),
    [
      ["log-minimal", true],
      ["no-base", false],
    ],
  );
  assert.ok(before.toUs !== undefined && before.toUs < after.fromUs);
  assert.deepEqual(await wordsAt(repository, { kind: "time", us: before.toUs }), ["before"]);
  assert.deepEqual(await wordsAt(repository, { kind: "lsn", lsn: before.to }), ["before"]);
  assert.deepEqual(await wordsAt(repository, { kind: "now" }), ["before", "meanwhile", "after"]);
  {
    // What the journal has becomes spans, and says the same.
    await using following = follow(address, { one: repository }, { times: { ...TIMES, spanMs: 0 } });
    await following.caughtUp();
    await following.until("it is in spans", () => (following.state()?.places[0]?.savedTo ?? 0n) >= after.from);
  }
  const later = await told();
  assert.ok(later.spans.some(({ span }) => span.minimal?.from === before.to));
  assert.deepEqual(later.window.gaps, window.gaps);
  const [same] = later.window.ranges;
  assert.deepEqual(
    [same?.from, same?.to, same?.fromUs, same?.toUs],
    [before.from, before.to, before.fromUs, before.toUs],
  );
  assert.deepEqual(await wordsAt(repository, { kind: "time", us: before.toUs }), ["before"]);
  const between = { kind: "time", us: before.toUs + 1n } as const;
  await assert.rejects(wordsAt(repository, between), { code: "moment/outside" });
});
