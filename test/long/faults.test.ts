/** Every call of every verb goes wrong in every way. */
import { test } from "node:test";
import { sweep } from "../job/fault-sweep.ts";
import { SWEPT_ON_DAYS } from "../job/swept-days.ts";
import { SWEPT_ON_KEYS } from "../job/swept-keys.ts";
import { SWEPT_ON_POINTS } from "../job/swept-points.ts";

for (const verb of [...SWEPT_ON_DAYS, ...SWEPT_ON_POINTS, ...SWEPT_ON_KEYS]) {
  test(`${verb.name}: whichever call goes wrong, it is told, nothing is lost, and the next run ends it`, async (t) => {
    const { tried, of } = await sweep(verb, { limit: undefined, seed: "all" });
    t.diagnostic(`${tried} of ${of} cases tried`);
  });
}
