import assert from "node:assert/strict";
import { test } from "node:test";
import { limiting, newAccount } from "../../src/store/limiting.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { HandClock, settle } from "../harness/hand-clock.ts";
import { testStore } from "./conformance.ts";
import { MemoryBackend } from "./memory-backend.ts";

const { signal } = new AbortController();
const CONNECTIONS = 3;
const put = { mustBeNew: false, signal };

testStore("a place with one connection and a rate", async () => {
  const settings = { connections: 1, uploadRate: 1000, downloadRate: 1000 };
  const place = limiting(new MemoryBackend(), settings, { clock: new HandClock({ wakesAtOnce: true }) });
  return { store: new RemoteStore(place, undefined), dispose: async () => {} };
});

test("no more calls are under way than there are connections, in their order, and an aborted one leaves the queue", async () => {
  const inner = new MemoryBackend();
  const running: (() => void)[] = [];
  inner.before = async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    running.push(resolve);
    await promise;
  };
  const place = limiting(inner, { connections: CONNECTIONS }, { clock: new HandClock() });
  const calls = Array.from({ length: 5 }, (_, at) => place.stat(`keys/${at}`, { signal }));
  const stop = new AbortController();
  const stopped = assert.rejects(place.stat("keys/stopped", { signal: stop.signal }), /enough/);
  calls.push(place.stat("keys/last", { signal }));
  await settle();
  assert.equal(running.length, CONNECTIONS);
  stop.abort(new Error("enough"));
  await stopped;
  while (running.length > 0) {
    running.shift()?.();
    await settle();
    assert.ok(running.length <= CONNECTIONS);
  }
  await Promise.all(calls);
  assert.deepEqual(
    inner.calls,
    ["0", "1", "2", "3", "4", "last"].map((name) => `stat keys/${name}`),
  );
});

test("a call that fails gives its connection back", async () => {
  const inner = new MemoryBackend();
  const place = limiting(inner, { connections: 1 }, { clock: new HandClock() });
  await assert.rejects(place.get("config", { offset: 0, length: undefined, signal }));
  assert.equal(await place.stat("config", { signal }), undefined);
});

test("who reads a list may call the place meanwhile, with one connection too", async () => {
  const inner = new MemoryBackend();
  for (const name of ["a", "b"]) inner.files.set(`keys/${name}`, Buffer.alloc(1));
  const place = limiting(inner, { connections: 1 }, { clock: new HandClock() });
  for await (const { key } of place.list("keys", { signal })) assert.ok(await place.stat(key, { signal }));
});

test("threads that share an account keep one upload rate together, and downloads have their own", async () => {
  const clock = new HandClock();
  const settings = { uploadRate: 1000, downloadRate: 500, account: newAccount() };
  const inner = new MemoryBackend();
  const [one, other] = [limiting(inner, settings, { clock }), limiting(inner, settings, { clock })];
  const bytes = Buffer.alloc(1000);
  const calls = [one.put("keys/1", bytes, put), other.put("keys/2", bytes, put), one.put("keys/3", bytes, put)];
  await settle();
  assert.deepEqual(clock.waits, [1000, 2000]);
  assert.equal(inner.files.size, 1);
  await clock.advance(1000);
  assert.equal(inner.files.size, 2);
  await clock.advance(1000);
  await Promise.all(calls);
  // A read whose length nobody knew is paid for afterwards; one whose length is known, before.
  await one.get("keys/1", { offset: 0, length: undefined, signal });
  const part = other.get("keys/1", { offset: 0, length: 500, signal });
  const last = one.get("keys/1", { offset: 0, length: 1, signal });
  await settle();
  assert.deepEqual(clock.waits.slice(2), [2000, 3000]);
  await clock.advance(3000);
  await Promise.all([part, last]);
});

test("an idle line saves nothing up", async () => {
  const clock = new HandClock();
  const place = limiting(new MemoryBackend(), { uploadRate: 1000 }, { clock });
  await clock.advance(3_600_000);
  await place.put("keys/1", Buffer.alloc(1000), put);
  const second = place.put("keys/2", Buffer.alloc(1), put);
  await settle();
  assert.deepEqual(clock.waits, [1000]);
  await clock.advance(1000);
  await second;
});

test("an abort ends the wait for the line", async () => {
  const clock = new HandClock();
  const place = limiting(new MemoryBackend(), { uploadRate: 1 }, { clock });
  await place.put("keys/1", Buffer.alloc(1000), put);
  const stop = new AbortController();
  const stopped = assert.rejects(
    place.put("keys/2", Buffer.alloc(1), { mustBeNew: false, signal: stop.signal }),
    /enough/,
  );
  stop.abort(new Error("enough"));
  await stopped;
  assert.equal(clock.asleep, 0);
});
