/** Backups over SFTP and to a bucket, killed at a few moments; at many in test/long/kills.test.ts. */
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { startS3 } from "../harness/s3.ts";
import { startSshd } from "../harness/sshd.ts";
import { type Desk, openDesk } from "./desk.ts";
import { killRemoteBackups, onS3, onSftp } from "./kill-remote.ts";

const KILLS = 1;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? "1";
const told = `killed (CHATKEEP_TEST_SEED=${seed}): what is there is sound, and the next run ends it`;

let desk: Desk;

before(async () => {
  desk = await openDesk({ size: { messages: 100, conversations: 20, files: 10 } });
});
after(async () => await desk[Symbol.asyncDispose]());

test(`a backup over sftp, ${told}`, async () => {
  await using sshd = await startSshd();
  const random = seededRandom(`sftp/${seed}`);
  await killRemoteBackups(desk, onSftp(sshd), { kills: KILLS, random, isDrilled: false });
});

test(`a backup to s3, ${told}`, async () => {
  await using s3 = await startS3();
  await s3.createBucket("backups");
  const random = seededRandom(`s3/${seed}`);
  await killRemoteBackups(desk, onS3(s3), { kills: KILLS, random, isDrilled: false });
});
