import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { noticingStalls } from "../../src/store/noticing-stalls.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { HandClock, settle } from "../harness/hand-clock.ts";
import { testStore } from "./conformance.ts";
import { MemoryBackend } from "./memory-backend.ts";

const { signal } = new AbortController();
const KEY = `data/ab/${"ab".repeat(32)}`;

testStore("a place that is watched", async () => {
  const place = noticingStalls(new MemoryBackend(), { clock: new HandClock() });
  return { store: new RemoteStore(place, undefined), dispose: async () => {} };
});

/** Never answers, whether the signal is aborted or not. */
function silent(): { inner: MemoryBackend; signals: AbortSignal[] } {
  const inner = new MemoryBackend();
  const signals: AbortSignal[] = [];
  inner.before = async (_, __, given) => {
    signals.push(given);
    await new Promise(() => {});
  };
  return { inner, signals };
}

const isStall = (error: unknown) => isFailure(error, "store/unreachable") && /no end after \d+ s: /.test(error.message);

test("a call that never ends is ended, later the more bytes it moves, and its connection let go", async () => {
  const { inner, signals } = silent();
  const clock = new HandClock();
  const place = noticingStalls(inner, { clock });
  const looked = assert.rejects(place.stat(KEY, { signal }), isStall);
  let isWriting = true;
  const bytes = Buffer.alloc(LIMITS.storeSlowestRate * 60);
  const written = assert.rejects(place.put(KEY, bytes, { mustBeNew: false, signal }), isStall).then(() => {
    isWriting = false;
  });
  await settle();
  await clock.advance(LIMITS.storeStallMs);
  await looked;
  assert.ok(isWriting);
  await clock.advance(60_000);
  await written;
  assert.ok(signals.every((given) => given.aborted));
  assert.equal(clock.asleep, 0);
});

test("a list has its time for each key, and what the reader does meanwhile does not count", async () => {
  const inner = new MemoryBackend();
  for (const name of ["a", "b"]) inner.files.set(`keys/${name}`, Buffer.alloc(1));
  const clock = new HandClock();
  const found: string[] = [];
  for await (const { key } of noticingStalls(inner, { clock }).list("keys", { signal })) {
    found.push(key);
    await clock.advance(100 * LIMITS.storeStallMs);
  }
  assert.deepEqual(found, ["keys/a", "keys/b"]);
  inner.before = async () => {
    await new Promise(() => {});
  };
  const hanging = assert.rejects(Array.fromAsync(noticingStalls(inner, { clock }).list("keys", { signal })), isStall);
  await settle();
  await clock.advance(100 * LIMITS.storeStallMs);
  await hanging;
});
