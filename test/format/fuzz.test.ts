/** Every parser, a fixed number of times with fixed damage; test/long does the same for an hour. */
import { test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { FUZZ_TARGETS, fuzzOnce } from "../harness/fuzz.ts";

const RUNS = 2000;

for (const target of FUZZ_TARGETS) {
  test(`a damaged ${target.name} is read or refused, and nothing else, ${RUNS} times`, () => {
    target.parse(target.sample);
    const random = seededRandom(`fuzz/${target.name}`);
    for (let run = 0; run < RUNS; run += 1) fuzzOnce(target, random);
  });
}
