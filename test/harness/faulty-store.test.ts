import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { testStore } from "../store/conformance.ts";
import { always, CUT, FaultyStore, FLIPPED, onCall } from "./faulty-store.ts";

const { signal } = new AbortController();
const REF = { kind: "data", name: "ab".repeat(32) } as const;
const BYTES = Buffer.from("some bytes");

function faulty(): FaultyStore {
  return new FaultyStore(createMemoryStore());
}

testStore("faulty store without a script", async () => ({ store: faulty(), dispose: async () => {} }));

test("a call fails before or after it is done, the nth or every one, and calls are counted", async () => {
  const store = faulty();
  store.script = onCall("put", 1, { how: "fail" });
  await assert.rejects(store.put(REF, BYTES, { signal }), (error) => isFailure(error, "store/unreachable"));
  assert.equal(await store.stat(REF, { signal }), undefined);
  store.script = always("put", { how: "fail-after" }, "data");
  await assert.rejects(store.put(REF, BYTES, { signal }));
  assert.deepEqual(await store.get(REF, { signal }), BYTES);
  assert.equal(store.count("put", "data"), 2);
  assert.deepEqual(
    store.calls.map((call) => call.verb),
    ["put", "stat", "put", "get"],
  );
});

test("bytes come wrong or cut, and files are listed late", async () => {
  const store = faulty();
  await store.put(REF, BYTES, { signal });
  store.script = always("get", FLIPPED);
  assert.notDeepEqual(await store.get(REF, { signal }), BYTES);
  store.script = always("get", CUT);
  assert.equal((await store.get(REF, { signal })).length, BYTES.length >> 1);
  store.script = onCall("list", 1, { how: "late" });
  assert.deepEqual(await Array.fromAsync(store.list("data", { signal })), []);
  assert.equal((await Array.fromAsync(store.list("data", { signal }))).length, 1);
});

test("a slow call waits for its word, and an abort ends it", async () => {
  const store = faulty();
  await store.put(REF, BYTES, { signal });
  const go = Promise.withResolvers<void>();
  store.script = always("get", { how: "wait", until: go.promise });
  const slow = store.get(REF, { signal });
  const stop = new AbortController();
  const stopped = store.get(REF, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(stopped, /enough/);
  go.resolve();
  assert.deepEqual(await slow, BYTES);
});
