/** `kill -9` at many moments: prune, forget and copy in a local repository, backups over SFTP and to a bucket. */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { startS3 } from "../harness/s3.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { killRemoteBackups, onS3, onSftp } from "../scenario/kill-remote.ts";
import { killVerb, verbsToKill } from "../scenario/kill-verbs.ts";
import { makeSmallRepositories, type SmallRepositories } from "../scenario/small-repository.ts";

const LOCAL = 40;
const REMOTE = 20;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());

let folder: TestFolder;
let made: SmallRepositories;
let desk: Desk;

before(async () => {
  folder = await temporaryFolder();
  made = await makeSmallRepositories(folder.path);
  desk = await openDesk({ size: { messages: 100, conversations: 20, files: 10 } });
});
after(async () => {
  await desk[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

for (const name of ["prune", "forget", "copy"]) {
  test(`${name}, killed at ${LOCAL} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
    const verb = verbsToKill(made)[name];
    if (verb === undefined) throw new Error(name);
    await killVerb(verb, { made, name, kills: LOCAL, random: seededRandom(`${name}/${seed}`) });
  });
}

test(`a backup over sftp, killed at ${REMOTE} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
  await using sshd = await startSshd();
  const random = seededRandom(`sftp/${seed}`);
  await killRemoteBackups(desk, onSftp(sshd), { kills: REMOTE, random, isDrilled: true });
});

test(`a backup to s3, killed at ${REMOTE} moments (CHATKEEP_TEST_SEED=${seed})`, async () => {
  await using s3 = await startS3();
  await s3.createBucket("backups");
  await killRemoteBackups(desk, onS3(s3), { kills: REMOTE, random: seededRandom(`s3/${seed}`), isDrilled: true });
});
