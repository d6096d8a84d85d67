/** Ten disks of sizes chosen by chance fill up under a backup. */
import { test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { cannotMount } from "../harness/namespace.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { openDesk } from "../scenario/desk.ts";
import { fillDisks } from "../scenario/full-disk.ts";

const DISKS = 10;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());

test(`${DISKS} disks that fill up (CHATKEEP_TEST_SEED=${seed}): one line each, and with more room the next one goes on`, async (t) => {
  const why = await cannotMount();
  if (why !== undefined) return t.skip(why);
  await using desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 120, conversations: 20, files: 30 },
  });
  const { password } = await makeCheapToOpen(desk);
  await fillDisks(desk, { disks: DISKS, random: seededRandom(`disks/${seed}`), password });
});
