/** A bucket is read no faster than the configuration says, by all threads together. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { openSource } from "../../src/source/open-source.ts";
import { findSource } from "../../src/source/spec.ts";
import { startGs, type TestGs } from "../harness/gs.ts";
import { readFrom } from "./reading.ts";

const RATE = 1024 * 1024;
const FILES = 6;
const LARGE = 2 * LIMITS.chunkMaxBytes;

let gs: TestGs;

before(async () => {
  gs = await startGs();
  const files = new Map(Array.from({ length: FILES }, (_, at) => [`key${at}`, Buffer.alloc(RATE, at)] as const));
  gs.buckets.set("acme", new Map([...files, ["large", Buffer.alloc(LARGE)], ["empty", Buffer.alloc(0)]]));
});
after(async () => await gs[Symbol.asyncDispose]());

/** What waits for the rate is asleep in no time; what watches for silence waits on. */
function countingClock(): { clock: Clock; waitedMs: () => number } {
  let nowMs = 0;
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    async sleep(ms, stopped) {
      if (ms >= LIMITS.storeSilenceMs) return await systemClock.sleep(ms, stopped);
      nowMs += ms;
      return undefined;
    },
  };
  return { clock, waitedMs: () => nowMs };
}

function specOf(downloadRate: number | undefined) {
  const environment = new Map([
    ["GCS_BUCKET", "acme"],
    ["GCS_PROJECT", "p"],
    ["GCS_CREDENTIALS", "{}"],
    ["STORAGE_EMULATOR_HOST", gs.endpoint],
  ]);
  const found = findSource("google", [], environment, { downloadRate });
  return "spec" in found ? found.spec : assert.fail(found.outage.why);
}

test("two threads that read a bucket keep its rate together, and without one nobody waits", async () => {
  for (const rate of [RATE, undefined]) {
    const spec = specOf(rate);
    const { clock, waitedMs } = countingClock();
    const threads = [await openSource(structuredClone(spec), { clock }), await openSource(spec, { clock })];
    for (let at = 0; at < FILES; at += 1) {
      const source = threads[at % 2];
      assert.ok(source);
      assert.equal((await readFrom(source, `key${at}`, RATE)).length, RATE);
    }
    // The first goes at once, each of the others when the one before is paid for.
    assert.equal(Math.round(waitedMs() / 1000), rate === undefined ? 0 : FILES - 1);
    for (const source of threads) await source.close();
  }
});

test("what a file was longer or shorter than expected counts too, and one that is not there costs nothing", async () => {
  const { clock, waitedMs } = countingClock();
  const source = await openSource(specOf(RATE), { clock });
  // Expected with one byte, it has two parts of 8 MiB.
  assert.equal((await readFrom(source, "large", 1)).length, LARGE);
  assert.equal(Math.round(waitedMs() / 1000), LIMITS.chunkMaxBytes / RATE);
  await assert.rejects(readFrom(source, "gone", 4 * RATE), { code: "store/not-found" });
  await readFrom(source, "key0", 4 * RATE);
  await readFrom(source, "key1", RATE);
  assert.equal(Math.round(waitedMs() / 1000), LARGE / RATE + 1);
  await source.close();
});
