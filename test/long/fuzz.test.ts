/**
 * Every parser with damaged input, for CHATKEEP_FUZZ_MINUTES (60) together. CHATKEEP_TEST_SEED repeats a run; a fault's
 * message holds the bytes that it takes.
 */
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { seededRandom } from "../../src/demo/random.ts";
import { FUZZ_TARGETS, fuzzOnce } from "../harness/fuzz.ts";

const minutes = Number(process.env["CHATKEEP_FUZZ_MINUTES"] ?? 60);
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());

for (const target of FUZZ_TARGETS) {
  test(`a damaged ${target.name} is read or refused, and nothing else (CHATKEEP_TEST_SEED=${seed})`, async (t) => {
    const random = seededRandom(`${seed}/${target.name}`);
    const endMs = performance.now() + (minutes * 60_000) / FUZZ_TARGETS.length;
    let runs = 0;
    for (; performance.now() < endMs; runs += 1) {
      fuzzOnce(target, random);
      // What native code holds is let go between turns only.
      if (runs % 1000 === 999) await setImmediate();
    }
    t.diagnostic(`${runs} runs`);
  });
}
