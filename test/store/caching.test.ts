import assert from "node:assert/strict";
import { hash, randomBytes } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { walkTree } from "../../src/repo/walk.ts";
import { caching } from "../../src/store/caching.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import type { FileKind, FileRef, Store } from "../../src/store/store.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../../src/system/temporary.ts";
import { always, FaultyStore, FLIPPED, onCall } from "../harness/faulty-store.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { backUp, newRepository, reopen } from "../repo/small-backup.ts";
import { testStore } from "./conformance.ts";

const { signal } = new AbortController();

interface Opened extends AsyncDisposable {
  store: Store;
  inner: FaultyStore;
  folder: string;
  clock: HandClock;
}

async function open(): Promise<Opened> {
  const temporary: TemporaryFolder = await openTemporaryFolder("chatkeep-cache");
  const inner = new FaultyStore(createMemoryStore());
  const folder = join(temporary.path, "cache", "id");
  const clock = new HandClock();
  const store = caching(inner, { folder, clock });
  return { store, inner, folder, clock, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

function file(kind: FileKind, text: string): { ref: FileRef; bytes: Buffer } {
  const bytes = Buffer.from(text);
  return { ref: { kind, name: hash("sha256", bytes) }, bytes };
}

async function namesOf(store: Store, kind: FileKind): Promise<string[]> {
  return (await Array.fromAsync(store.list(kind, { signal }))).map(({ name }) => name);
}

testStore("a store with a cache", async () => {
  const opened = await open();
  return { store: opened.store, dispose: async () => await opened[Symbol.asyncDispose]() };
});

for (const kind of ["index", "snapshots"] as const) {
  test(`a file of ${kind} is fetched once, and one that was written here not at all`, async () => {
    await using opened = await open();
    const { store, inner, folder } = opened;
    const [theirs, mine] = [file(kind, "theirs"), file(kind, "mine")];
    await inner.put(theirs.ref, theirs.bytes, { signal });
    await store.put(mine.ref, mine.bytes, { signal });
    for (let time = 0; time < 3; time += 1) {
      assert.deepEqual(await store.get(theirs.ref, { signal }), theirs.bytes);
      assert.deepEqual(await store.get(mine.ref, { signal }), mine.bytes);
    }
    assert.equal(inner.count("get"), 1);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.equal(statSync(join(folder, kind, mine.ref.name)).mode & 0o777, 0o600);
  });
}

test("keys, locks, packs and parts of files are not kept", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  for (const kind of ["keys", "locks", "data"] as const) {
    const { ref, bytes } = file(kind, kind);
    await store.put(ref, bytes, { signal });
    assert.deepEqual(await store.get(ref, { signal }), bytes);
  }
  const { ref, bytes } = file("index", "an index");
  await inner.put(ref, bytes, { signal });
  assert.deepEqual(await store.get(ref, { signal, offset: 3, length: 2 }), bytes.subarray(3, 5));
  assert.throws(() => readdirSync(folder), /ENOENT/);
});

test("a damaged copy is dropped and fetched again; damage of the repository itself is handed on and not kept", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  const { ref, bytes } = file("index", "an index file");
  await store.put(ref, bytes, { signal });
  const path = join(folder, "index", ref.name);
  const other = file("index", "another index file");
  await store.put(other.ref, other.bytes, { signal });
  for (const damage of [
    () => truncateSync(path, 3),
    () => writeFileSync(path, "an indeX file"),
    () => rmSync(path),
    () => copyFileSync(join(folder, "index", other.ref.name), path),
  ]) {
    damage();
    assert.deepEqual(await store.get(ref, { signal }), bytes);
    assert.deepEqual(readFileSync(path), bytes);
  }
  truncateSync(path, 0);
  inner.script = always("get", FLIPPED);
  assert.notDeepEqual(await store.get(ref, { signal }), bytes);
  assert.deepEqual(readdirSync(join(folder, "index")), [other.ref.name]);
});

test("what is listed no more is kept no more, nor what is removed", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  const files = ["a", "b", "c"].map((text) => file("snapshots", text));
  for (const { ref, bytes } of files) await store.put(ref, bytes, { signal });
  const [first, second, third] = files.map(({ ref }) => ref);
  assert.ok(first && second && third);
  await inner.remove(first, { signal });
  await store.remove(second, { signal });
  assert.deepEqual(await namesOf(store, "snapshots"), [third.name]);
  assert.deepEqual(readdirSync(join(folder, "snapshots")), [third.name]);
});

test("a list that breaks removes nothing", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  for (const { ref, bytes } of ["a", "b"].map((text) => file("index", text))) await store.put(ref, bytes, { signal });
  inner.script = always("list", { how: "fail-after" });
  await assert.rejects(namesOf(store, "index"), /the line broke/);
  assert.equal(readdirSync(join(folder, "index")).length, 2);
});

test("the copies used longest ago go when there are too many", async () => {
  await using opened = await open();
  const { store, inner, folder, clock } = opened;
  const names: string[] = [];
  for (const text of ["a", "b", "c"]) {
    const { ref, bytes } = file("index", text);
    await store.put(ref, bytes, { signal });
    names.push(ref.name);
    utimesSync(join(folder, "index", ref.name), 1000, 1000 + names.length);
  }
  await clock.advance(5_000_000);
  await store.get({ kind: "index", name: names[0] ?? "" }, { signal });
  // Not really so large: a file with a hole.
  truncateSync(join(folder, "index", names[2] ?? ""), LIMITS.cacheMaxBytes - 1);
  await namesOf(store, "index");
  assert.deepEqual(new Set(readdirSync(join(folder, "index"))), new Set([names[0], names[2]]));
  assert.equal(inner.count("get"), 0);
});

test("a folder that cannot be made means no cache, and no failure", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  mkdirSync(join(folder, "../.."), { recursive: true });
  writeFileSync(join(folder, ".."), "a file where the folder would be");
  const { ref, bytes } = file("index", "an index");
  await store.put(ref, bytes, { signal });
  assert.deepEqual(await store.get(ref, { signal }), bytes);
  assert.deepEqual(await namesOf(store, "index"), [ref.name]);
  assert.equal(inner.count("get"), 1);
});

const PARTS = [0, 100, 200, 900].map((offset) => ({ offset, length: 100, tree: "any" as const, signal }));

/** A pack in the inner store. */
async function putPack(inner: FaultyStore): Promise<{ ref: FileRef; bytes: Buffer }> {
  const bytes = randomBytes(1000);
  const ref: FileRef = { kind: "data", name: hash("sha256", bytes) };
  await inner.put(ref, bytes, { signal });
  return { ref, bytes };
}

async function assertParts(store: Store, ref: FileRef, bytes: Buffer): Promise<void> {
  const parts = await Promise.all(PARTS.map(async (part) => await store.get(ref, part)));
  for (const [at, { offset, length }] of PARTS.entries()) {
    assert.deepEqual(parts[at], bytes.subarray(offset, offset + length));
  }
}

test("a pack of trees is fetched once for all who want a part of it, and other reads do not use the copy", async () => {
  await using opened = await open();
  const { store, inner, folder, clock } = opened;
  const { ref, bytes } = await putPack(inner);
  for (let time = 0; time < 3; time += 1) await assertParts(store, ref, bytes);
  await assertParts(caching(inner, { folder, clock }), ref, bytes);
  assert.equal(inner.count("get"), 1);
  assert.equal(statSync(join(folder, "data", ref.name)).mode & 0o777, 0o600);
  await store.get(ref, { offset: 0, length: 100, signal });
  await store.get(ref, { signal });
  assert.equal(inner.count("get"), 3);
});

test("a damaged copy of a pack is passed over for who asks anew, and then fetched again", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  const { ref, bytes } = await putPack(inner);
  await assertParts(store, ref, bytes);
  const path = join(folder, "data", ref.name);
  writeFileSync(path, Buffer.alloc(1000));
  const [part] = PARTS;
  assert.ok(part);
  assert.notDeepEqual(await store.get(ref, part), bytes.subarray(0, 100));
  assert.deepEqual(await store.get(ref, { ...part, tree: "anew" }), bytes.subarray(0, 100));
  await assertParts(store, ref, bytes);
  assert.deepEqual(readFileSync(path), bytes);
  // One that was cut needs nobody's word.
  truncateSync(path, 50);
  await assertParts(store, ref, bytes);
});

test("a pack that is not what its name says, or that cannot be kept, is read in parts", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  const { ref, bytes } = await putPack(inner);
  inner.script = onCall("get", 1, FLIPPED);
  await assert.doesNotReject(store.get(ref, { offset: 0, length: 100, tree: "any", signal }));
  await assertParts(store, ref, bytes);
  assert.equal(inner.count("get"), 1 + PARTS.length);
  assert.throws(() => readdirSync(join(folder, "data")), /ENOENT/);
  const past = store.get(ref, { offset: 950, length: 100, tree: "any", signal });
  await assert.rejects(past, (error) => isFailure(error, "store/not-found"));
});

test("a pack that is gone, or listed no more, is kept no more, and those used longest ago go first", async () => {
  await using opened = await open();
  const { store, inner, folder, clock } = opened;
  const packs = [await putPack(inner), await putPack(inner), await putPack(inner)];
  for (const { ref, bytes } of packs) await assertParts(store, ref, bytes);
  const [first, second, third] = packs;
  assert.ok(first && second && third);
  await store.remove(first.ref, { signal });
  assert.deepEqual(new Set(readdirSync(join(folder, "data"))), new Set([second.ref.name, third.ref.name]));
  await inner.remove(second.ref, { signal });
  await namesOf(store, "data");
  assert.deepEqual(readdirSync(join(folder, "data")), [third.ref.name]);
  // Not really so large: a file with a hole. The first pack that another process keeps sees that it is too much.
  const path = join(folder, "data", third.ref.name);
  truncateSync(path, LIMITS.cacheMaxBytes);
  utimesSync(path, 0, 0);
  const more = await putPack(inner);
  await clock.advance(5_000_000);
  await assertParts(caching(inner, { folder, clock }), more.ref, more.bytes);
  assert.deepEqual(readdirSync(join(folder, "data")), [more.ref.name]);
});

test("a repository reads its trees from copies, and damage of a copy is none of the repository's", async () => {
  await using opened = await open();
  const { inner, folder, clock } = opened;
  const made = await newRepository(inner);
  const files = { "a/one": Buffer.from("1"), "a/two": Buffer.from("2"), "b/three": Buffer.from("3") };
  await backUp(made, files);
  const readAll = async () => {
    const reading = reopen(made, caching(inner, { folder, clock }));
    const { snapshots } = await reading.listSnapshots({ signal });
    let count = 0;
    const root = snapshots[0]?.snapshot.tree;
    assert.ok(root !== undefined);
    for await (const _ of walkTree(reading, root, { signal })) count += 1;
    return count;
  };
  const count = await readAll();
  const before = inner.count("get", "data");
  assert.equal(await readAll(), count);
  assert.equal(inner.count("get", "data"), before);
  for (const name of readdirSync(join(folder, "data"))) {
    const path = join(folder, "data", name);
    writeFileSync(path, readFileSync(path).fill(0));
  }
  assert.equal(await readAll(), count);
  // What the place itself has lost is said where no copy hides it.
  rmSync(folder, { recursive: true });
  inner.script = always("get", FLIPPED, "data");
  await assert.rejects(readAll, (error) => isFailure(error, "repo/damaged"));
});

test("a pack of trees is kept as it is written, and one that is given up or not what its name says leaves nothing", async () => {
  await using opened = await open();
  const { store, inner, folder } = opened;
  const bytes = randomBytes(1000);
  const ref: FileRef = { kind: "data", name: hash("sha256", bytes) };
  const write = async (name: string | undefined, tree: boolean) => {
    const writer = await store.begin("data", { signal, isNew: true, tree });
    for (const at of [0, 300, 600]) await writer.write(bytes.subarray(at, at === 600 ? 1000 : at + 300));
    await (name === undefined ? writer.abort() : writer.commit(name));
  };
  await write(undefined, true);
  await write(hash("sha256", "something else"), true);
  await write(hash("sha256", "data"), false);
  assert.deepEqual(readdirSync(join(folder, "data")), []);
  await write(ref.name, true);
  await assertParts(store, ref, bytes);
  assert.equal(inner.count("get"), 0);
  assert.deepEqual(readdirSync(join(folder, "data")), [ref.name]);
  assert.equal(statSync(join(folder, "data", ref.name)).mode & 0o777, 0o600);
});

test("a pack of trees is written where no copy can be kept", async () => {
  await using opened = await open();
  const { store, folder } = opened;
  mkdirSync(join(folder, "../.."), { recursive: true });
  writeFileSync(join(folder, ".."), "a file where the folder would be");
  const bytes = randomBytes(1000);
  const ref: FileRef = { kind: "data", name: hash("sha256", bytes) };
  const writer = await store.begin("data", { signal, tree: true });
  await writer.write(bytes);
  await writer.commit(ref.name);
  assert.deepEqual(await store.get(ref, { signal }), bytes);
});
