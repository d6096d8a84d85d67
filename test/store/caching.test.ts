import assert from "node:assert/strict";
import { hash } from "node:crypto";
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
import { LIMITS } from "../../src/base/limits.ts";
import { caching } from "../../src/store/caching.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import type { FileKind, FileRef, Store } from "../../src/store/store.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../../src/system/temporary.ts";
import { always, FaultyStore, FLIPPED } from "../harness/faulty-store.ts";
import { HandClock } from "../harness/hand-clock.ts";
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
