/** Forgetting on a repository in memory: what goes with a point, what stays, and stopped at any write. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { shortId, type SnapshotId } from "../../src/base/ids.ts";
import { forget, type ForgetOptions, planForget } from "../../src/job/forget.ts";
import { hold } from "../../src/job/hold.ts";
import { copiedPoints, pointsLacking } from "../../src/job/copy.ts";
import { markNotWhole } from "../../src/job/not-whole.ts";
import { listPoints, userTags } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { momentTags } from "../../src/point/moment.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { silent } from "../../src/base/progress.ts";
import { backUp, copyStore, newRepository, reopen, signal } from "../repo/small-backup.ts";
import {
  addPoint,
  addProof,
  clockAt,
  DAY,
  denyRemovals,
  forgetting,
  holding,
  HOUR,
  NOW,
  ONE,
  TWO,
} from "./kept-points.ts";

let original: Repository;
let store: MemoryStore;
/** Seven days of one installation, the newest first; the third and the sixth are proven. */
let days: SnapshotId[];
let foreign: SnapshotId;
let others: SnapshotId;

before(async () => {
  store = createMemoryStore();
  original = await newRepository(store);
  days = [];
  for (let at = 0; at < 7; at += 1) {
    days.push(await addPoint(original, NOW - HOUR - at * DAY, at === 2 || at === 5 ? { proven: true } : {}));
  }
  foreign = await addPoint(original, NOW - 400 * DAY, { installation: TWO, name: "other-desk" });
  others = await backUp(original, { file: Buffer.from("restic's own") }, "2020-01-01T00:00:00Z");
});

function fresh(): { repository: Repository; store: MemoryStore } {
  const copy = copyStore(store);
  return { repository: reopen(original, copy), store: copy };
}

/** What a process that opens the repository now sees. */
async function look(of: MemoryStore) {
  return await listPoints(reopen(original, of), { signal });
}

async function pointsIn(of: MemoryStore): Promise<string[]> {
  return (await look(of)).points.map(({ id }) => id);
}

function policy(rules: object, installation: "all" | { id: string } | { called: string } = { id: ONE }) {
  return { by: "policy", policy: rules, timeZone: "UTC", installation } as const;
}

function byName(...words: string[]) {
  return { by: "name", words, installationId: ONE } as const;
}

const isUsage = (error: unknown) => isFailure(error, "usage/invalid") && error.hint !== undefined;

test("points that the policy does not keep go with their proofs, and nothing else does", async () => {
  const { repository, store } = fresh();
  const summary = await forget(forgetting(repository, policy({ last: 2 })));
  assert.deepEqual(
    summary.kept.map(({ point, reasons }) => [point, reasons.join("; ")]),
    [
      [days[0], "last 1 of 2"],
      [days[1], "last 2 of 2"],
      [days[2], "the newest proven"],
    ],
  );
  assert.deepEqual(
    summary.forgotten.map(({ point }) => point),
    days.slice(3).toReversed(),
  );
  assert.equal(summary.records, 1);
  const { points, records, others: rest } = await look(store);
  assert.deepEqual(
    points.map(({ id }) => id),
    [...days.slice(0, 3), foreign],
  );
  assert.deepEqual(
    records.map(({ point }) => point),
    [days[2]],
  );
  assert.equal(rest, 1);
  assert.ok(store.files.has(`snapshots/${others}`));
  assert.deepEqual(
    [...store.files.keys()].filter((name) => name.startsWith("locks/")),
    [],
  );
});

test("a second run changes no byte", async () => {
  const { repository, store } = fresh();
  await forget(forgetting(repository, policy({ daily: 3 })));
  const files = new Map(store.files);
  const summary = await forget(forgetting(reopen(original, store), policy({ daily: 3 })));
  assert.deepEqual(summary.forgotten, []);
  assert.deepEqual(store.files, files);
});

test("a plan changes nothing but for its lock", async () => {
  const { repository, store } = fresh();
  const files = new Map(store.files);
  const plan = await planForget(forgetting(repository, policy({ last: 1 })));
  assert.equal(plan.forgotten.length, 5);
  assert.equal(plan.dryRun, true);
  assert.deepEqual(store.files, files);
});

test("stopped at any of its writes, what must stay is there, and the next run finishes", async () => {
  const reference = fresh();
  await forget(forgetting(reference.repository, policy({ last: 2 })));
  const kept = await pointsIn(reference.store);
  let writes = 0;
  for (let isStopped = true; isStopped; writes += 1) {
    const { repository, store } = fresh();
    let done = 0;
    store.beforeWrite = () => {
      if (done >= writes) throw new Error("the power is gone");
      done += 1;
    };
    isStopped = await forget(forgetting(repository, policy({ last: 2 }))).then(
      () => false,
      () => true,
    );
    store.beforeWrite = undefined;
    const { points, records } = await look(store);
    const names = new Set(points.map(({ id }) => id));
    for (const id of kept) assert.ok(names.has(id), `stopped after ${writes} writes`);
    // Whatever is left of the points is proven as it was.
    for (const point of points)
      assert.equal(point.proof?.proven === true, [days[2], days[5]].includes(point.snapshotId));
    assert.ok(records.length >= 1);
    const { problems } = await verifyRepository(reopen(original, store), { signal, progress: silent });
    assert.deepEqual(problems, []);
    // The process is gone: its lock is taken for what it is.
    for (const name of store.files.keys()) if (name.startsWith("locks/")) store.files.delete(name);
    await forget(forgetting(reopen(original, store), policy({ last: 2 })));
    assert.deepEqual(store.files, reference.store.files, `stopped after ${writes} writes`);
  }
  // Two locks, four points, a proof.
  assert.ok(writes > 8, `${writes - 1} writes`);
});

test("every installation is looked at by itself, and only when it is meant", async () => {
  const { repository, store } = fresh();
  await addPoint(repository, NOW - 500 * DAY, { installation: TWO, name: "other-desk" });
  await forget(forgetting(reopen(original, store), policy({ last: 1 }, { called: "other-desk" })));
  assert.deepEqual(await pointsIn(store), [...days, foreign]);
  const plan = await planForget(forgetting(reopen(original, store), policy({ last: 1 }, "all")));
  assert.deepEqual(
    plan.kept.map(({ point }) => point),
    [days[0], days[2], foreign],
  );
  await assert.rejects(forget(forgetting(repository, policy({ last: 1 }, { called: "nobody" }))), isUsage);
});

test("points in the future stay and are told of, and can be removed by their name", async () => {
  const { repository, store } = fresh();
  const ahead = await addPoint(repository, NOW + HOUR);
  const summary = await forget(forgetting(reopen(original, store), policy({ last: 1 })));
  assert.deepEqual(
    summary.kept.map(({ point }) => point),
    [ahead, days[0], days[2]],
  );
  assert.deepEqual(
    summary.findings.map(({ kind, level }) => `${kind} ${level}`),
    ["points-in-the-future warning"],
  );
  await forget(forgetting(reopen(original, store), byName(ahead)));
  assert.ok(!(await pointsIn(store)).includes(ahead));
});

test("named points go, and what has to stay is refused", async () => {
  const { repository, store } = fresh();
  const shown = (at: number) => shortId(days[at] ?? "");
  const files = new Map(store.files);
  for (const words of [[shown(2), shown(5)], days, ["nothing"]]) {
    await assert.rejects(
      forget(forgetting(repository, byName(...words))),
      (error) => isFailure(error, "usage/invalid") || isFailure(error, "point/not-found"),
    );
  }
  await assert.rejects(forget(forgetting(repository, byName(shortId(foreign)))), isUsage);
  assert.deepEqual(store.files, files);
  // One of the two proven, and its proof.
  const summary = await forget(forgetting(repository, byName(shown(2), shown(2), shown(6))));
  assert.deepEqual(
    summary.forgotten.map(({ point }) => point),
    [days[6], days[2]],
  );
  assert.equal(summary.records, 1);
  await assert.rejects(forget(forgetting(reopen(original, store), byName("proven"))), /last that is proven/);
});

test("a proven point of which a repair found something lacking takes no other's place, until it is proven again", async () => {
  const { repository, store } = fresh();
  const [newer = "", older = ""] = [days[2], days[5]];
  const snapshots = [newer as SnapshotId];
  const lost = [{ kind: "chunk-missing", name: "ab".repeat(32), message: "it is gone", snapshots } as const];
  await markNotWhole(reopen(repository), { lost, program: "test", clock: clockAt(), signal });
  const { kept } = await planForget(forgetting(reopen(original, store), policy({ last: 1 })));
  assert.deepEqual(
    kept.map(({ point, reasons }) => [point, reasons]),
    [
      [days[0], ["last 1 of 1"]],
      [newer, ["the newest proven"]],
      [older, ["the newest proven that is whole"]],
    ],
  );
  const whole = copyStore(store);
  const named = forgetting(reopen(original, whole), byName(older));
  await assert.rejects(forget(named), (error) => isUsage(error) && /last that is proven and whole/.test(String(error)));
  // The other one may go.
  await forget(forgetting(reopen(original, whole), byName(newer)));

  const tree = (await look(store)).points.find(({ id }) => id === newer)?.snapshot.tree ?? "";
  await addProof(reopen(original, store), { point: newer as SnapshotId, tree, proven: true, timeMs: NOW });
  await forget(forgetting(reopen(original, store), byName(older)));
});

test("a proven point that lacks rows since it was made takes no other's place either", async () => {
  const repository = await newRepository(createMemoryStore());
  const torn = { tags: ["torn=1"], proven: true };
  const newest = await addPoint(repository, NOW - HOUR, torn);
  await addPoint(repository, NOW - DAY, torn);
  const unproven = await addPoint(repository, NOW - 2 * DAY);
  const kept = async () => {
    const plan = await planForget(forgetting(reopen(repository), policy({ last: 1 })));
    return plan.kept.map(({ point, reasons }) => [point, reasons.join("; ")]);
  };
  const first = [newest, "last 1 of 1; the newest proven"];
  assert.deepEqual(await kept(), [first, [unproven, "the newest that is whole"]]);
  const older = await addPoint(repository, NOW - 3 * DAY, { proven: true });
  assert.deepEqual(await kept(), [first, [older, "the newest proven that is whole"]]);
  await assert.rejects(forget(forgetting(reopen(repository), byName(older))), /last that is proven and whole/);
  const [point] = (await listPoints(reopen(repository), { signal })).points;
  assert.deepEqual(point === undefined ? undefined : userTags(point), []);
});

test("a held point stays, by policy and by name, until its hold ends", async () => {
  const { repository, store } = fresh();
  const word = days[6] ?? "";
  const wanted = { word, name: "audit", reason: "tax", until: "2026-12-31", timeZone: "UTC", program: "test" };
  await hold(holding(repository), wanted);
  const summary = await forget(forgetting(reopen(original, store), policy({ last: 1 })));
  assert.deepEqual(summary.kept.at(-1)?.reasons, ["held: audit until 2026-12-31"]);
  await assert.rejects(forget(forgetting(reopen(original, store), byName(word))), /held: audit until 2026-12-31/);
  const clock = holding(repository, Date.parse("2027-01-01T00:00:00Z")).clock;
  const later: ForgetOptions = { ...forgetting(reopen(original, store), policy({ last: 1 })), clock };
  assert.equal((await forget(later)).records, 1);
  const { points, records } = await look(store);
  assert.ok(!points.some(({ id }) => id === word));
  assert.deepEqual(
    records.filter(({ kind }) => kind === "hold"),
    [],
  );
});

test("of two snapshots of one name each is judged by itself, and a proof stays with its tree", async () => {
  const { repository, store } = fresh();
  const name = days[5];
  assert.ok(name !== undefined);
  // As restic's `rewrite` leaves it: another tree of the same name, beside the first.
  const rewritten = await addPoint(repository, NOW - HOUR - 5 * DAY + 1, { original: name });
  const { points } = await look(store);
  const tree = points.find(({ snapshotId }) => snapshotId === rewritten)?.snapshot.tree ?? "";
  await addProof(reopen(original, store), { point: name, tree, proven: true, timeMs: NOW });
  await forget(forgetting(reopen(original, store), byName(rewritten)));
  const left = await look(store);
  const proven = left.points.find(({ id }) => id === name);
  assert.equal(proven?.snapshotId, name);
  assert.equal(proven?.proof?.proven, true);
  assert.equal(left.records.length, 2);
});

test("records without a point go with the next run, unless a snapshot cannot be read", async () => {
  const { repository, store } = fresh();
  store.files.delete(`snapshots/${days[5]}`);
  store.files.set(`snapshots/${"ab".repeat(32)}`, Buffer.from("what is this"));
  const first = await forget(forgetting(repository, policy({ last: 9 })));
  assert.equal(first.records, 0);
  assert.deepEqual(
    first.findings.map(({ kind }) => kind),
    ["snapshots-damaged"],
  );
  store.files.delete(`snapshots/${"ab".repeat(32)}`);
  assert.equal((await forget(forgetting(reopen(original, store), policy({ last: 9 })))).records, 1);
  assert.equal((await look(store)).records.length, 1);
});

test("while a snapshot file cannot be read, no rule removes a point: the file may be a hold on it", async () => {
  const { repository, store } = fresh();
  const before = new Set(store.files.keys());
  const endless = { reason: undefined, until: undefined, timeZone: "UTC", program: "test" };
  await hold(holding(repository), { ...endless, word: days[6] ?? "", name: "court" });
  const [made = ""] = [...store.files.keys()].filter((name) => name.startsWith("snapshots/") && !before.has(name));
  const bytes = Buffer.from(store.files.get(made) ?? []);
  bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40);
  store.files.set(made, bytes);
  const files = new Map(store.files);
  await assert.rejects(forget(forgetting(reopen(original, store), policy({ last: 2 }))), (error) => {
    assert.ok(isFailure(error, "repo/damaged"));
    assert.match(error.message, /1 snapshot file cannot be read/);
    assert.match(error.hint ?? "", new RegExp(`Nothing was removed.*delete ${made}`));
    return true;
  });
  assert.deepEqual(store.files, files);
  // A person who names a point knows what goes.
  await forget(forgetting(reopen(original, store), byName(days[4] ?? "")));
  assert.equal((await pointsIn(store)).length, 7);
});

test("where nothing may be deleted, nothing is, the missing right is named, and nobody is kept away", async () => {
  for (const isDenied of [() => true, (kind: string) => kind === "snapshots"]) {
    const { repository, store } = fresh();
    denyRemovals(store, isDenied);
    await assert.rejects(forget(forgetting(repository, policy({ last: 1 }))), (error) => {
      assert.ok(isFailure(error, "store/denied") && error instanceof Failure);
      assert.match(error.message, /may(?: not)? be deleted/);
      assert.match(error.hint ?? "", /s3:DeleteObject/);
      return true;
    });
    assert.equal((await pointsIn(store)).length, 8);
    // A backup from another machine goes on.
    await planForget(forgetting(reopen(original, store), policy({ last: 1 })));
  }
});

test("a policy that is empty, or keeps nothing, changes nothing", async () => {
  const { repository, store } = fresh();
  const files = new Map(store.files);
  for (const rules of [{}, { tags: ["nobody-has-it"] }]) {
    await assert.rejects(forget(forgetting(repository, policy(rules))), isUsage);
  }
  assert.deepEqual(store.files, files);
});

test("of the newest points that were forgotten by name it is kept which they were, until a newer one is there", async () => {
  const { repository, store } = fresh();
  const [newest = "", second = "", third = "", fourth = ""] = days;
  const forgottenIn = async () => [...copiedPoints(await look(store)).forgotten].toSorted();
  await forget(forgetting(repository, byName(fourth)));
  assert.deepEqual(await forgottenIn(), [], "the time of those that stay says it");
  await forget(forgetting(reopen(original, store), byName(newest, second)));
  assert.deepEqual(await forgottenIn(), [newest, second].toSorted());
  const all = (await listPoints(reopen(original), { signal })).points;
  const whose = { installationId: ONE, nowMs: NOW };
  assert.deepEqual(pointsLacking(all, copiedPoints(await look(store)), whose), []);
  await forget(forgetting(reopen(original, store), policy({ last: 9 })));
  assert.deepEqual(await forgottenIn(), [newest, second].toSorted());
  assert.ok((await pointsIn(store)).includes(third));
  await addPoint(reopen(original, store), NOW);
  await forget(forgetting(reopen(original, store), policy({ last: 9 })));
  assert.deepEqual(await forgottenIn(), []);
});

test("points of moments go a day after they were made, are held as others are, and no rule counts them", async () => {
  const { repository, store } = fresh();
  const moment = async (madeMs: number, at: number) =>
    await addPoint(repository, NOW - at * DAY, {
      tags: momentTags({
        us: BigInt(NOW - at * DAY) * 1000n,
        upTo: undefined,
        systemId: "1",
        timeline: 1,
        replayedTo: 1n,
        madeMs,
      }),
      proven: true,
    });
  const [old, young, held] = [
    await moment(NOW - 2 * DAY, 3),
    await moment(NOW - HOUR, 2),
    await moment(NOW - 2 * DAY, 5),
  ];
  const endless = { reason: undefined, until: undefined, timeZone: "UTC", program: "test" };
  await hold(holding(repository), { ...endless, word: held, name: "audit" });
  const before = await pointsIn(store);
  assert.equal(before.includes(old), false, "a moment is no backup");
  const summary = await forget(forgetting(repository, policy({ last: 7 })));
  assert.deepEqual(
    summary.forgotten.map(({ point }) => point),
    [old],
  );
  const after = await look(store);
  assert.deepEqual(
    after.points.map(({ id }) => id),
    before,
  );
  assert.deepEqual(
    after.moments.map(({ id }) => id),
    [young, held],
  );
  assert.deepEqual(
    after.moments.map(({ proof }) => proof?.proven),
    [true, true],
    "the proofs of those that stay do",
  );
  await assert.rejects(forget(forgetting(reopen(original, store), byName(held))), isUsage);
  await forget(forgetting(reopen(original, store), byName(young)));
  assert.deepEqual(
    (await look(store)).moments.map(({ id }) => id),
    [held],
  );
});

test("of points that a watch made every few minutes one an hour stays beyond a day, beside what the policy keeps", async () => {
  const own = createMemoryStore();
  const repository = await newRepository(own);
  const made = async (agoMs: number, tags: string[] = ["interval"]) =>
    await addPoint(repository, NOW - agoMs, { tags });
  const newest = await made(HOUR / 2);
  const young = await made(HOUR);
  const hourly = await made(2 * DAY + HOUR / 6);
  const [between, untagged] = [await made(2 * DAY + HOUR / 3), await made(2 * DAY + HOUR / 2, [])];
  const [old, before] = [await made(8 * DAY), await made(3 * DAY, [])];
  await forget(forgetting(repository, policy({ last: 1 })));
  const { points } = await listPoints(reopen(repository, own), { signal });
  // Those of the watch take no place of the one that somebody made otherwise.
  assert.deepEqual(
    points.map(({ id }) => id),
    [newest, young, hourly, untagged],
  );
  assert.equal(new Set([newest, young, hourly, between, untagged, old, before]).size, 7);
});
