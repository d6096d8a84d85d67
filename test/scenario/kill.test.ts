/** Backups that are killed, at moments that are the same each time; more of them, at any moment, are in test/long. */
import { test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { killBackups } from "./kill-backups.ts";

const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";

test(`killed at a moment (CHATKEEP_TEST_SEED=${seed}): sound, and every point is proven`, async () => {
  await killBackups({ kills: 1, random: seededRandom(`kill/${seed}`) });
});
