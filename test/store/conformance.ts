/** What every store must do, whatever it is made of. Each store's own test file runs it. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import type { FileKind, FileRef, Store } from "../../src/store/store.ts";

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

/** `open` makes an empty place for a store; `dispose` takes it away. */
export function testStore(what: string, open: () => Promise<{ store: Store; dispose: () => Promise<void> }>): void {
  const storeTest = (name: string, body: (store: Store) => Promise<void>) =>
    test(`${what}: ${name}`, async () => {
      const { store, dispose } = await open();
      try {
        await body(store);
      } finally {
        await dispose();
      }
    });

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

  storeTest("a removed file is gone", async (store) => {
    await store.create({ signal });
    const ref = named("index", Buffer.from("x"));
    await store.put(ref, Buffer.from("x"), { signal });
    await store.remove(ref, { signal });
    assert.equal(await store.stat(ref, { signal }), undefined);
    assert.deepEqual(await namesOf(store, "index"), []);
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
