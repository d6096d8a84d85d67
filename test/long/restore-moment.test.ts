/** A moment that only the log has is brought back into the desk's own place, killed on the way, and rolled back. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { attachFile, sendMessage } from "../../src/demo/change.ts";
import { seededRandom } from "../../src/demo/random.ts";
import { listPoints } from "../../src/job/points.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { jsonLines } from "../harness/cli.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { onDatabase } from "../scenario/hostile-installation.ts";
import { FOLLOWED, protect, serverTime } from "../scenario/protected-desk.ts";
import {
  assertSameState,
  type DeskState,
  openWholeDesk,
  rolledBack,
  stageIs,
  type WholeDesk,
} from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let repository: Repository;
/** As it was at the moment, and before it was brought back. */
let saved: DeskState;
let damaged: DeskState;
let moment: { time: string; lsn: string };
/** Rows of messages: at the backup, at the moment. */
let messages: { backup: number; moment: number };

async function now(): Promise<{ time: string; lsn: string; messages: number }> {
  const { desk } = whole;
  const [row] = await desk.server.query(
    "select pg_current_wal_insert_lsn()::text as lsn, (select count(*)::int from messages) as messages",
    desk.installation.database.database,
  );
  return { time: await serverTime(desk.server), lsn: String(row?.["lsn"]), messages: Number(row?.["messages"]) };
}

before(async () => {
  const size = { messages: 120, conversations: 20, files: 6 };
  whole = await openWholeDesk(size, { server: { settings: [...FOLLOWED] } });
  const { desk } = whole;
  ({ repository } = await makeCheapToOpen(desk));
  await desk.summary(["backup"]);
  const atBackup = await now();
  const [point] = (await listPoints(reopen(repository), { signal })).points;
  const { database } = desk.installation.database;
  const protection = await protect(desk.server, { id: point?.installationId ?? "", name: "desk" }, { database });
  const random = seededRandom("own place");
  await onDatabase(desk.installation, async (client) => {
    for (let n = 0; n < 20; n += 1) await sendMessage(client, random);
    for (let n = 0; n < 3; n += 1) await attachFile(client, random, desk.installation.storageRoot);
    await client.query("update contacts set name = 'as of the moment' where id = 1");
  });
  await desk.server.query("select pg_switch_wal()");
  const at = await now();
  moment = at;
  messages = { backup: atBackup.messages, moment: at.messages };
  saved = await whole.state();
  await onDatabase(desk.installation, async (client) => {
    await client.query("delete from messages where id % 2 = 1");
    await client.query("update contacts set name = 'after it'");
    await client.query("create table later (n int)");
  });
  await protection.finish(reopen(repository));
  const { codeRoot, envFile } = desk.installation;
  await writeFile(join(codeRoot, "README.md"), "# emptied by a slip\n");
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  damaged = await whole.state();
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

const SETVAL = /^SELECT pg_catalog\.setval\('(.*)', (\d+), (?:true|false)\);$/;

/** Where each sequence stands, and all else. */
function partSequences(state: DeskState): { sequences: Map<string, number>; rest: DeskState } {
  const sequences = new Map<string, number>();
  const database = state.database.filter((line) => {
    const [, name, value] = SETVAL.exec(line) ?? [];
    if (name !== undefined) sequences.set(name, Number(value));
    return name === undefined;
  });
  return { sequences, rest: { ...state, database } };
}

/** PostgreSQL logs a sequence 32 values ahead, so a recovered one may stand so much further; never behind. */
function assertAsThen(is: DeskState, was: DeskState, what: string): void {
  const [now, then] = [partSequences(is), partSequences(was)];
  assertSameState(now.rest, then.rest, what);
  assert.deepEqual([...now.sequences.keys()], [...then.sequences.keys()], what);
  for (const [name, value] of then.sequences) {
    const found = now.sequences.get(name) ?? 0;
    assert.ok(found >= value && found <= value + 32, `${what}: ${name} stands at ${found}, and stood at ${value}`);
  }
}

async function momentsThere(): Promise<number> {
  return (await listPoints(reopen(repository), { signal })).moments.length;
}

test("a moment comes back into the own place as a point would: planned, killed, gone on with, and undone", async () => {
  const { desk } = whole;
  assert.ok(messages.moment > messages.backup);
  const planned = await desk.chatkeep(["--json", "restore", moment.time, "--plan"]);
  assert.equal(planned.status, 0, planned.stderr);
  const plan = jsonLines(planned.stdout).find(({ type }) => type === "plan");
  assert.deepEqual(plan?.["blockers"], []);
  assert.equal(await whole.journal(), undefined);
  assert.equal(await momentsThere(), 1);
  assertSameState(await whole.state(), damaged, "after the plan");

  assert.ok(await whole.killWhen(["restore", moment.time, "--yes"], stageIs("database", "begun")), "killed");
  assertSameState(await whole.state(), damaged, "killed before the swap");
  const summary = await desk.summary(["restore", "--resume", "--yes", "--outbound", "allow"]);
  assert.equal(summary["state"], "done");
  assert.equal(summary["point"], plan?.["point"]);
  assertAsThen(await whole.state(), saved, "restored");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  assert.equal(await momentsThere(), 1);

  const rolled = await desk.summary(["rollback", "--yes"]);
  assert.equal(rolled["isWhole"], true);
  assertSameState(await whole.state(), rolledBack(damaged, saved), "rolled back");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
});

test("a position comes back as the database alone, while Chatwoot's processes run", async () => {
  const { desk } = whole;
  await desk.summary(["restore", `lsn:${moment.lsn}`, "--only", "database", "--yes"]);
  assert.equal((await now()).messages, messages.moment);
  assertAsThen(
    { ...(await whole.state()), environment: "", code: {} },
    { ...saved, environment: "", code: {} },
    "the database of the moment",
  );
  await desk.summary(["rollback", "--yes"]);
  assertSameState(await whole.state(), rolledBack(damaged, saved), "swapped back");
});
