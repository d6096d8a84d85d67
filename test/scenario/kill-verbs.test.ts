/** `kill -9` of prune, forget and copy; a backup is killed in kill.test.ts, and over a network in kill-remote.test.ts. */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { killVerb, verbsToKill } from "./kill-verbs.ts";
import { makeSmallRepositories, type SmallRepositories } from "./small-repository.ts";

const KILLS = 2;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";

let folder: TestFolder;
let made: SmallRepositories;

before(async () => {
  folder = await temporaryFolder();
  made = await makeSmallRepositories(folder.path);
});
after(async () => await folder[Symbol.asyncDispose]());

for (const name of ["prune", "forget", "copy"]) {
  test(`${name}, killed at ${KILLS} moments (CHATKEEP_TEST_SEED=${seed}): all points are whole, and the next run ends it`, async () => {
    const verb = verbsToKill(made)[name];
    if (verb === undefined) throw new Error(name);
    await killVerb(verb, { made, name, kills: KILLS, random: seededRandom(`${name}/${seed}`) });
  });
}
