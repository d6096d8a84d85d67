/** A thread's share of the files in a bucket: fetched at once, sealed, and answered in the order of their task. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../../src/base/limits.ts";
import { ObjectReader } from "../../src/job/read-objects.ts";
import type { ObjectsTask } from "../../src/job/sealing-tasks.ts";
import type { StoredFile } from "../../src/repo/store-file.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import type { GcsSpec } from "../../src/source/source.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { newRepository, openWriting, reopen, signal } from "../repo/small-backup.ts";

let gs: TestGs;

before(async () => {
  gs = await startGs();
});
after(async () => await gs[Symbol.asyncDispose]());

function specOf(bucket: string): GcsSpec {
  const names = { credentials: "GCS_CREDENTIALS", bucket: "GCS_BUCKET", address: "GCS_BUCKET" };
  return { kind: "gcs", service: bucket, bucket, names, key: undefined, projectId: undefined, emulator: gs.endpoint };
}

function taskOf(bucket: string, files: ObjectsTask["files"]): ObjectsTask {
  return { kind: "objects", source: specOf(bucket), files, isNew: true, inFlight: 4 };
}

test("files of any length are sealed with the MD5 of what can be read back, and what is wrong is told in its place", async () => {
  const objects = new Map<string, Buffer>();
  for (let n = 0; n < 40; n += 1) objects.set(`key${n}`, randomBytes(1 + n * 100));
  objects.set("empty", Buffer.alloc(0));
  objects.set("whole", randomBytes(LIMITS.chunkMaxBytes));
  objects.set("large", randomBytes(LIMITS.chunkMaxBytes + 5));
  gs.buckets.set("acme", objects);
  const repository = await newRepository(createMemoryStore());
  const { sealer, writer } = await openWriting(repository);
  const reader = new ObjectReader(sealer, { signal });
  const files = [...objects].map(([key, bytes]) => ({ key, bytes: bytes.length }));
  const task = taskOf("acme", [{ key: "gone", bytes: 3 }, ...files]);
  const other = taskOf("nowhere", [{ key: "key1", bytes: 3 }]);
  // Both are begun before either has its turn.
  reader.foresee(task);
  reader.foresee(other);
  const [gone, ...found] = await reader.take(task);
  const [unavailable] = await reader.take(other);
  await reader.close();
  await sealer.flush();
  await writer.finish();

  assert.deepEqual(gone, { kind: "missing" });
  assert.equal(unavailable?.kind, "unavailable");
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  for (const [at, { key }] of files.entries()) {
    const bytes = objects.get(key) ?? Buffer.alloc(0);
    const file = found[at] as StoredFile & { kind: "stored" };
    assert.equal(file.kind, "stored", key);
    assert.equal(file.md5, createHash("md5").update(bytes).digest("base64"), key);
    assert.equal(file.content.length, Math.ceil(bytes.length / LIMITS.chunkMaxBytes), key);
    const read = await Promise.all(file.content.map(async (id) => await fresh.readChunk("data", id, { signal })));
    assert.ok(Buffer.concat(read).equals(bytes), key);
  }
});

/** Holds that as many requests come at once, and no more, when none is answered before. */
async function assertAtOnce(wanted: number, files: ObjectsTask["files"], inFlight: number): Promise<void> {
  const { promise: open, resolve } = Promise.withResolvers<void>();
  const asked = { now: 0, most: 0 };
  gs.gate = async () => {
    asked.now += 1;
    asked.most = Math.max(asked.most, asked.now);
    await open;
    asked.now -= 1;
  };
  gs.buckets.set("many", new Map(files.map(({ key }) => [key, Buffer.from(key)])));
  const { sealer } = await openWriting(await newRepository(createMemoryStore()));
  const reader = new ObjectReader(sealer, { signal });
  const task = { ...taskOf("many", files), inFlight };
  reader.foresee(task);
  while (asked.now < wanted) await sleep(1);
  // Whoever would come too early has time to.
  await sleep(20);
  resolve();
  const found = await reader.take(task);
  assert.ok(found.every(({ kind }) => kind === "stored"));
  assert.equal(asked.most, wanted);
  await reader.close();
  await sealer.abort();
  gs.gate = async () => {};
}

function twelve(bytes: number): ObjectsTask["files"] {
  return Array.from({ length: 12 }, (_, n) => ({ key: `key${n}`, bytes }));
}

test("so many files are fetched at once as they may, and of large ones no more than lie in memory", async () => {
  await assertAtOnce(5, twelve(10), 5);
  await assertAtOnce(12, twelve(10), 64);
  await assertAtOnce(LIMITS.objectBytesInFlight / LIMITS.chunkMaxBytes, twelve(20 * LIMITS.chunkMaxBytes), 64);
});
