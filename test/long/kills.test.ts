/**
 * `kill -9` at many moments: of every verb that changes a repository, in a folder, and of backup, prune, forget and copy on
 * every kind of place over a network. CHATKEEP_TEST_SEED repeats a run, CHATKEEP_TEST_KILLS makes it longer.
 */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { killBackups } from "../scenario/kill-backups.ts";
import { killDrills, killInits, killRestores, prepareDesk } from "../scenario/kill-desk.ts";
import { PLACES, REMOTE_KINDS } from "../scenario/kill-places.ts";
import { killRemoteBackups } from "../scenario/kill-remote.ts";
import { EVERYWHERE, IN_A_FOLDER, type KillGround, killVerb, makeKillGround } from "../scenario/kill-verbs.ts";
import { makeSmallRepositories } from "../scenario/small-repository.ts";

/** In a folder; half as many over a network. */
const KILLS = Number(process.env["CHATKEEP_TEST_KILLS"] ?? 40);
const REMOTE = Math.ceil(KILLS / 2);
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());

let folder: TestFolder;
let ground: KillGround;
let desk: Desk;

before(async () => {
  folder = await temporaryFolder();
  ground = await makeKillGround(await makeSmallRepositories(folder.path), folder.path);
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 100, conversations: 20, files: 10 },
  });
});
after(async () => {
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

for (const [name, verb] of Object.entries({ ...EVERYWHERE, ...IN_A_FOLDER })) {
  test(`${name}, killed at ${KILLS} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
    await using place = await PLACES.folder();
    const random = seededRandom(`${name}/${seed}`);
    await killVerb(verb, ground, { name, place, kills: KILLS, random, root: folder.path });
  });
}

test(`backups into a folder, killed at ${KILLS} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
  await killBackups({ kills: KILLS, random: seededRandom(`kill/${seed}`) });
});

test(`drills and restores of a folder, and init in one, killed at ${REMOTE} moments each (CHATKEEP_TEST_SEED=${seed})`, async () => {
  const options = { kills: REMOTE, random: seededRandom(`desk/${seed}`) };
  const { check } = await prepareDesk(desk);
  await killDrills(desk, check, options);
  await killRestores(desk, check, options);
  await killInits(desk, options);
});

for (const kind of REMOTE_KINDS) {
  test(`a backup to ${kind}, killed at ${REMOTE} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
    await using place = await PLACES[kind]();
    const random = seededRandom(`${kind}/${seed}`);
    await killRemoteBackups(desk, place, { kills: REMOTE, random, isDrilled: true });
  });

  for (const [name, verb] of Object.entries(EVERYWHERE)) {
    test(`${name} on ${kind}, killed at ${REMOTE} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
      await using place = await PLACES[kind]();
      const random = seededRandom(`${name}/${kind}/${seed}`);
      await killVerb(verb, ground, { name, place, kills: REMOTE, random, root: folder.path });
    });
  }
}
