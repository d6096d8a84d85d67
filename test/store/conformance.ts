/** What every store must do, whatever it is made of. Each store's own test file runs it. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { mapConcurrent } from "../../src/base/concurrent.ts";
import { isFailure } from "../../src/base/errors.ts";
import type { Beside, FileKind, FileRef, Store } from "../../src/store/store.ts";

const KINDS: readonly FileKind[] = ["keys", "locks", "snapshots", "index", "data"];
const signal = new AbortController().signal;

function named(kind: FileKind, bytes: Uint8Array): FileRef {
  return { kind, name: createHash("sha256").update(bytes).digest("hex") };
}

async function namesOf(store: Store, kind: FileKind): Promise<string[]> {
  const names: string[] = [];
  for await (const file of store.list(kind, { signal })) names.push(file.name);
  return names.toSorted();
}

/** More than one page of every service's listing (1,000 names). */
const MANY = 1_050;
/** Large enough that a store sends or writes it in many pieces. */
const LARGE = 6 * 1024 * 1024;

/** For a place that is a folder of this machine, behind whatever server. */
export function fillFolder(path: string): Fill {
  return async (refs) => {
    for (const { kind, name } of refs) await writeFile(join(path, kind, name), "");
  };
}

export interface OpenedStore {
  readonly store: Store;
  /** Takes the place away. */
  readonly dispose: () => Promise<void>;
  /** Puts empty files there past the store, where a thousand calls would take a test too long. */
  readonly fill?: Fill;
}

export interface StoreTraits {
  /** A store on a place that refuses everything to these credentials; left out where there is no such thing. */
  readonly openDenied?: () => Promise<OpenedStore>;
  /**
   * Why the place itself shows files in the making: then nothing of ours can hide them, and what asks that of it is
   * skipped. A repository stands it: what no index names does not count, and the next write of the name makes it whole.
   */
  readonly showsParts?: string;
  /** Only restic's own names can be written. */
  readonly isNarrow?: true;
}

/** `open` makes an empty place for a store. */
export function testStore(what: string, open: () => Promise<OpenedStore>, traits: StoreTraits = {}): void {
  const testOn =
    (opening: () => Promise<OpenedStore>): StoreTest =>
    (name, body) =>
      test(`${what}: ${name}`, async () => {
        const { store, dispose, fill } = await opening();
        const fillSlowly = async (refs: readonly FileRef[]) =>
          await mapAll(refs, async (ref) => await store.put(ref, Buffer.alloc(0), { signal }));
        try {
          await body(store, fill ?? fillSlowly);
        } finally {
          await store.close();
          await dispose();
        }
      });
  const skipping =
    (reason: string): StoreTest =>
    (name) =>
      test(`${what}: ${name}`, { skip: reason }, () => {});
  const storeTest = testOn(open);
  if (traits.openDenied !== undefined) testDenied(testOn(traits.openDenied));
  const wholeTest = traits.showsParts === undefined ? storeTest : skipping(traits.showsParts);
  testTogether(storeTest, wholeTest);
  testBeside(storeTest, wholeTest, traits.isNarrow === true);
  testAborts(storeTest, wholeTest);

  storeTest("a place where nothing is yet has no config and lists nothing", async (store) => {
    assert.equal(await store.stat({ kind: "config", name: "" }, { signal }), undefined);
    for (const kind of KINDS) assert.deepEqual(await namesOf(store, kind), []);
  });

  storeTest("what is put of every kind is listed with its size and read back", async (store) => {
    await store.create({ signal });
    for (const kind of KINDS) {
      const contents = [randomBytes(1), randomBytes(100_000)];
      const refs = contents.map((bytes) => named(kind, bytes));
      for (const [at, ref] of refs.entries()) await store.put(ref, contents[at] ?? Buffer.alloc(0), { signal });
      assert.deepEqual(await namesOf(store, kind), refs.map((ref) => ref.name).toSorted());
      for (const [at, ref] of refs.entries()) {
        assert.deepEqual(await store.get(ref, { signal }), contents[at]);
        assert.deepEqual(await store.stat(ref, { signal }), { sizeBytes: contents[at]?.length });
      }
    }
    await store.put({ kind: "config", name: "" }, Buffer.from("config"), { signal });
    assert.equal((await store.get({ kind: "config", name: "" }, { signal })).toString(), "config");
    const sizes: number[] = [];
    for await (const file of store.list("data", { signal })) sizes.push(file.sizeBytes);
    assert.deepEqual(
      sizes.toSorted((a, b) => a - b),
      [1, 100_000],
    );
  });

  storeTest("an empty file is a file", async (store) => {
    await store.create({ signal });
    const ref = named("locks", Buffer.alloc(0));
    await store.put(ref, Buffer.alloc(0), { signal });
    assert.equal((await store.get(ref, { signal })).length, 0);
    assert.deepEqual(await namesOf(store, "locks"), [ref.name]);
  });

  storeTest("a part of a file is read, and a part beyond its end is refused", async (store) => {
    await store.create({ signal });
    const bytes = randomBytes(1000);
    const ref = named("data", bytes);
    await store.put(ref, bytes, { signal });
    assert.deepEqual(await store.get(ref, { signal, offset: 990 }), bytes.subarray(990));
    assert.deepEqual(await store.get(ref, { signal, offset: 10, length: 20 }), bytes.subarray(10, 30));
    for (const span of [{ offset: 990, length: 11 }, { offset: 1001 }, { offset: 0, length: 2 ** 40 }]) {
      await assert.rejects(store.get(ref, { signal, ...span }), (error) => isFailure(error, "store/not-found"));
    }
  });

  storeTest("what is not there is store/not-found, and removing it is no error", async (store) => {
    await store.create({ signal });
    const ref = named("data", Buffer.from("never written"));
    await assert.rejects(store.get(ref, { signal }), (error) => isFailure(error, "store/not-found"));
    assert.equal(await store.stat(ref, { signal }), undefined);
    await store.remove(ref, { signal });
  });

  storeTest("a removed file is gone, others stay, and it can be written again", async (store) => {
    await store.create({ signal });
    for (const kind of KINDS) {
      const [ref, other] = [named(kind, Buffer.from("x")), named(kind, Buffer.from("y"))];
      await store.put(ref, Buffer.from("x"), { signal });
      await store.put(other, Buffer.from("y"), { signal });
      await store.remove(ref, { signal });
      await store.remove(ref, { signal });
      assert.equal(await store.stat(ref, { signal }), undefined);
      await assert.rejects(store.get(ref, { signal }), (error) => isFailure(error, "store/not-found"));
      assert.deepEqual(await namesOf(store, kind), [other.name]);
      await store.put(ref, Buffer.from("x"), { signal });
      assert.equal((await store.get(ref, { signal })).toString(), "x");
    }
  });

  storeTest("a place that was made already is made again without harm", async (store) => {
    await store.create({ signal });
    await store.put(named("keys", Buffer.from("x")), Buffer.from("x"), { signal });
    await store.create({ signal });
    assert.equal((await namesOf(store, "keys")).length, 1);
  });

  storeTest("parts at a file's very ends are read, and none of a length of nothing", async (store) => {
    await store.create({ signal });
    const bytes = randomBytes(5000);
    const ref = named("data", bytes);
    await store.put(ref, bytes, { signal });
    const spans = [
      { offset: 0, length: 1 },
      { offset: 4999, length: 1 },
      { offset: 0, length: 5000 },
      { offset: 5000 },
      { offset: 5000, length: 0 },
      { offset: 0, length: 0 },
    ];
    for (const { offset, length } of spans) {
      const part = await store.get(ref, { signal, offset, ...(length === undefined ? {} : { length }) });
      assert.deepEqual(part, bytes.subarray(offset, length === undefined ? undefined : offset + length));
    }
    const missing = named("data", Buffer.from("missing"));
    for (const span of [{ length: 0 }, { offset: 1 }, { offset: 0, length: 1 }]) {
      await assert.rejects(store.get(missing, { signal, ...span }), (error) => isFailure(error, "store/not-found"));
    }
  });

  storeTest("more names than a page holds are listed, each once", async (store, fill) => {
    await store.create({ signal });
    const refs = Array.from({ length: MANY }, (_, at) => named("locks", Buffer.from(`${at}`)));
    await fill(refs);
    assert.deepEqual(await namesOf(store, "locks"), refs.map(({ name }) => name).toSorted());
    assert.deepEqual(await namesOf(store, "index"), []);
    // Who stops reading a listing early leaves a store that goes on.
    for await (const file of store.list("locks", { signal })) {
      assert.equal(file.sizeBytes, 0);
      break;
    }
    assert.equal((await namesOf(store, "locks")).length, MANY);
  });

  storeTest("writing a name that exists keeps the file that is there", async (store) => {
    await store.create({ signal });
    for (const ref of [{ kind: "config", name: "" } as const, named("data", Buffer.from("first"))]) {
      await store.put(ref, Buffer.from("first"), { signal });
      await store.put(ref, Buffer.from("other"), { signal });
      assert.equal((await store.get(ref, { signal })).toString(), "first");
    }
  });

  storeTest("a writer's bytes appear at commit and not before, and the caller may reuse its buffer", async (store) => {
    await store.create({ signal });
    const writer = await store.begin("data", { signal });
    const buffer = Buffer.from("one ");
    await writer.write(buffer);
    buffer.write("two ");
    await writer.write(buffer);
    assert.deepEqual(await namesOf(store, "data"), []);
    const ref = named("data", Buffer.from("one two "));
    await writer.commit(ref.name);
    assert.equal((await store.get(ref, { signal })).toString(), "one two ");
  });

  storeTest("an aborted writer leaves nothing, even when aborted twice or after its commit", async (store) => {
    await store.create({ signal });
    const writer = await store.begin("data", { signal });
    await writer.write(Buffer.from("lost"));
    await writer.abort();
    await writer.abort();
    assert.deepEqual(await namesOf(store, "data"), []);
    const kept = await store.begin("data", { signal });
    await kept.write(Buffer.from("kept"));
    const ref = named("data", Buffer.from("kept"));
    await kept.commit(ref.name);
    await kept.abort();
    assert.equal((await store.get(ref, { signal })).toString(), "kept");
  });

  storeTest("many files at once all arrive", async (store) => {
    await store.create({ signal });
    const contents = Array.from({ length: 60 }, (_, at) => Buffer.from(`file ${at}`));
    await Promise.all(contents.map(async (bytes) => await store.put(named("data", bytes), bytes, { signal })));
    assert.equal((await namesOf(store, "data")).length, 60);
  });

  storeTest("a call with a signal that is aborted throws its reason", async (store) => {
    await store.create({ signal });
    const reason = new Error("stopped");
    const aborted = AbortSignal.abort(reason);
    const ref = named("data", Buffer.from("x"));
    const isReason = (error: unknown) => error === reason;
    await assert.rejects(store.put(ref, Buffer.from("x"), { signal: aborted }), isReason);
    await assert.rejects(store.get(ref, { signal: aborted }), isReason);
    await assert.rejects(store.remove(ref, { signal: aborted }), isReason);
  });
}

type StoreTest = (name: string, body: (store: Store, fill: Fill) => Promise<void>) => void;
type Fill = (refs: readonly FileRef[]) => Promise<void>;

async function mapAll<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  await mapConcurrent(items, 32, work, { signal });
}

/** Writers and readers at the same time. */
function testTogether(storeTest: StoreTest, wholeTest: StoreTest): void {
  wholeTest("no reader ever sees a part of a file that is being written", async (store) => {
    await store.create({ signal });
    const bytes = randomBytes(LARGE);
    const ref = named("data", bytes);
    const written = new AbortController();
    const writing = store.put(ref, bytes, { signal }).finally(() => written.abort());
    while (!written.signal.aborted) {
      const found = await store.stat(ref, { signal });
      if (found !== undefined) assert.equal(found.sizeBytes, LARGE);
      for await (const { sizeBytes } of store.list("data", { signal })) assert.equal(sizeBytes, LARGE);
      const end = await store.get(ref, { signal, offset: LARGE - 100, length: 100 }).catch((error: unknown) => {
        assert.ok(isFailure(error, "store/not-found"), String(error));
      });
      if (end !== undefined) assert.deepEqual(end, bytes.subarray(-100));
      await nextTurn();
    }
    await writing;
    assert.ok((await store.get(ref, { signal })).equals(bytes));
  });

  storeTest("writers of one name at once leave one whole file", async (store) => {
    await store.create({ signal });
    const bytes = randomBytes(300_000);
    const ref = named("data", bytes);
    const write = async () => {
      const writer = await store.begin("data", { signal });
      for (let at = 0; at < bytes.length; at += 100_000) await writer.write(bytes.subarray(at, at + 100_000));
      await writer.commit(ref.name);
    };
    await Promise.all([write(), write(), write(), store.put(ref, bytes, { signal })]);
    assert.deepEqual(await namesOf(store, "data"), [ref.name]);
    assert.ok((await store.get(ref, { signal })).equals(bytes));
  });

  storeTest("of two configurations written at once one stays, whole and for good", async (store) => {
    await store.create({ signal });
    const ref = { kind: "config", name: "" } as const;
    const contents = [Buffer.alloc(50_000, "a"), Buffer.alloc(50_000, "b")];
    await Promise.all(contents.map(async (bytes) => await store.put(ref, bytes, { signal })));
    const stayed = await store.get(ref, { signal });
    assert.ok(contents.some((bytes) => bytes.equals(stayed)));
    for (const bytes of contents) await store.put(ref, bytes, { signal });
    assert.ok((await store.get(ref, { signal })).equals(stayed));
  });
}

function testAborts(storeTest: StoreTest, wholeTest: StoreTest): void {
  wholeTest("a write that is aborted in the middle leaves the whole file or none", async (store) => {
    await store.create({ signal });
    const reason = new Error("stopped");
    for (const turns of [0, 1, 3, 10, 30, 100]) {
      const bytes = randomBytes(LARGE);
      const ref = named("data", bytes);
      const controller = new AbortController();
      const ended = store.put(ref, bytes, { signal: controller.signal }).then(
        () => "written",
        (error: unknown) => error,
      );
      for (let turn = 0; turn < turns; turn += 1) await nextTurn();
      controller.abort(reason);
      const end = await ended;
      assert.ok(end === "written" || end === reason, String(end));
      const found = await store.stat(ref, { signal });
      if (end === "written") assert.notEqual(found, undefined);
      if (found !== undefined) assert.equal(found.sizeBytes, LARGE);
      for await (const { sizeBytes } of store.list("data", { signal })) assert.equal(sizeBytes, LARGE);
      await store.put(ref, bytes, { signal });
      assert.ok((await store.get(ref, { signal })).equals(bytes));
      await store.remove(ref, { signal });
    }
  });

  storeTest("a read that is aborted in the middle throws the reason, and the store goes on", async (store) => {
    await store.create({ signal });
    const bytes = randomBytes(LARGE);
    const ref = named("data", bytes);
    await store.put(ref, bytes, { signal });
    const reason = new Error("stopped");
    for (const turns of [0, 1, 3, 10]) {
      const controller = new AbortController();
      const ended = store.get(ref, { signal: controller.signal }).then(
        (read) => read,
        (error: unknown) => error,
      );
      for (let turn = 0; turn < turns; turn += 1) await nextTurn();
      controller.abort(reason);
      const end = await ended;
      assert.ok(end === reason || (Buffer.isBuffer(end) && end.equals(bytes)), String(end));
      assert.ok((await store.get(ref, { signal })).equals(bytes));
    }
  });
}

/** Files of our own, which are no repository's. */
function testBeside(storeTest: StoreTest, wholeTest: StoreTest, isNarrow: boolean): void {
  if (isNarrow) {
    storeTest("nothing is written beside a repository where only its own names can be", async (store) => {
      assert.equal(store.beside, undefined);
    });
    return;
  }
  storeTest(
    "files beside the repository come, are listed by folder, and go; no kind of the repository's tells them",
    async (store) => {
      await store.create({ signal });
      const beside = besideOf(store);
      assert.deepEqual(await namesBeside(store, "journal/a-b_c"), []);
      await beside.remove("journal/a-b_c/1", { signal });
      await assert.rejects(beside.get("journal/a-b_c/1", { signal }), (error) => isFailure(error, "store/not-found"));
      const bytes = randomBytes(70_000);
      await beside.put("journal/a-b_c/1-2.x", bytes, { signal });
      await beside.put("journal/a-b_c/3", Buffer.alloc(0), { signal });
      await beside.put("journal/a%20b/1", Buffer.from("another folder"), { signal });
      await beside.put("journal/of-nobody", Buffer.from("above"), { signal });
      assert.deepEqual(await namesBeside(store, "journal/a-b_c"), ["1-2.x 70000", "3 0"]);
      assert.deepEqual(await namesBeside(store, "journal/a%20b"), ["1 14"]);
      assert.ok((await beside.get("journal/a-b_c/1-2.x", { signal })).equals(bytes));
      assert.equal((await beside.get("journal/a-b_c/3", { signal })).length, 0);
      for (const kind of KINDS) assert.deepEqual(await namesOf(store, kind), []);
      await beside.remove("journal/a-b_c/1-2.x", { signal });
      assert.deepEqual(await namesBeside(store, "journal/a-b_c"), ["3 0"]);
      await beside.put("journal/a-b_c/1-2.x", bytes, { signal });
      assert.ok((await beside.get("journal/a-b_c/1-2.x", { signal })).equals(bytes));
      assert.equal(await store.removeLeftovers({ signal }), 0);
      assert.deepEqual(await namesBeside(store, "journal/a-b_c"), ["1-2.x 70000", "3 0"]);
    },
  );

  wholeTest("a file beside the repository whose writing is aborted is whole or not there", async (store) => {
    await store.create({ signal });
    const beside = besideOf(store);
    const reason = new Error("stopped");
    await assert.rejects(beside.put("journal/a/0", Buffer.from("x"), { signal: AbortSignal.abort(reason) }), reason);
    for (const turns of [0, 1, 3, 10, 30]) {
      const bytes = randomBytes(LARGE / 4);
      const controller = new AbortController();
      const path = `journal/a/${turns}`;
      const ended = beside.put(path, bytes, { signal: controller.signal }).then(
        () => "written",
        (error: unknown) => error,
      );
      for (let turn = 0; turn < turns; turn += 1) await nextTurn();
      controller.abort(reason);
      const end = await ended;
      assert.ok(end === "written" || end === reason, String(end));
      const found = await beside.get(path, { signal }).catch((error: unknown) => {
        assert.ok(isFailure(error, "store/not-found"), String(error));
      });
      if (end === "written") assert.ok(found !== undefined);
      assert.ok(found === undefined || found.equals(bytes));
      await beside.put(path, bytes, { signal });
      assert.ok((await beside.get(path, { signal })).equals(bytes));
    }
  });
}

async function namesBeside(store: Store, folder: string): Promise<string[]> {
  const files = await Array.fromAsync(besideOf(store).list(folder, { signal }));
  return files.map(({ name, sizeBytes }) => `${name} ${sizeBytes}`).toSorted();
}

function besideOf(store: Store): Beside {
  assert.ok(store.beside, "nothing can be written beside the repository");
  return store.beside;
}

/** What is denied must never look like what is not there: a repository would seem new, or a lock gone. */
function testDenied(storeTest: StoreTest): void {
  storeTest("what the place denies is store/denied in every call, and never looks absent", async (store) => {
    const ref = named("data", Buffer.from("x"));
    const calls = {
      stat: async () => await store.stat(ref, { signal }),
      get: async () => await store.get(ref, { signal }),
      put: async () => await store.put(ref, Buffer.from("x"), { signal }),
      list: async () => await namesOf(store, "data"),
      remove: async () => await store.remove(ref, { signal }),
    };
    for (const [name, call] of Object.entries(calls)) {
      await assert.rejects(call, (error) => isFailure(error, "store/denied"), name);
    }
  });
}
