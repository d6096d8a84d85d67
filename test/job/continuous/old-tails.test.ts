/** What an old primary wrote alone comes to be known, whichever repository has it, and however often a watch is started anew. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Failure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import { type LeftBehind, OldTails } from "../../../src/job/continuous/old-tails.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { newRepository, reopen } from "../../repo/small-backup.ts";
import { commit, insertion, OPTIONS, writeLog } from "../../wal/log-writer.ts";
import { putBase } from "./bases.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "./spans.ts";

const PATIENCE_MS = 30_000;
const AWAY = new Failure("store/unreachable", "no answer");
const HOUR = 3_600_000;

/** A log that was left behind its first commit, and where that was. @param commits after it. */
function logWith(commits: number) {
  const log = writeLog({ ...OPTIONS, from: START, systemId: LINE.systemId });
  log.add(insertion(700, 16_384));
  log.add(commit(700));
  const leftAt = log.at;
  log.add(insertion(701, 16_384));
  for (let xid = 701; xid < 701 + commits; xid += 1) log.add(commit(xid));
  return { bytes: log.bytes().subarray(0, Number(log.at - START)), leftAt, end: log.at };
}

/** @param leftMs When it got the first of the next timeline; nothing of that without it. */
async function repositoryWith(bytes: Buffer, leftMs?: number): Promise<Repository> {
  await using folder = await temporaryFolder();
  const repository = await newRepository(createMemoryStore());
  await putBase(repository, folder.path);
  await putJournal(repository, { at: 0, bytes });
  const next = { at: 0, bytes: Buffer.alloc(SEGMENT), timeline: 2 };
  if (leftMs !== undefined) await putSpan(repository, { ...next, atMs: leftMs });
  return repository;
}

interface Place {
  readonly name: string;
  readonly repository: Repository;
  /** Whether it does not answer. @param times how often it was asked before. */
  isAway: (times: number) => boolean;
  opened: number;
}

function placeOf(name: string, repository: Repository, isAway: Place["isAway"] = () => false): Place {
  return { name, repository, isAway, opened: 0 };
}

function watch(places: readonly Place[], leftAt: bigint | undefined, clock = new HandClock()) {
  const told: LeftBehind[] = [];
  const stop = new AbortController();
  const tails = new OldTails({
    places: places.map((place) => ({
      name: place.name,
      open: async () => {
        place.opened += 1;
        if (place.isAway(place.opened - 1)) throw AWAY;
        return reopen(place.repository);
      },
    })),
    installation: LINE.installation,
    clock,
    signal: stop.signal,
    onTail: (left) => void told.push(left),
  });
  const running = tails.run();
  running.catch(() => {});
  const parents = leftAt === undefined ? [] : [{ timeline: 1, switchLsn: leftAt, reason: "" }];
  tails.lineBegun({ line: { ...LINE, timeline: 2 }, history: { timeline: 2, parents } });
  const last = () => {
    const commits = told.at(-1)?.commits;
    return typeof commits === "object" ? commits.count : commits;
  };
  return {
    tails,
    told,
    clock,
    last,
    async until(what: string, holds: () => boolean) {
      const end = performance.now() + PATIENCE_MS;
      for (; !holds(); await sleep(2)) assert.ok(performance.now() < end, `${what}: ${last()}`);
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Failure("run/cancelled", "the test is over"));
      await assert.rejects(running, /the test is over/);
    },
  };
}

test("it is known at once, and counted then; the repositories that have it are named, the one that has most first", async () => {
  const { bytes, leftAt, end } = logWith(2);
  const less = await repositoryWith(bytes.subarray(0, bytes.length - 8));
  await using watched = watch([placeOf("less", less), placeOf("most", await repositoryWith(bytes))], leftAt);
  await watched.until("it is counted", () => watched.last() === 2 && watched.told.at(-1)?.repositories.length === 2);
  assert.equal(watched.told[0]?.commits, "counting");
  const { line, from, to, repositories } = watched.told.at(-1) ?? {};
  assert.deepEqual(
    { line, from, to, repositories },
    { line: LINE, from: leftAt, to: end, repositories: ["most", "less"] },
  );
});

test("while it cannot be counted nobody is told of what may be nothing; after a while that it may be, and the count when it is known", async () => {
  const { bytes, leftAt } = logWith(1);
  // It is listed, and then gives nothing.
  const place = placeOf("primary", await repositoryWith(bytes), (times) => times > 0);
  await using watched = watch([place], leftAt);
  const { clock } = watched;
  for (let waited = 0; waited < LIMITS.oldTailPatienceMs; waited += LIMITS.oldTailRetryMs) {
    await watched.until("it waits to try again", () => clock.asleep === 3);
    assert.equal(watched.last(), "counting");
    await clock.advance(LIMITS.oldTailRetryMs);
  }
  await watched.until("patience is over", () => watched.last() === "unknown");
  assert.ok(place.opened > 3, "it was tried again meanwhile");
  place.isAway = () => false;
  await clock.advance(LIMITS.oldTailRetryMostMs);
  await watched.until("it is counted", () => watched.last() === 1);
});

test("what a slow place stores of the old line after the new one began is seen later", async () => {
  const { bytes, leftAt } = logWith(1);
  const repository = await repositoryWith(bytes.subarray(0, Number(leftAt - START)));
  await using watched = watch([placeOf("primary", repository)], leftAt);
  await watched.until("it was looked", () => watched.clock.asleep === 1);
  assert.equal(watched.told.length, 0);
  const at = Number(leftAt - START);
  await putJournal(repository, { at, bytes: bytes.subarray(at) });
  await watched.clock.advance(LIMITS.oldTailAgainMs);
  await watched.until("it is counted", () => watched.last() === 1);
});

test("a failover that left no commit behind is known as such, however often its store did not answer", async () => {
  const { bytes, leftAt } = logWith(0);
  const place = placeOf("primary", await repositoryWith(bytes), (times) => times % 2 === 1);
  await using watched = watch([place], leftAt);
  await watched.until("it waits to try again", () => watched.clock.asleep === 3);
  await watched.clock.advance(LIMITS.oldTailRetryMs);
  await watched.until("it is counted", () => watched.last() === 0);
  assert.deepEqual(
    watched.told.map(({ commits }) => (typeof commits === "object" ? commits.count : commits)),
    ["counting", 0],
  );
});

test("a repository that was away when the line began is looked at when it joins, however long the line goes on by then", async () => {
  const { bytes, leftAt } = logWith(3);
  const { bytes: shared } = logWith(0);
  const clock = new HandClock();
  await clock.advance(72 * HOUR);
  const usb = placeOf("usb", await repositoryWith(bytes, HOUR), () => true);
  const primary = placeOf("primary", await repositoryWith(shared.subarray(0, Number(leftAt - START))));
  await using watched = watch([primary, usb], leftAt, clock);
  await watched.until("it was asked", () => usb.opened > 0 && clock.asleep > 0);
  assert.equal(watched.told.length, 0);
  usb.isAway = () => false;
  watched.tails.joined({ name: "usb" });
  await watched.until("it is counted", () => watched.last() === 3);
  const found = watched.told.at(-1);
  assert.deepEqual([found?.repositories, found?.sinceMs], [["usb"], clock.now()]);
});

test("a watch that begins anew knows it again since the same time, and reads nothing of one that is long ago", async () => {
  const { bytes, leftAt } = logWith(1);
  const place = placeOf("primary", await repositoryWith(bytes, HOUR));
  const clock = new HandClock();
  await clock.advance(2 * HOUR);
  for (let restart = 0; restart < 2; restart += 1) {
    await using watched = watch([place], leftAt, clock);
    await watched.until("it is counted", () => watched.last() === 1);
    assert.equal(watched.told.at(-1)?.sinceMs, HOUR);
  }
  await clock.advance(LIMITS.watchEventMs);
  const { opened } = place;
  await using later = watch([place], leftAt, clock);
  await later.until("it is known", () => later.told.length > 0);
  assert.deepEqual([later.told.at(-1)?.sinceMs, later.last(), place.opened], [HOUR, "counting", opened + 1]);
});

test("a server that never had a failover costs no look", async () => {
  const place = placeOf("primary", await repositoryWith(logWith(1).bytes));
  await using watched = watch([place], undefined);
  watched.tails.joined({ name: "primary" });
  assert.equal(place.opened, 0);
});
