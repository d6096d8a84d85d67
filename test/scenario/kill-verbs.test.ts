/** `kill -9` of the verbs that change a repository; a backup is killed in kill.test.ts, and over a network in test/long/kills.test.ts. */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { PLACES, remoteKinds } from "./kill-places.ts";
import { EVERYWHERE, IN_A_FOLDER, type KillGround, killVerb, makeKillGround } from "./kill-verbs.ts";
import { makeSmallRepositories } from "./small-repository.ts";

const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";
const told = `(CHATKEEP_TEST_SEED=${seed}): all points are whole, and the next run ends it`;

let folder: TestFolder;
let ground: KillGround;

before(async () => {
  folder = await temporaryFolder();
  ground = await makeKillGround(await makeSmallRepositories(folder.path), folder.path);
});
after(async () => await folder[Symbol.asyncDispose]());

/** One that removes, and one that replaces what opens a repository; all are in test/long/kills.test.ts. */
const TRIED = ["prune", "key passwd"];

for (const [name, verb] of Object.entries({ ...EVERYWHERE, ...IN_A_FOLDER })) {
  if (!TRIED.includes(name)) continue;
  test(`${name}, killed at a moment ${told}`, async () => {
    await using place = await PLACES.folder();
    await killVerb(verb, ground, { name, place, kills: 1, random: seededRandom(`${name}/${seed}`), root: folder.path });
  });
}

// One of them, on a place over a network; all on all places are in test/long/kills.test.ts.
const [, , kind = "sftp"] = remoteKinds(seed).toReversed();
const { copy } = EVERYWHERE;
test(`copy on ${kind}, killed at a moment ${told}`, async () => {
  await using place = await PLACES[kind]();
  const random = seededRandom(`copy/${kind}/${seed}`);
  await killVerb(copy, ground, { name: "copy", place, kills: 1, random, root: folder.path });
});
