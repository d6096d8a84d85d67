import assert from "node:assert/strict";
import { test } from "node:test";
import { createMemoryStore, type MemoryWrite } from "../../src/store/memory-store.ts";
import { testStore } from "./conformance.ts";

const signal = new AbortController().signal;
const REF = { kind: "data", name: "ab".repeat(32) } as const;

testStore("memory store", async () => ({ store: createMemoryStore(), dispose: async () => {} }));

test("the hook of a memory store sees each change before it happens, counted, and can stop it", async () => {
  const store = createMemoryStore();
  const seen: MemoryWrite[] = [];
  store.beforeWrite = (write) => {
    seen.push(write);
    if (write.count >= 3) throw new Error("crashed");
  };
  await store.create({ signal });
  await store.put(REF, Buffer.from("x"), { signal });
  await assert.rejects(store.remove(REF, { signal }), /crashed/);
  assert.deepEqual(
    seen.map((write) => write.action),
    ["create", "put", "remove"],
  );
  assert.ok(store.files.has(`data/${REF.name}`));
});
