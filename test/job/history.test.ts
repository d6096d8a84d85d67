/** Twenty changes of a database, always the same; many more, of any seed, are in test/long. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startPostgres } from "../harness/postgres.ts";
import { liveThrough } from "./history.ts";

const SEED = process.env["CHATKEEP_TEST_SEED"] ?? "forty two";

test(`after each of twenty steps (seed ${SEED}) what is taken over is what would have been read`, async (t) => {
  await using server = await startPostgres({ settings: ["synchronous_commit=on"] });
  const { changes, rangesReused, rangesRead } = await liveThrough(await server.createDatabase("history"), {
    seed: SEED,
    steps: 20,
  });
  t.diagnostic(`${changes.size} kinds of change, ${rangesReused} ranges taken over, ${rangesRead} read`);
  assert.ok(changes.size > 12);
  assert.ok(rangesReused > 50 && rangesRead > 50);
});
