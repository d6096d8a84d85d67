import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { formatInstant } from "../../../src/base/clock.ts";
import { isFailure } from "../../../src/base/errors.ts";
import { silent } from "../../../src/base/progress.ts";
import { forget, planForget } from "../../../src/job/forget.ts";
import { listContinuous, lookAtWindow } from "../../../src/job/continuous/list.ts";
import { listPoints } from "../../../src/job/points.ts";
import { prune } from "../../../src/job/prune.ts";
import { verify } from "../../../src/job/verify.ts";
import { FOLLOW, followTags } from "../../../src/point/continuous.ts";
import { serve } from "../../../src/policy/window.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { openLocalStore } from "../../../src/store/local-store.ts";
import { createMemoryStore, type MemoryStore } from "../../../src/store/memory-store.ts";
import { judges, runRestic } from "../../harness/restic.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { copyStore, hasty, newRepository, PASSWORD, reopen, signal } from "../../repo/small-backup.ts";
import { addPoint, DAY, denyRemovals, forgetting, HOUR, NOW, ONE, TWO } from "../kept-points.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putJournal, putSpan, SEGMENT, START } from "./spans.ts";

const DAYS = 12;
const at = (days: number) => NOW - (DAYS - days) * DAY;
const us = (ms: number) => BigInt(ms) * 1000n;
const REQUEST = { by: "policy", policy: { last: 3 }, timeZone: "UTC", installation: { id: ONE } } as const;

let folder: TestFolder;
/** Twelve days: a base every third, a segment of log every day, and a little in the journal. */
let store: MemoryStore;
const LOG = randomBytes(DAYS * SEGMENT);
let original: Repository;

async function fill(repository: Repository, days = DAYS): Promise<void> {
  for (let day = 0; day < days; day += 1) {
    const from = START + BigInt(day * SEGMENT);
    if (day % 3 === 0) {
      const times = { beganUs: us(at(day)), endedUs: us(at(day) + HOUR) };
      const facts = factsOf({ from: from + 100n, to: from + 5000n, ...times });
      await putBase(repository, folder.path, { facts, atMs: at(day) + HOUR });
    }
    const commits = [2, 20].map((hour) => ({ lsn: from + BigInt(hour * 10_000), timeUs: us(at(day) + hour * HOUR) }));
    const bytes = LOG.subarray(day * SEGMENT, (day + 1) * SEGMENT);
    await putSpan(repository, { at: day * SEGMENT, bytes, commits, atMs: at(day) + 23 * HOUR });
    await addPoint(repository, at(day) + HOUR / 2);
  }
  await putJournal(repository, { at: days * SEGMENT, bytes: randomBytes(100) });
}

before(async () => {
  folder = await temporaryFolder();
  store = createMemoryStore();
  original = await newRepository(store);
  await fill(original);
});

after(async () => await folder[Symbol.asyncDispose]());

function fresh(): { repository: Repository; files: MemoryStore } {
  const files = copyStore(store);
  return { repository: reopen(original, files), files };
}

async function windowOf(repository: Repository) {
  return await lookAtWindow(reopen(repository), LINE.installation, { signal });
}

test("a week stays without a gap, with the base before it; the points' own rules are as they were", async () => {
  const { repository } = fresh();
  const before = await windowOf(repository);
  assert.deepEqual([before.bases.length, before.spans.length], [4, 12]);
  const plan = await planForget(forgetting(reopen(repository), REQUEST));
  const summary = await forget(forgetting(repository, REQUEST));
  // The newest span was written at 11:00 of the last day, so the week begins at 11:00 of the fifth: the base of the third serves.
  const line = {
    installation: ONE,
    from: "2026-11-17T11:00:00.000000Z",
    kept: { bases: 3, spans: 9 },
    forgotten: { bases: 1, spans: 3, follows: 0, journal: 0 },
  };
  assert.deepEqual([plan.continuous, summary.continuous], [[line], [line]]);
  assert.deepEqual([summary.kept.length, summary.forgotten.length], [3, 9]);
  const left = await windowOf(repository);
  assert.deepEqual(left.window.gaps, []);
  assert.equal(serve(left.window, { us: us(NOW - 7 * DAY) })?.base.from, START + BigInt(3 * SEGMENT) + 100n);
  assert.equal(left.journal.objects.length, 1);
  assert.equal(serve(left.window, "now")?.range.to, START + BigInt(DAYS * SEGMENT + 100));
  const again = await forget(forgetting(reopen(repository), REQUEST));
  assert.deepEqual(again.continuous?.[0]?.forgotten, { bases: 0, spans: 0, follows: 0, journal: 0 });
});

test("stopped after any removal, nothing within the window is lacking, and the next run ends it", async () => {
  let total = 0;
  for (let stopAt = 1; total === 0 || stopAt <= total; stopAt += 3) {
    const { repository, files } = fresh();
    let removals = 0;
    files.beforeWrite = ({ action, ref }) => {
      if (action !== "remove" || ref?.kind !== "snapshots") return;
      removals += 1;
      if (total > 0 && removals === stopAt) throw new Error("killed");
    };
    const stopped = await forget(forgetting(repository, REQUEST)).then(
      () => false,
      () => true,
    );
    files.beforeWrite = undefined;
    if (total === 0) {
      total = removals;
      stopAt -= 3;
      continue;
    }
    assert.ok(stopped);
    const { window } = await windowOf(repository);
    for (const ms of [NOW - 7 * DAY, NOW - 5 * DAY, NOW - DAY]) assert.ok(serve(window, { us: us(ms) }), `${stopAt}`);
    for (const { reason } of window.gaps) assert.equal(reason, "no-base");
    await forget(forgetting(reopen(repository), REQUEST));
    assert.deepEqual((await windowOf(repository)).spans.length, 9);
  }
});

test("a longer window keeps more, and a repository that lets nothing go says so and loses nothing", async () => {
  const { repository, files } = fresh();
  const week = 7n * 86_400_000_000n;
  const longer = await planForget(forgetting(reopen(repository), { ...REQUEST, windowUs: 2n * week }));
  assert.deepEqual(longer.continuous?.[0]?.forgotten, { bases: 0, spans: 0, follows: 0, journal: 0 });
  denyRemovals(files, (kind) => kind !== "locks");
  await assert.rejects(forget(forgetting(repository, REQUEST)), (error) => isFailure(error, "store/denied"));
  assert.deepEqual((await windowOf(repository)).spans.length, 12);
});

test("a base that takes longer than the window is long finds all of the log from its beginning when it is stored", async () => {
  // It is taken into another repository meanwhile: nothing here says so, and no lock.
  const repository = await newRepository(createMemoryStore());
  const short = { ...REQUEST, windowUs: us(HOUR) };
  const put = async (segment: number, day: number) => {
    const bytes = LOG.subarray(segment * SEGMENT, (segment + 1) * SEGMENT);
    await putSpan(repository, { at: segment * SEGMENT, bytes, atMs: at(day) });
  };
  await put(0, 2);
  for (const [segment, day] of [7, 8, 9].entries()) await put(segment + 1, day);
  await addPoint(repository, at(9));
  // The first is a week older than the newest: no base began with it.
  await put(4, 9.5);
  const early = await forget(forgetting(reopen(repository), short));
  assert.deepEqual(early.continuous?.[0]?.forgotten, { bases: 0, spans: 1, follows: 0, journal: 0 });
  const from = START + BigInt(SEGMENT) + 100n;
  const facts = factsOf({ from, to: from + 5000n, beganUs: us(at(7)), endedUs: us(at(9.5)) });
  await putBase(repository, folder.path, { facts, atMs: at(9.5) });
  const { window } = await windowOf(repository);
  assert.deepEqual([window.ranges.length, window.gaps], [1, []]);
  assert.equal(window.ranges[0]?.to, START + BigInt(5 * SEGMENT));
  const later = await forget(forgetting(reopen(repository), short));
  assert.deepEqual(later.continuous?.[0]?.forgotten, { bases: 0, spans: 0, follows: 0, journal: 0 });
});

test("what spans have is taken out of the journal, whatever pieces it lies in, and what they lack stays", async () => {
  const { repository } = fresh();
  const put = async (from: number, to: number) => {
    await putJournal(repository, { at: from, bytes: LOG.subarray(from, to) });
  };
  await put(SEGMENT, SEGMENT + 50);
  await put(10 * SEGMENT + 5, 10 * SEGMENT + 50);
  // Of two spans together, and over the bounds of chunks and segments.
  await put(9 * SEGMENT - 3_000_000 + 17, 10 * SEGMENT + 1);
  const summary = await forget(forgetting(repository, REQUEST));
  assert.equal(summary.continuous?.[0]?.forgotten.journal, 3);
  const { journal } = await windowOf(repository);
  assert.deepEqual(
    journal.objects.map(({ from }) => from),
    [START + BigInt(DAYS * SEGMENT)],
  );
});

test("what lies in the place of a span, and is not what that has, stays: it may be the server's log, and the span another's", async () => {
  const { repository } = fresh();
  const from = 10 * SEGMENT + 500;
  const changed = Buffer.from(LOG.subarray(from, from + 900));
  changed.writeUInt8(changed.readUInt8(899) ^ 1, 899);
  await putJournal(repository, { at: from, bytes: changed });
  const plan = await planForget(forgetting(reopen(repository), REQUEST));
  const summary = await forget(forgetting(repository, REQUEST));
  assert.deepEqual([plan.continuous?.[0]?.forgotten.journal, summary.continuous?.[0]?.forgotten.journal], [0, 0]);
  const { journal } = await windowOf(repository);
  assert.deepEqual(
    journal.objects.map((object) => object.from),
    [START + BigInt(from), START + BigInt(DAYS * SEGMENT)],
  );
});

test("a snapshot file that cannot be read stops what goes by a rule: it may be what a moment needs", async () => {
  const { repository, files } = fresh();
  const [name] = [...files.files.keys()].filter((key) => key.startsWith("snapshots/"));
  assert.ok(name !== undefined);
  files.files.set(name, Buffer.alloc(200));
  await assert.rejects(forget(forgetting(repository, REQUEST)), (error) => isFailure(error, "repo/damaged"));
});

test("they are no strangers to a list, and verify and prune take them as they are", async () => {
  const { repository } = fresh();
  const list = await listPoints(repository, { signal });
  assert.deepEqual([list.others, list.continuous.length], [0, 16]);
  await forget(forgetting(repository, REQUEST));
  const upkeep = { clock: hasty, progress: silent, signal };
  await prune({ repository: reopen(repository), maxUnused: { bytes: 0 }, dryRun: false, ...upkeep });
  const summary = await verify({ repository: reopen(repository), readData: "all", ...upkeep });
  assert.deepEqual(summary.problems, []);
});

test("stock restic takes whole snapshots out, and the window shows what lacks then", async () => {
  for (const { path, version } of judges()) {
    await using place = await temporaryFolder();
    const repository = await newRepository(openLocalStore(place.at("repo")));
    await fill(repository, 5);
    const { spans, bases } = await listContinuous(repository, LINE.installation, { signal });
    const restic = { repo: place.at("repo"), password: PASSWORD, restic: path };
    const gone = [spans[2]?.id, bases[1]?.id].filter((id) => id !== undefined);
    await runRestic(["forget", "--prune", ...gone], restic);
    await runRestic(["check", "--read-data"], restic);
    const { window } = await windowOf(repository);
    assert.deepEqual(
      window.gaps.map(({ reason, from, to }) => [reason, Number(from - START), Number(to - START)]),
      [
        ["log-missing", 2 * SEGMENT, 3 * SEGMENT],
        ["no-base", 3 * SEGMENT, 5 * SEGMENT + 100],
      ],
      version,
    );
    assert.ok(serve(window, { us: us(at(1) + 3 * HOUR) }), version);
    assert.equal(serve(window, { us: us(at(3) + 3 * HOUR) }), undefined, version);
    await forget(forgetting(reopen(repository), REQUEST));
    assert.equal((await windowOf(repository)).spans.length, 4, version);
  }
});

test("what was followed goes when a backup of before the window is newer, and not for a dump that was imported", async () => {
  const repository = await newRepository(createMemoryStore());
  await putSpan(repository, { at: 0, bytes: LOG.subarray(0, SEGMENT), atMs: at(11) });
  const follow = await addPoint(repository, at(11));
  const { snapshots } = await repository.listSnapshots({ signal });
  const tree = snapshots.find(({ id }) => id === follow)?.snapshot.tree;
  assert.ok(tree !== undefined);
  const tags = followTags({ installation: ONE, beganMs: at(1), files: 1, bytes: 1 });
  const followed = { time: formatInstant(at(1)), tree, paths: [FOLLOW.path], hostname: "desk", tags };
  await repository.saveSnapshot(followed, { signal });
  const follows = async () => {
    const plan = await planForget(forgetting(reopen(repository), { ...REQUEST, policy: { last: 9 } }));
    return plan.continuous?.[0]?.forgotten.follows;
  };
  await addPoint(repository, at(2), { tags: ["imported=17.2"] });
  assert.equal(await follows(), 0);
  await addPoint(repository, at(2) + HOUR);
  assert.equal(await follows(), 1);
});

test("of an installation whose window nobody says all stays, and that is told", async () => {
  const { repository } = fresh();
  const plan = async (windowOf: string | null) =>
    await planForget(forgetting(reopen(repository), { ...REQUEST, installation: "all", windowUs: us(HOUR), windowOf }));
  for (const windowOf of [null, TWO]) {
    const { continuous, findings } = await plan(windowOf);
    assert.equal(continuous, undefined);
    assert.deepEqual(
      findings.map(({ kind, level }) => `${level} ${kind}`),
      ["note window-left"],
    );
  }
  const known = await plan(ONE);
  assert.ok((known.continuous?.[0]?.forgotten.spans ?? 0) > 0);
  assert.deepEqual(known.findings, []);
});
