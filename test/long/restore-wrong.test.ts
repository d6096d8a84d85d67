/** What goes wrong around a restore into the own place: one line and a way on, and nothing that is left half done. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import { assertSameState, type DeskState, openWholeDesk, stageIs, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let damaged: DeskState;

const BEGIN = ["restore", "latest", "--yes", "--outbound", "allow"];
const RESUME = ["restore", "--resume", "--outbound", "allow"];
const FORGET = ["restore", "--discard-previous", "--yes"];

before(async () => {
  whole = await openWholeDesk({ messages: 120, conversations: 20, files: 6 });
  await whole.desk.summary(["backup"]);
  saved = await whole.state();
  const { envFile, database } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
  });
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  damaged = await whole.state();
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});
afterEach(async () => {
  assertSameState(await whole.state(), damaged, "after a test");
  assert.equal(await whole.journal(), undefined);
});

async function pids(): Promise<string[]> {
  const folder = join(whole.desk.root, "processes");
  return await Promise.all(["web", "worker"].map(async (name) => await readFile(join(folder, `${name}.pid`), "utf8")));
}

async function undo(): Promise<void> {
  await whole.desk.summary(["rollback", "--yes"]);
  assertSameState(await whole.state(), damaged, "rolled back");
  await whole.desk.summary(FORGET);
}

/** One line, a hint, and nothing that looks like a fault of the program. */
async function refused(args: readonly string[], said: RegExp): Promise<void> {
  const { status, stderr } = await whole.desk.chatkeep(args);
  assert.notEqual(status, 0, args.join(" "));
  assert.match(stderr, said, args.join(" "));
  assert.match(stderr, /\nhint: /, args.join(" "));
  assert.doesNotMatch(stderr, /\n {4}at |internal\/bug/, args.join(" "));
}

test("what somebody started on half a restore is stopped again, by going on and by going back", async () => {
  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "done")));
  await whole.start();
  const byHand = await pids();
  await whole.desk.summary(RESUME);
  assertSameState(await whole.state(), saved, "restored");
  const ours = await pids();
  assert.ok(
    ours.every((pid, at) => pid !== byHand[at]),
    "both were started anew, on what was restored",
  );
  await undo();

  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "done")));
  await whole.start();
  const again = await pids();
  await undo();
  assert.ok(
    (await pids()).every((pid, at) => pid !== again[at]),
    "both were started anew, on what was there before",
  );
});

test("a restored database that somebody dropped does not keep the one of before from coming back", async () => {
  await whole.desk.summary(BEGIN);
  await whole.stop();
  const { database } = whole.desk.installation.database;
  await whole.desk.server.query(`drop database "${database}" with (force)`);
  await undo();
});

test("a live database that somebody dropped before the swap does not keep the rest from being undone", async () => {
  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "begun")));
  const { database } = whole.desk.installation.database;
  const { server } = whole.desk;
  await server.query(`create database "as_damaged" template "${database}"`);
  await server.query(`drop database "${database}" with (force)`);
  await refused(RESUME, /somebody renamed, made or dropped|does not exist/);
  await whole.desk.summary(["rollback", "--yes"]);
  await server.query(`alter database "as_damaged" rename to "${database}"`);
  await whole.desk.summary(FORGET);
});
