/** Backups that are killed, at moments that are the same each time; more of them, at any moment, are in test/long. */
import { test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { killBackups } from "./kill-backups.ts";

const KILLS = 2;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";

test(`killed at ${KILLS} moments (CHATKEEP_TEST_SEED=${seed}): sound each time, and every point is proven`, async () => {
  await killBackups({ kills: KILLS, random: seededRandom(`kill/${seed}`) });
});
