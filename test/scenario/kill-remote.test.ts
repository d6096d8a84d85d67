/** Backups over a network, killed at a moment; to every kind of place, and at many moments, in test/long/kills.test.ts. */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { type Desk, openDesk } from "./desk.ts";
import { PLACES, remoteKinds } from "./kill-places.ts";
import { killRemoteBackups } from "./kill-remote.ts";

const PLACES_TRIED = 1;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";

let desk: Desk;

before(async () => {
  desk = await openDesk({ hasTwoReaders: true, size: { messages: 100, conversations: 20, files: 10 } });
});
after(async () => await desk[Symbol.asyncDispose]());

for (const kind of remoteKinds(seed).slice(0, PLACES_TRIED)) {
  test(`a backup to ${kind}, killed (CHATKEEP_TEST_SEED=${seed}): what is there is sound, and the next run ends it`, async () => {
    await using place = await PLACES[kind]();
    await killRemoteBackups(desk, place, { kills: 1, random: seededRandom(`${kind}/${seed}`), isDrilled: false });
  });
}
