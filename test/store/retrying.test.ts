import assert from "node:assert/strict";
import { test } from "node:test";
import { array, assert as assertProperty, asyncProperty, nat } from "fast-check";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import type { Backend } from "../../src/store/backend.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { parseRetryAfter } from "../../src/base/retry-after.ts";
import { retrying, type Retry } from "../../src/store/retrying.ts";
import { HandClock, settle } from "../harness/hand-clock.ts";
import { testStore } from "./conformance.ts";
import { lineBroke, MemoryBackend } from "./memory-backend.ts";

const { signal } = new AbortController();
const KEY = `data/ab/${"ab".repeat(32)}`;
const BYTES = Buffer.from("some bytes of a pack");

interface Place {
  inner: MemoryBackend;
  place: Backend;
  clock: HandClock;
  told: Retry[];
}

/** A place that was reached before, with half of every span waited. */
function open(options: { wasReached?: boolean; clock?: HandClock } = {}): Place {
  const { wasReached = true, clock = new HandClock({ wakesAtOnce: true }) } = options;
  const inner = new MemoryBackend();
  inner.files.set(KEY, BYTES);
  const told: Retry[] = [];
  const onRetry = (retry: Retry) => void told.push(retry);
  return { inner, clock, told, place: retrying(inner, { clock, random: () => 0.5, wasReached, onRetry }) };
}

const WHOLE = { offset: 0, length: undefined, signal };

testStore("a place that fails every third call, tried again", async () => {
  const inner = new MemoryBackend();
  inner.before = (_, count) => {
    if (count % 3 === 1) throw lineBroke();
  };
  const clock = new HandClock({ wakesAtOnce: true });
  return { store: new RemoteStore(retrying(inner, { clock, random: () => 0 }), undefined), dispose: async () => {} };
});

test("waits double, are random within their span, have a longest, and are told", async () => {
  const { inner, place, clock, told } = open();
  inner.before = (_, count) => {
    if (count <= 8) throw lineBroke();
  };
  assert.deepEqual(await place.get(KEY, WHOLE), BYTES);
  const longest = LIMITS.retryLongestWaitMs / 2;
  assert.deepEqual(clock.waits, [500, 1000, 2000, 4000, 8000, 16_000, longest, longest]);
  assert.deepEqual(
    told.map((retry) => retry.waitMs),
    clock.waits,
  );
  assert.equal(told[0]?.message, "the line broke");
});

test("what cannot pass is thrown at once", async () => {
  for (const code of ["store/denied", "store/full", "store/not-found", "usage/invalid"] as const) {
    const { inner, place, clock } = open();
    inner.before = () => {
      throw new Failure(code, "no");
    };
    await assert.rejects(place.stat(KEY, { signal }), (error) => isFailure(error, code));
    assert.deepEqual([inner.calls.length, clock.waits.length], [1, 0]);
  }
});

function isGivenUp(error: unknown): boolean {
  return isFailure(error, "store/unreachable") && /tried \d+ times/.test(error.message);
}

test("patience ends, sooner with a place that never answered", async () => {
  for (const [wasReached, patienceMs] of [
    [true, LIMITS.retryPatienceMs],
    [false, LIMITS.retryFirstContactMs],
  ] as const) {
    const { inner, place, clock } = open({ wasReached });
    inner.before = () => {
      throw lineBroke();
    };
    await assert.rejects(place.remove(KEY, { signal }), isGivenUp);
    assert.ok(clock.now() <= patienceMs && clock.now() > patienceMs / 3, `${clock.now()}`);
  }
});

test("an answer makes a place one that was reached, even that a file is not there", async () => {
  const { inner, place, clock } = open({ wasReached: false });
  await assert.rejects(place.get("config", WHOLE), (error) => isFailure(error, "store/not-found"));
  inner.before = () => {
    if (clock.now() < 2 * LIMITS.retryFirstContactMs) throw lineBroke();
  };
  assert.deepEqual(await place.get(KEY, WHOLE), BYTES);
});

test("the other side's wish is obeyed, and one beyond all patience ends the call", async () => {
  const { inner, place, clock } = open();
  inner.before = (_, count) => {
    if (count === 1) throw lineBroke(42_000);
  };
  await place.stat(KEY, { signal });
  assert.deepEqual(clock.waits, [42_000]);
  inner.before = () => {
    throw lineBroke(LIMITS.retryPatienceMs + 1);
  };
  await assert.rejects(place.stat(KEY, { signal }), (error) => isFailure(error) && error.message === "the line broke");
  assert.equal(clock.waits.length, 1);
});

test("Retry-After is read in seconds, and nothing else is", () => {
  for (const [header, ms] of [
    ["120", 120_000],
    [" 0 ", 0],
    ["-1", undefined],
    ["soon", undefined],
    ["Wed, 21 Oct 2015 07:28:00 GMT", undefined],
    [undefined, undefined],
  ] as const)
    assert.equal(parseRetryAfter(header), ms);
});

test("an abort ends the waiting at once", async () => {
  const clock = new HandClock();
  const { inner, place } = open({ clock });
  inner.before = () => {
    throw lineBroke();
  };
  const stop = new AbortController();
  const call = place.stat(KEY, { signal: stop.signal });
  call.catch(() => {});
  await settle();
  assert.equal(clock.asleep, 1);
  stop.abort(new Failure("run/cancelled", "enough"));
  await assert.rejects(call, (error) => isFailure(error, "run/cancelled"));
  assert.deepEqual([clock.asleep, inner.calls.length], [0, 1]);
});

test("a put that succeeded and was said to have failed is not sent twice; a half-known one is", async () => {
  const { inner, place } = open();
  inner.files.clear();
  inner.after = (call, count) => {
    if (call.startsWith("put") && count === 1) throw lineBroke();
  };
  await place.put(KEY, BYTES, { mustBeNew: false, signal });
  assert.deepEqual(inner.calls, [`put ${KEY}`, `stat ${KEY}`]);
  inner.calls.length = 0;
  inner.files.set(KEY, Buffer.from("another size"));
  inner.after = () => {};
  inner.before = (_, count) => {
    if (count === 1) throw lineBroke();
  };
  await place.put(KEY, BYTES, { mustBeNew: false, signal });
  assert.deepEqual(inner.calls, [`put ${KEY}`, `stat ${KEY}`, `put ${KEY}`]);
  assert.deepEqual(inner.files.get(KEY), BYTES);
});

test("a config that is there at the second try stays, whoever wrote it", async () => {
  const { inner, place } = open();
  inner.before = (_, count) => {
    if (count > 1) return;
    inner.files.set("config", Buffer.from("somebody else's"));
    throw lineBroke();
  };
  await place.put("config", Buffer.from("mine"), { mustBeNew: true, signal });
  assert.equal(inner.files.get("config")?.toString(), "somebody else's");
});

test("a read that comes cut is read again, and one of a file that is too short is not", async () => {
  const { inner, place } = open();
  inner.change = (bytes, count) => (count === 1 ? bytes.subarray(0, 3) : bytes);
  const part = { offset: 2, length: 5, signal };
  assert.deepEqual(await place.get(KEY, part), BYTES.subarray(2, 7));
  assert.deepEqual(inner.calls, [`get ${KEY}`, `stat ${KEY}`, `get ${KEY}`]);
  inner.calls.length = 0;
  inner.change = () => {
    inner.files.set(KEY, BYTES.subarray(0, 3));
    return Buffer.from("x");
  };
  await assert.rejects(place.get(KEY, part), (error) => isFailure(error, "store/not-found"));
  assert.equal(inner.calls.length, 2);
});

test("calls that wait at the same time tell of it once", async () => {
  const clock = new HandClock();
  const { inner, place, told } = open({ clock });
  inner.before = (_, count) => {
    if (count <= 5) throw lineBroke();
  };
  const calls = Promise.all(Array.from({ length: 5 }, () => place.stat(KEY, { signal })));
  await settle();
  assert.equal(told.length, 1);
  await clock.advance(500);
  await calls;
});

test("a list that breaks anywhere, any number of times, tells each key once", async () => {
  await assertProperty(
    asyncProperty(nat(12), array(nat(20), { maxLength: 6 }), async (count, breaks) => {
      const { inner, place } = open();
      inner.files.clear();
      const keys = Array.from({ length: count }, (_, at) => `keys/${at}`);
      for (const key of keys) inner.files.set(key, Buffer.alloc(1));
      const left = [...breaks];
      let seen = 0;
      inner.beforeKey = () => {
        const [next] = left;
        if (next === undefined || seen++ < next) return;
        left.shift();
        seen = 0;
        throw lineBroke();
      };
      const found = await Array.fromAsync(place.list("keys", { signal }));
      assert.deepEqual(
        found.map((file) => file.key),
        keys,
      );
    }),
    { numRuns: 200 },
  );
});

test("what the reader of a list throws is no failure of the place", async () => {
  const { inner, place } = open();
  await assert.rejects(async () => {
    for await (const { key } of place.list("data", { signal })) throw lineBroke(key.length);
  }, /the line broke/);
  assert.deepEqual(inner.calls, ["list data"]);
});
