/** Two thousand random verbs on two repositories. CHATKEEP_TEST_SEED repeats a run, CHATKEEP_TEST_STEPS makes it longer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runModel } from "../job/model.ts";

const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const steps = Number(process.env["CHATKEEP_TEST_STEPS"] ?? 2000);

test(`after each of ${steps} verbs (CHATKEEP_TEST_SEED=${seed}) two repositories hold what they must`, async (t) => {
  const done = await runModel({ seed, steps });
  for (const [label, times] of [...done].toSorted(([a], [b]) => (a < b ? -1 : 1))) t.diagnostic(`${label}: ${times}`);
  assert.equal(
    [...done.values()].reduce((sum, times) => sum + times, 0),
    steps,
  );
});
