/** A part of the desk is gone altogether when the restore begins: it comes back, and a rollback leaves what there was, nothing. */
import assert from "node:assert/strict";
import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseDocument } from "yaml";
import type { Finding } from "../../src/base/findings.ts";
import { readFolder } from "../harness/tree.ts";
import { done } from "../scenario/moving-files.ts";
import { assertSameState, type DeskState, openWholeDesk, stageIs, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let live: string;

const BEGIN = ["restore", "latest", "--yes", "--outbound", "allow"];
const RESUME = ["restore", "--resume", "--outbound", "allow"];
const ROLLBACK = ["rollback", "--yes"];
const FORGET = ["restore", "--discard-previous", "--yes"];

before(async () => {
  whole = await openWholeDesk({ messages: 60, conversations: 10, files: 6 });
  await whole.desk.summary(["backup"]);
  saved = await whole.state();
  live = whole.desk.installation.database.database;
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

/** The live database and those beside it. */
async function databases(): Promise<string[]> {
  const rows = await whole.desk.server.query(
    `select datname from pg_database where datname like '${live}%' order by 1`,
  );
  return rows.map((row) => String(row["datname"]));
}

function kindsOf(summary: Record<string, unknown>): string[] {
  return (summary["findings"] as Finding[]).map(({ kind }) => kind);
}

test("a database and files that are gone come back, killed at the swap or not, and a rollback leaves neither", async () => {
  const { storageRoot } = whole.desk.installation;
  await whole.desk.server.query(`drop database "${live}" with (force)`);
  await rm(storageRoot, { recursive: true });
  assert.ok(kindsOf(await done(whole, BEGIN)).includes("database-gone"));
  assertSameState(await whole.state(), saved, "restored");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  assert.deepEqual(await databases(), [live]);
  const undone = await done(whole, ROLLBACK);
  assert.deepEqual(
    kindsOf(undone),
    ["not-well-again", "not-well-again"],
    "nothing is waited for that cannot become well",
  );
  const [aside = "", ...none] = await databases();
  assert.deepEqual(none, []);
  assert.match(aside, /_rolledback_/);
  assert.deepEqual(
    await readFolder(storageRoot).catch(() => ({})),
    {},
    "the files that it had put there are gone again",
  );
  await whole.desk.summary(FORGET);
  assert.deepEqual(await databases(), []);

  assert.ok(await whole.killWhen(BEGIN, stageIs("swap", "begun")));
  await done(whole, RESUME);
  assertSameState(await whole.state(), saved, "gone on with");
  await whole.desk.summary(FORGET);
});

test("an empty database that was made anew by hand gives way to the restored one, and a rollback puts it back as it was", async () => {
  await whole.start();
  const [owner] = await whole.desk.server.query(
    `select pg_get_userbyid(datdba) as name from pg_database where datname = '${live}'`,
  );
  await whole.desk.server.query(`drop database "${live}" with (force)`);
  await whole.desk.server.createDatabase(live, String(owner?.["name"]));
  await done(whole, BEGIN);
  assertSameState(await whole.state(), saved, "restored");
  const undone = await done(whole, ROLLBACK);
  assert.deepEqual(kindsOf(undone), ["not-well-again", "not-well-again"]);
  for (const { message } of undone["findings"] as Finding[]) assert.match(message, /has none of Chatwoot's tables$/);
  const tables = await whole.desk.server.query(
    "select from pg_class where relnamespace = 'public'::regnamespace",
    live,
  );
  assert.deepEqual(tables, []);
  // Whoever needs the desk, and not the empty database, restores again.
  await done(whole, BEGIN);
  assertSameState(await whole.state(), saved, "restored again");
  await whole.desk.summary(FORGET);
});

test("without its environment file a restore is refused, and goes once that is back from the point", async () => {
  const { envFile, codeRoot } = whole.desk.installation;
  const { config } = whole.desk;
  await whole.start();
  await rm(envFile);
  const named = await readFile(config, "utf8");
  const byFolder = parseDocument(named);
  byFolder.deleteIn(["installation", "env-file"]);
  byFolder.setIn(["installation", "root"], codeRoot);
  for (const text of [byFolder.toString(), named]) {
    await writeFile(config, text);
    const refused = await whole.desk.chatkeep(BEGIN);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /^error: .*\.env/m);
    assert.match(refused.stderr, /^hint: .*--only config --to DIR/m);
  }
  assert.deepEqual(await whole.running(), { web: true, worker: true }, "nothing was stopped");
  const folder = join(whole.desk.root, "of the point");
  await whole.desk.summary(["restore", "latest", "--only", "config", "--to", folder, "--yes"]);
  await copyFile(join(folder, "config/env"), envFile);
  await done(whole, BEGIN);
  assertSameState(await whole.state(), saved, "restored");
  await whole.desk.summary(FORGET);
});
