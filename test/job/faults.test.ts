/** The fault sweep of every verb, by lot; the whole of it is in test/long/faults.test.ts. */
import { test } from "node:test";
import { sweep } from "./fault-sweep.ts";
import { SWEPT_ON_DAYS } from "./swept-days.ts";
import { SWEPT_ON_KEYS } from "./swept-keys.ts";
import { SWEPT_ON_POINTS } from "./swept-points.ts";

/** Of each verb: all of its calls and faults together are ten times as many. */
const CASES = 20;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";

for (const verb of [...SWEPT_ON_DAYS, ...SWEPT_ON_POINTS, ...SWEPT_ON_KEYS]) {
  test(`${verb.name}: whichever call goes wrong, it is told, nothing is lost, and the next run ends it`, async (t) => {
    const { tried, of } = await sweep(verb, { limit: CASES, seed });
    t.diagnostic(`${tried} of ${of} cases tried (CHATKEEP_TEST_SEED=${seed})`);
  });
}
