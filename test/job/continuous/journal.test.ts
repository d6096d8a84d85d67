import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Failure, isFailure } from "../../../src/base/errors.ts";
import { LIMITS } from "../../../src/base/limits.ts";
import {
  hasJournal,
  type JournalBytes,
  listJournal,
  readJournal,
  readJournals,
  sweepJournal,
  writeJournal,
} from "../../../src/job/continuous/journal.ts";
import type { WalSpan } from "../../../src/point/continuous.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../../src/store/memory-store.ts";
import { FaultyStore, onCall } from "../../harness/faulty-store.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";

const LINE = { installation: "0a61c0de-0000-4000-8000-000000000001", systemId: "7412345678901234567", timeline: 1 };
const START = 0x16_b300_0000n;
const FOLDER = `chatkeep/journal/${LINE.installation}`;

function entry(from: bigint, bytes: Buffer, commits: readonly { lsn: bigint; timeUs: bigint }[] = []) {
  const span: WalSpan = {
    ...LINE,
    from,
    to: from + BigInt(bytes.length),
    firstCommitUs: commits[0]?.timeUs,
    lastCommitUs: commits.at(-1)?.timeUs,
  };
  return { span, commits, bytes: [bytes] };
}

async function all(repository: Repository): Promise<{ read: JournalBytes[]; refused: string[] }> {
  const refused: string[] = [];
  const { objects } = await listJournal(repository, LINE.installation, { signal });
  const onRefused = ({ reason }: { reason: string }) => void refused.push(reason);
  return { read: await Array.fromAsync(readJournals(repository, objects, { signal, onRefused })), refused };
}

async function memoryRepository(): Promise<{ repository: Repository; store: MemoryStore }> {
  const store = createMemoryStore();
  return { repository: await newRepository(store), store };
}

function namesIn(store: MemoryStore): string[] {
  return [...store.files.keys()].filter((key) => key.startsWith(FOLDER));
}

test("what was flushed is read back in the log's order, with its commits, whatever order it came in", async () => {
  const { repository } = await memoryRepository();
  const [first, second] = [Buffer.concat([Buffer.alloc(9000), randomBytes(4000)]), randomBytes(70_000)];
  const commits = [
    { lsn: START + 100n, timeUs: 59_000_000n },
    { lsn: START + 200n, timeUs: 59_500_000n },
    { lsn: START + 300n, timeUs: 61_000_000n },
  ];
  await writeJournal(repository, entry(START + 13_000n, second), { signal });
  await writeJournal(repository, entry(START, first, commits), { signal });
  const { read, refused } = await all(repository);
  assert.deepEqual(refused, []);
  assert.deepEqual(
    read.map(({ from, to }) => [from, to]),
    [
      [START, START + 13_000n],
      [START + 13_000n, START + 83_000n],
    ],
  );
  assert.ok(read[0]?.bytes.equals(first) && read[1]?.bytes.equals(second));
  const minutes = [commits[1], commits[2]];
  assert.deepEqual(read[0]?.commits, { count: 3, first: commits[0], last: commits[2], minutes });
  assert.deepEqual(read[1]?.commits, { count: 0, first: undefined, last: undefined, minutes: [] });
});

test("much that came at once becomes several objects, each with its own commits", async () => {
  const { repository, store } = await memoryRepository();
  const bytes = Buffer.alloc(LIMITS.journalObjectBytes + 10, "log");
  const commits = [5n, BigInt(LIMITS.journalObjectBytes), BigInt(bytes.length)].map((at) => ({
    lsn: START + at,
    timeUs: at,
  }));
  await writeJournal(repository, entry(START, bytes, commits), { signal });
  assert.equal(namesIn(store).length, 2);
  const { read } = await all(repository);
  assert.ok(Buffer.concat(read.map((object) => object.bytes)).equals(bytes));
  assert.deepEqual(
    read.map((object) => object.commits.count),
    [2, 1],
  );
});

test("of several objects those count that were stored before one was refused", async () => {
  const store = new FaultyStore(createMemoryStore());
  const repository = await newRepository(store);
  const bytes = Buffer.alloc(LIMITS.journalObjectBytes + 10, "log");
  const stored: bigint[] = [];
  store.script = onCall("put", 2, { how: "fail", error: new Failure("store/unreachable", "no answer") });
  const onStored = (to: bigint) => void stored.push(to);
  await assert.rejects(writeJournal(repository, entry(START, bytes), { signal, onStored }), /no answer/);
  const first = START + BigInt(LIMITS.journalObjectBytes);
  assert.deepEqual(stored, [first]);
  assert.deepEqual(
    (await all(repository)).read.map(({ from, to }) => [from, to]),
    [[START, first]],
  );
});

test("the same stretch twice is kept twice: nothing that was acknowledged is written over", async () => {
  const { repository, store } = await memoryRepository();
  await writeJournal(repository, entry(START, Buffer.from("one")), { signal });
  await writeJournal(repository, entry(START, Buffer.from("two")), { signal });
  assert.equal(namesIn(store).length, 2);
  const { read } = await all(repository);
  assert.deepEqual(read.map(({ bytes }) => bytes.toString()).toSorted(), ["one", "two"]);
});

test("an object that was changed, cut, renamed, moved or sealed elsewhere is told and never used", async () => {
  const { repository, store } = await memoryRepository();
  const { repository: other, store: otherStore } = await memoryRepository();
  const bytes = Buffer.alloc(5000, "log");
  await writeJournal(repository, entry(START, bytes), { signal });
  await writeJournal(other, entry(START, bytes), { signal });
  const [name] = namesIn(store);
  const [elsewhere] = namesIn(otherStore);
  assert.ok(name !== undefined && elsewhere !== undefined);
  const sealed = store.files.get(name);
  const foreign = otherStore.files.get(elsewhere);
  assert.ok(sealed !== undefined && foreign !== undefined);
  const wrongs: Record<string, () => void> = {
    changed: () => {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(40) ^ 1, 40);
      store.files.set(name, changed);
    },
    cut: () => store.files.set(name, sealed.subarray(0, sealed.length - 1)),
    empty: () => store.files.set(name, Buffer.alloc(0)),
    "another position": () => {
      const moved = name.replace("16b3000000-", "16b2000000-").replace("16b3001388", "16b2001388");
      assert.notEqual(moved, name);
      store.files.set(moved, sealed);
      store.files.delete(name);
    },
    "another repository's": () => store.files.set(name, foreign),
    "a restic file": () => store.files.set(name, store.files.get("config") ?? Buffer.alloc(0)),
  };
  for (const [what, change] of Object.entries(wrongs)) {
    change();
    const { read, refused } = await all(repository);
    assert.deepEqual(read, [], what);
    assert.equal(refused.length, 1, what);
    assert.match(refused[0] ?? "", /cannot be used/, what);
    for (const each of namesIn(store)) store.files.delete(each);
    store.files.set(name, sealed);
  }
  assert.equal((await all(repository)).read.length, 1);
});

test("an object of one installation does not stand for another's", async () => {
  const { repository, store } = await memoryRepository();
  await writeJournal(repository, entry(START, Buffer.from("log")), { signal });
  const [name] = namesIn(store);
  const sealed = store.files.get(name ?? "");
  assert.ok(name !== undefined && sealed !== undefined);
  store.files.set(name.replace(LINE.installation, "another"), sealed);
  const { objects } = await listJournal(repository, "another", { signal });
  assert.equal(objects.length, 1);
  const [object] = objects;
  assert.ok(object);
  await assert.rejects(readJournal(repository, object, { signal }), (error) => isFailure(error, "repo/damaged"));
});

test("names that are no journal's are told apart, and another installation's are not listed", async () => {
  const { repository, store } = await memoryRepository();
  await writeJournal(repository, entry(START, Buffer.from("log")), { signal });
  store.files.set(`${FOLDER}/README`, Buffer.from("x"));
  store.files.set("chatkeep/journal/another/1", Buffer.from("x"));
  const { objects, foreign } = await listJournal(repository, LINE.installation, { signal });
  assert.equal(objects.length, 1);
  assert.deepEqual(foreign, ["README"]);
});

/** As whoever wrote all that is there. */
function ownFrom(from: bigint, to: bigint) {
  return { within: { ...LINE, from, to }, own: { has: () => true }, saved: { from, bytes: [] } };
}

test("sweeping takes what lies wholly within a stretch of the same line, and nothing else", async () => {
  const { repository } = await memoryRepository();
  const bytes = Buffer.alloc(100, "log");
  for (const at of [0n, 100n, 200n, 250n]) await writeJournal(repository, entry(START + at, bytes), { signal });
  const other = entry(START + 100n, bytes);
  await writeJournal(repository, { ...other, span: { ...other.span, timeline: 2 } }, { signal });
  await writeJournal(repository, { ...other, span: { ...other.span, systemId: "1" } }, { signal });
  const swept = await sweepJournal(repository, ownFrom(START + 100n, START + 300n), { signal });
  assert.deepEqual(swept, { removed: 2, isRefused: false });
  const { objects } = await listJournal(repository, LINE.installation, { signal });
  assert.deepEqual(
    objects.map(({ systemId, timeline, from }) => `${systemId} ${timeline} ${from - START}`),
    ["1 1 100", `${LINE.systemId} 1 0`, `${LINE.systemId} 1 250`, `${LINE.systemId} 2 100`],
  );
});

test("of what another watch has written, sweeping takes what is the same as the span's bytes, and nothing else", async () => {
  const { repository } = await memoryRepository();
  const bytes = randomBytes(400);
  const other = Buffer.from(bytes.subarray(200, 300));
  other.writeUInt8(other.readUInt8(99) ^ 1, 99);
  for (const [at, part] of [
    [0n, bytes.subarray(0, 100)],
    [100n, bytes.subarray(100, 200)],
    [200n, other],
    // Behind what differs the span may not count, whatever it has.
    [300n, bytes.subarray(300)],
  ] as const) {
    await writeJournal(repository, entry(START + at, part), { signal });
  }
  const within = { ...LINE, from: START - 100n, to: START + 400n };
  const saved = { from: START, bytes: [bytes.subarray(0, 170), bytes.subarray(170, 380), bytes.subarray(380)] };
  const swept = await sweepJournal(repository, { within, own: new Set(), saved }, { signal });
  assert.deepEqual(swept, { removed: 2, isRefused: false });
  const { objects } = await listJournal(repository, LINE.installation, { signal });
  assert.deepEqual(
    objects.map(({ from }) => from - START),
    [200n, 300n],
  );
});

test("where nothing may be removed sweeping says so, and what stays does no harm", async () => {
  const store = new FaultyStore(createMemoryStore());
  const repository = await newRepository(store);
  await writeJournal(repository, entry(START, Buffer.from("log")), { signal });
  const error = new Failure("store/denied", "nothing is removed here");
  store.script = ({ verb }) => (verb === "remove" ? { how: "fail", error } : undefined);
  const swept = await sweepJournal(repository, ownFrom(START, START + 3n), { signal });
  assert.deepEqual(swept, { removed: 0, isRefused: true });
  assert.equal((await all(repository)).read.length, 1);
});

test("an object that was swept since the list is left out, and where no journal can be had there is none", async () => {
  const { repository, store } = await memoryRepository();
  await writeJournal(repository, entry(START, Buffer.from("log")), { signal });
  const { objects } = await listJournal(repository, LINE.installation, { signal });
  for (const name of namesIn(store)) store.files.delete(name);
  const refused: unknown[] = [];
  const onRefused = (object: unknown) => void refused.push(object);
  assert.deepEqual(await Array.fromAsync(readJournals(repository, objects, { signal, onRefused })), []);
  assert.deepEqual(refused, []);
  const narrow = new FaultyStore(createMemoryStore(), undefined, { isNarrow: true });
  const without = await newRepository(narrow);
  assert.equal(hasJournal(without), false);
  assert.deepEqual(await listJournal(without, LINE.installation, { signal }), { objects: [], foreign: [] });
});
