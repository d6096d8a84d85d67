/** Five hundred changes of a database. CHATKEEP_TEST_SEED repeats a run, CHATKEEP_TEST_STEPS makes it longer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startPostgres } from "../harness/postgres.ts";
import { liveThrough } from "../job/history.ts";

const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const steps = Number(process.env["CHATKEEP_TEST_STEPS"] ?? 500);

test(`after each of ${steps} steps (CHATKEEP_TEST_SEED=${seed}) what is taken over is what would have been read`, async (t) => {
  await using server = await startPostgres({ settings: ["synchronous_commit=on"] });
  const history = await liveThrough(await server.createDatabase("history"), { seed, steps });
  for (const [what, times] of [...history.changes].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    t.diagnostic(`${what}: ${times}`);
  }
  t.diagnostic(`${history.rangesReused} ranges taken over, ${history.rangesRead} read`);
  assert.ok(history.rangesReused > 0 && history.rangesRead > 0);
});
