/** Somebody dropped Chatwoot's database: any time before that is had, and whoever asks for a later one is told which is the last. */
import assert from "node:assert/strict";
import { appendFile, chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { sendMessage } from "../../src/demo/change.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { listPoints } from "../../src/job/points.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { onDatabase } from "../scenario/hostile-installation.ts";
import { FOLLOWED, protect, serverTime } from "../scenario/protected-desk.ts";

let desk: Desk;
let place: TestFolder;
let messages: number;
/** After the last commit, and before the database was dropped. */
let good: string;

before(async () => {
  desk = await openDesk({ server: { settings: [...FOLLOWED] }, size: { messages: 60, conversations: 12, files: 6 } });
  const { repository } = await makeCheapToOpen(desk);
  await appendFile(desk.config, `state-dir: ${join(desk.root, "state")}\n`);
  place = await temporaryFolder();
  await chmod(place.path, 0o755);
  await desk.summary(["backup"]);
  const [point] = (await listPoints(repository, { signal })).points;
  const { database } = desk.installation.database;
  const protection = await protect(desk.server, { id: point?.installationId ?? "", name: "desk" }, { database });
  const random = seededRandom("dropped database");
  await onDatabase(desk.installation, async (client) => {
    for (let n = 0; n < 3; n += 1) await sendMessage(client, random);
  });
  const [row] = await desk.server.query("select count(*)::int as messages from messages", database);
  messages = Number(row?.["messages"]);
  good = await serverTime(desk.server);
  await desk.server.query(`drop database "${database}" with (force)`);
  // A time is covered up to the last commit.
  await desk.server.query("create table later as select 1");
  await protection.finish(reopen(repository));
});

after(async () => {
  await rm(join(desk.root, "state"), { recursive: true, force: true });
  await place[Symbol.asyncDispose]();
  await desk[Symbol.asyncDispose]();
});

async function messagesAt(word: string): Promise<{ stderr: string; messages: unknown }> {
  const dumped = await desk.chatkeep(["dump", word, "manifest.json"]);
  assert.equal(dumped.status, 0, dumped.stderr);
  const { tables } = JSON.parse(dumped.stdout) as { tables: { name: string; rows: number }[] };
  return { stderr: dumped.stderr, messages: tables.find(({ name }) => name === "messages")?.rows };
}

test("a time at which the database was as good as dropped is the moment of the last commit in it", async () => {
  const found = await messagesAt(good);
  assert.equal(found.messages, messages);
  assert.match(
    found.stderr,
    /was just being dropped at that moment; it is recovered up to the last commit in it, lsn:/,
  );
  const again = await desk.chatkeep(["ls", good, "database"]);
  assert.match(again.stderr, /the moment was brought back before/);
});

test("so is it for a server that is left running", async () => {
  const { stdout } = await desk.chatkeep(["moments", "--deleted", "10"]);
  const position = /^(lsn:\S+) .*pg_database: 1 dropped$/m.exec(stdout)?.[1];
  assert.ok(position !== undefined, stdout);
  const run = await desk.chatkeep(["restore", position, "--run", "--to", place.path]);
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stderr, /was just being dropped at that moment/);
  const stopped = await desk.chatkeep(["restore", "--stop"]);
  assert.equal(stopped.status, 0, stopped.stderr);
});

test("a moment behind it says when it was dropped, and the one before", async () => {
  const { status, stderr } = await desk.chatkeep(["restore", "now", "--to", join(desk.root, "unmade"), "--plan"]);
  assert.notEqual(status, 0);
  assert.match(stderr, /the database '\w+' is not there at that moment: it was dropped at \d{4}-/);
  const position = /'chatkeep restore (lsn:\S+) --plan'/.exec(stderr)?.[1] ?? "";
  assert.equal((await messagesAt(position)).messages, messages);
});
