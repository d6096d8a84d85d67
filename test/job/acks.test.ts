/** Acknowledging on a repository in memory: whose points are held back, what an acknowledgement outlives, and stopped at any write. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import type { Finding } from "../../src/base/findings.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { acknowledge, type AckOptions, listAcks } from "../../src/job/ack.ts";
import { acksElsewhere, acksLacking, acksOf, readAck } from "../../src/job/acks.ts";
import { forget } from "../../src/job/forget.ts";
import { listPoints } from "../../src/job/points.ts";
import { notAckable } from "../../src/job/not-ackable.ts";
import { ackableKinds, quietKnown, quietTold } from "../../src/job/quiet.ts";
import type { PointAck } from "../../src/job/records.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { copyStore, newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, clockAt, DAY, denyRemovals, forgetting, HOUR, NOW, ONE, TWO } from "./kept-points.ts";

let original: Repository;
let store: MemoryStore;
/** Five days of one installation, the newest first; accounts shrank in the second and the third. */
let days: [SnapshotId, SnapshotId, SnapshotId, SnapshotId, SnapshotId];

before(async () => {
  store = createMemoryStore();
  original = await newRepository(store);
  const day = async (at: number, tags: string[]) => {
    await addPoint(original, NOW - 2 * HOUR - at * DAY, { installation: TWO, name: "other-desk" });
    return await addPoint(original, NOW - HOUR - at * DAY, { tags });
  };
  const tag = ["shrunk=1"];
  days = [await day(0, []), await day(1, tag), await day(2, tag), await day(3, []), await day(4, [])];
});

function fresh(): { repository: Repository; store: MemoryStore } {
  const copy = copyStore(store);
  return { repository: reopen(original, copy), store: copy };
}

function options(repository: Repository): AckOptions {
  return { repository, repositoryName: "primary", installationId: ONE, clock: clockAt(), signal };
}

const shrunk = { word: "shrunk", reason: undefined, program: "test" };
const lastOne = (installation: "all" | { id: string }) =>
  ({ by: "policy", policy: { last: 1 }, timeZone: "UTC", installation }) as const;

function named(...words: SnapshotId[]) {
  return { by: "name", words, installationId: ONE } as const;
}

async function acksIn(of: MemoryStore): Promise<string[]> {
  const { records } = await listPoints(reopen(original, of), { signal });
  return records.filter(({ kind }) => kind === "ack").map(({ point }) => point);
}

test("only the points of that installation stay, by rules and by name", async () => {
  const { repository } = fresh();
  const done = await forget(forgetting(repository, lastOne("all")));
  assert.deepEqual(
    done.forgotten.map(({ installation }) => installation.id),
    Array.from({ length: 4 }, () => TWO),
  );
  assert.equal(done.kept.filter(({ installation }) => installation.id === ONE).length, 5);
  assert.deepEqual(
    done.findings.map(({ kind, level }) => `${level} ${kind}`),
    ["alarm shrunk"],
  );
  await assert.rejects(forget(forgetting(repository, named(days[4]))), (error) => isFailure(error, "usage/invalid"));
});

test("a point that is acknowledged covers the older ones, and no newer one", async () => {
  const { repository, store } = fresh();
  await acknowledge(options(repository), { ...shrunk, word: days[2] });
  const listed = (await listPoints(reopen(original, store), { signal })).points;
  const states = days.map((day) => listed.find(({ id }) => id === day)?.shrunk);
  assert.deepEqual(states, [undefined, "awaiting", "acknowledged", undefined, undefined]);
  assert.equal((await forget(forgetting(reopen(original, store), lastOne({ id: ONE })))).forgotten.length, 0);
  await acknowledge(options(reopen(original, store)), shrunk);
  assert.equal((await listAcks(options(reopen(original, store)))).point, null);
  await assert.rejects(acknowledge(options(reopen(original, store)), shrunk), (error) =>
    isFailure(error, "usage/invalid"),
  );
  for (const word of [days[0], "latest"])
    await assert.rejects(acknowledge(options(reopen(original, store)), { ...shrunk, word }), (error) =>
      isFailure(error, "usage/invalid"),
    );
});

test("an acknowledgement stays while a point needs it, and goes with the last", async () => {
  const { repository, store } = fresh();
  await acknowledge(options(repository), shrunk);
  await forget(forgetting(reopen(original, store), named(days[1])));
  assert.deepEqual(await acksIn(store), [days[1]]);
  const { points } = await listPoints(reopen(original, store), { signal });
  assert.equal(points.find(({ id }) => id === days[2])?.shrunk, "acknowledged");
  // All that is left is older than what was acknowledged, and the next backup will be compared with it.
  await forget(forgetting(reopen(original, store), named(days[0], days[2])));
  assert.deepEqual(await acksIn(store), [days[1]]);
  await addPoint(reopen(original, store), NOW - 1, {});
  await forget(forgetting(reopen(original, store), lastOne({ id: ONE })));
  assert.deepEqual(await acksIn(store), []);
});

async function fail(): Promise<never> {
  throw new Failure("store/unreachable", "it went away");
}

test("what one repository knows to be acknowledged goes where a point needs it, once", async () => {
  const [here, there] = [fresh(), fresh()];
  await acknowledge(options(here.repository), shrunk);
  const lists = async () =>
    await Promise.all([here, there].map(async (one) => await listPoints(reopen(original, one.store), { signal })));
  const [from, to] = await lists();
  assert.ok(from && to);
  assert.deepEqual(
    acksLacking(from, to, { coming: [] }).map(({ point }) => point),
    [days[1]],
  );
  assert.deepEqual(acksLacking(to, from, { coming: [] }), []);
  const [known, ...others] = await acksElsewhere([{ repository: reopen(original, here.store), list: from }], to, ONE, {
    signal,
  });
  assert.deepEqual([known?.acks.length, others], [1, []]);
  const [record] = known?.acks ?? [];
  assert.equal(record && (await known?.read(record))?.point, days[1]);
  const gone = [{ repository: Object.assign(reopen(original, here.store), { loadIndex: fail }), list: from }];
  assert.deepEqual(await acksElsewhere(gone, to, ONE, { signal }), []);
  const empty = { ...to, points: [] };
  assert.deepEqual(acksLacking(from, empty, { coming: [] }), []);
  assert.equal(acksLacking(from, empty, { coming: [days[2]] }).length, 1);
  const foreign = { ...to, points: to.points.filter(({ installationId }) => installationId === TWO) };
  assert.deepEqual(acksLacking(from, foreign, { coming: [] }), []);
});

test("stopped at any of its writes, it is acknowledged or it is not, and the next run finishes", async () => {
  let writes = 0;
  for (let isStopped = true; isStopped; writes += 1) {
    const { repository, store } = fresh();
    let done = 0;
    store.beforeWrite = () => {
      if (done >= writes) throw new Error("the power is gone");
      done += 1;
    };
    isStopped = await acknowledge(options(repository), shrunk).then(
      () => false,
      () => true,
    );
    store.beforeWrite = undefined;
    for (const name of store.files.keys()) if (name.startsWith("locks/")) store.files.delete(name);
    const acks = await acksIn(store);
    const { forgotten } = await forget(forgetting(reopen(original, store), lastOne({ id: ONE })));
    assert.equal(forgotten.length, acks.length === 0 ? 0 : 4, `stopped after ${writes} writes`);
    if (acks.length === 0) await acknowledge(options(reopen(original, store)), shrunk);
  }
  assert.ok(writes > 4, `${writes - 1} writes`);
});

/** A manifest that says nothing but this. */
function manifestOf(findings: readonly Finding[]): Buffer {
  const empty = { installation: {}, server: {}, tables: [], sequences: [], filledViews: [], storage: [], read: {} };
  return Buffer.from(JSON.stringify({ schema: 1, ...empty, findings }));
}

test("another finding is quiet from then on while it stays what it was, and only of the kinds that may be", async () => {
  const { repository, store } = fresh();
  const known: Finding = { kind: "storage-not-read", level: "alarm", message: "3 files", hint: "", subject: "amazon" };
  const foreign: Finding = { kind: "foreign-tables", level: "warning", message: "1 foreign table", hint: "" };
  const lost: Finding = { kind: "packs-lost", level: "alarm", message: "1 pack", hint: "" };
  const files = { "chatkeep/manifest.json": manifestOf([known, foreign, lost]) };
  await addPoint(repository, NOW - 1, { files });
  const again = () => reopen(original, store);
  for (const word of ["storage-not-read", "foreign-tables"]) await acknowledge(options(again()), { ...shrunk, word });
  for (const word of ["packs-lost", "no-accounts"])
    await assert.rejects(
      acknowledge(options(again()), { ...shrunk, word }),
      (error) => isFailure(error) && error.hint !== undefined,
    );
  const quiet = async (...findings: Finding[]) => {
    const acks = acksOf(await listPoints(again(), { signal }), ONE);
    const here = { acks, read: async (record: PointAck) => await readAck(again(), record, { signal }) };
    return (await quietKnown(findings, [here])).map(({ level, message }) => `${level} ${message}`);
  };
  assert.deepEqual(await quiet({ ...known, message: "4 files" }, foreign, lost), [
    "note 4 files (acknowledged)",
    "note 1 foreign table (acknowledged)",
    "alarm 1 pack",
  ]);
  assert.deepEqual(await quiet({ ...known, subject: "google" }, { ...foreign, message: "2 foreign tables" }), [
    "alarm 3 files",
    "warning 2 foreign tables",
  ]);
  // It outlives its point, which nothing needs to keep.
  await acknowledge(options(again()), shrunk);
  await addPoint(again(), NOW, { files: { "chatkeep/manifest.json": manifestOf([]) } });
  await forget(forgetting(again(), lastOne({ id: ONE })));
  assert.deepEqual(await quiet(known), ["note 3 files (acknowledged)"]);
});

test("where nothing may be deleted it can be acknowledged all the same", async () => {
  const { repository, store } = fresh();
  denyRemovals(store);
  const { summary } = await acknowledge(options(repository), shrunk);
  assert.equal(summary.changed, true);
  assert.deepEqual(await acksIn(store), [days[1]]);
});

function naming(kind: string, names: string[]): Finding {
  return { kind, level: "warning", message: names.join(), hint: "", names };
}

function levels(now: Finding[], before: Finding[]): string[] {
  return quietTold(now, before).map(({ level }) => level);
}

test("what nobody can help is a warning until a restore point has told it, and again when there is more of it", () => {
  const both = naming("foreign-tables", ["a", "b"]);
  assert.deepEqual(levels([both], []), ["warning"]);
  const [noted] = quietTold([both], [both]);
  assert.deepEqual([noted?.level, noted?.message], ["note", "a,b (known before)"]);
  assert.ok(noted !== undefined);
  assert.deepEqual(levels([both], [noted]), ["note"], "it stays known");
  assert.deepEqual(levels([naming("foreign-tables", ["b"])], [noted]), ["note"]);
  assert.deepEqual(levels([naming("foreign-tables", ["a", "b", "c"])], [noted]), ["warning"]);
  assert.deepEqual(levels([naming("user-mappings", ["a"])], [noted]), ["warning"]);
  const tables = ["a", "b"].map((name) => naming("extension-data", [name]));
  assert.deepEqual(levels([...tables, naming("extension-data", ["c"])], tables), ["note", "note", "warning"]);
  const image = naming("image-tag-latest", ["chatwoot/chatwoot:latest"]);
  assert.deepEqual(levels([image], quietTold([image], [image])), ["note"]);
  const { names: _, ...earlier } = both;
  assert.deepEqual(levels([both], [{ ...earlier, message: "a,b (acknowledged)" }]), ["note"], "of an earlier version");
  assert.deepEqual(levels([naming("storage-not-read", ["a"])], [naming("storage-not-read", ["a"])]), ["warning"]);
});

test("what cannot be acknowledged says why, a slip of the finger what may be meant, and a point is still a point", async () => {
  const { repository, store } = fresh();
  const findings: Finding[] = [
    { kind: "code-dirty", level: "note", message: "changed", hint: "" },
    { kind: "stale-range", level: "alarm", message: "stale", hint: "" },
  ];
  await addPoint(repository, NOW - 1, { files: { "chatkeep/manifest.json": manifestOf(findings) } });
  const refused = async (word: string) => {
    try {
      await acknowledge(options(reopen(original, store)), { ...shrunk, word });
    } catch (error) {
      if (isFailure(error)) return `${error.code} ${error.message}; ${error.hint}`;
      throw error;
    }
    return assert.fail(`${word} was acknowledged`);
  };
  for (const [word, expected] of [
    ["storage-files-lost", /^usage\/invalid 'storage-files-lost' cannot be acknowledged: .*lost or damaged; .*doctor/],
    ["encryption-keys-wrong", /cannot be acknowledged: channels .* docs\/keys\.md/],
    ["no-restore-point", /cannot be acknowledged: while it stands/],
    ["database-unreachable", /cannot be acknowledged: .*could not be done; .*docs\/errors\.md/],
    ["code-dirty", /cannot be acknowledged: it is a note already/],
    ["stale-range", /cannot be acknowledged: it is not among/],
    ["same-dsik", /no finding 'same-dsik' .*; Did you mean 'same-disk'\?/],
    ["quite-another-thing-altogether", /no finding .*; 'chatkeep ack' lists what can be/],
    ["deadbeef", /^point\/not-found there is no restore point 'deadbeef'/],
  ] as const)
    assert.match(await refused(word), expected);
  const before = await acksIn(store);
  assert.deepEqual(before, []);
  await acknowledge(options(reopen(original, store)), { ...shrunk, word: days[1] });
});

test("what stands for long though nobody can help it cheaply may be quiet; each kind has one answer", () => {
  const kinds = ackableKinds();
  assert.equal(new Set(kinds).size, kinds.length);
  for (const kind of ["secret-key-base-example", "secret-key-base-missing", "code-not-saved", "code-conflicts"])
    assert.ok(kinds.includes(kind), kind);
  for (const kind of kinds) assert.equal(notAckable(kind, []), undefined);
});
