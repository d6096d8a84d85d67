/** Drills, restores and `init`, killed at a moment; at many in test/long/kills.test.ts. */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { killDrills, killInits, killRestores, prepareDesk } from "./kill-desk.ts";
import { longTest } from "../harness/whole.ts";

const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";
const options = (name: string) => ({ kills: 1, random: seededRandom(`${name}/${seed}`) });

let desk: Desk;
let check: () => Promise<void>;

before(async () => {
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 100, conversations: 20, files: 10 },
  });
  await makeCheapToOpen(desk);
  ({ check } = await prepareDesk(desk));
});
after(async () => await desk[Symbol.asyncDispose]());

test(`a drill, killed (CHATKEEP_TEST_SEED=${seed}): it says nothing of the point, and leaves no server and no data`, async () => {
  await killDrills(desk, check, options("drill"));
});

longTest(
  `a restore, killed (CHATKEEP_TEST_SEED=${seed}): the repository is as it was, and another place gets everything`,
  async () => {
    await killRestores(desk, check, options("restore"));
  },
);

test(`init, killed (CHATKEEP_TEST_SEED=${seed}): the next one ends it`, async () => {
  await killInits(desk, options("init"));
});
