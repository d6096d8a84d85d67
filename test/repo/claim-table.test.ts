import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { ClaimTable } from "../../src/repo/claim-table.ts";

function idOf(number: number): Buffer {
  return createHash("sha256").update(String(number)).digest();
}

test("an id is claimed once", () => {
  const table = new ClaimTable(100);
  assert.equal(table.claim(idOf(1)), true);
  assert.equal(table.claim(idOf(1)), false);
  assert.equal(table.claim(idOf(2)), true);
  assert.equal(new ClaimTable(table.parts).claim(idOf(2)), false);
});

test("ids that begin alike are told apart", () => {
  const table = new ClaimTable(100);
  const ids = Array.from({ length: 50 }, (_, at) => {
    const id = Buffer.alloc(32);
    id[31] = at;
    return id;
  });
  for (const id of ids) assert.equal(table.claim(id), true);
  for (const id of ids) assert.equal(table.claim(id), false);
});

test("a full table lets everybody write, and still knows what it holds", () => {
  const table = new ClaimTable(10);
  for (let number = 0; number < 10; number += 1) assert.equal(table.claim(idOf(number)), true);
  assert.equal(table.claim(idOf(10)), true);
  assert.equal(table.claim(idOf(10)), true);
  assert.equal(table.claim(idOf(3)), false);
});

test("over four threads each id has exactly one claimer", async () => {
  const table = new ClaimTable(40_000);
  const start = new SharedArrayBuffer(4);
  const workers = Array.from(
    { length: 4 },
    (_, seed) =>
      new Worker(new URL("claim-worker.ts", import.meta.url), {
        workerData: { parts: table.parts, start, ids: 20_000, seed },
      }),
  );
  const ready = workers.map(async (worker) => await new Promise<unknown>((resolve) => worker.once("message", resolve)));
  await Promise.all(ready);
  const results = workers.map(
    async (worker) =>
      await new Promise<number[]>((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      }),
  );
  Atomics.store(new Int32Array(start), 0, 1);
  Atomics.notify(new Int32Array(start), 0);
  const won = (await Promise.all(results)).flat();
  assert.equal(won.length, 20_000);
  assert.equal(new Set(won).size, 20_000);
});
