import assert from "node:assert/strict";
import { hash, randomBytes } from "node:crypto";
import { test } from "node:test";
import type { FileRef } from "../../src/store/store.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { MemoryBackend } from "./memory-backend.ts";

const { signal } = new AbortController();

function named(bytes: Uint8Array): FileRef & { key: string } {
  const name = hash("sha256", bytes);
  return { kind: "data", name, key: `data/${name.slice(0, 2)}/${name}` };
}

test("whether a name is there is asked, but for one that is new by chance", async () => {
  const backend = new MemoryBackend();
  const store = new RemoteStore(backend, undefined);
  const [asked, fresh] = [randomBytes(10), randomBytes(10)];
  await store.put(named(asked), asked, { signal });
  await store.put(named(fresh), fresh, { signal, isNew: true });
  const { key } = named(asked);
  assert.deepEqual(backend.calls, [`stat ${key}`, `put ${key}`, `put ${named(fresh).key}`]);
  // The configuration's name is no hash: it is always asked for.
  await store.put({ kind: "config", name: "" }, asked, { signal, isNew: true });
  assert.deepEqual(backend.calls.slice(3), ["stat config", "put config"]);
});

test("files that are written one after another and at once keep to their own bytes, however long", async () => {
  const backend = new MemoryBackend();
  const store = new RemoteStore(backend, undefined);
  const write = async (bytes: Buffer, tree: boolean) => {
    const writer = await store.begin("data", { signal, isNew: true, tree });
    for (let at = 0; at < bytes.length; at += 1_000_000) await writer.write(bytes.subarray(at, at + 1_000_000));
    await writer.commit(named(bytes).name);
  };
  for (let round = 0; round < 2; round += 1) {
    const contents = [40_000_000, 3_000_000, 10, 0].map((length) => randomBytes(length));
    await Promise.all(contents.map(async (bytes, at) => await write(bytes, at % 2 === 0)));
    for (const bytes of contents) assert.ok(backend.files.get(named(bytes).key)?.equals(bytes));
    const abandoned = await store.begin("data", { signal });
    await abandoned.write(randomBytes(100));
    await abandoned.abort();
  }
  assert.equal(backend.files.size, 7);
});
