/**
 * Five hundred changes of a database, on PostgreSQL as it is installed here and on 17. CHATKEEP_TEST_SEED repeats a run,
 * CHATKEEP_TEST_STEPS makes it longer.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { startPostgres, type TestServerOptions } from "../harness/postgres.ts";
import { newerPostgres } from "../harness/newer-postgres.ts";
import { liveThrough } from "../job/history.ts";

const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const steps = Number(process.env["CHATKEEP_TEST_STEPS"] ?? 500);
const what = `after each of ${steps} steps (CHATKEEP_TEST_SEED=${seed}) what is taken over is what would have been read`;

async function live(t: TestContext, options: TestServerOptions): Promise<number> {
  await using server = await startPostgres({ ...options, settings: ["synchronous_commit=on"] });
  const history = await liveThrough(await server.createDatabase("history"), { seed, steps });
  for (const [name, times] of [...history.changes].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    t.diagnostic(`${name}: ${times}`);
  }
  t.diagnostic(`${history.rangesReused} ranges taken over, ${history.rangesRead} read`);
  assert.ok(history.rangesReused > 0 && history.rangesRead > 0);
  return server.major;
}

test(what, async (t) => void (await live(t, {})));

test(`${what}, on PostgreSQL 17`, async (t) => {
  const { programs } = await newerPostgres(17);
  assert.equal(await live(t, { programs }), 17);
});
