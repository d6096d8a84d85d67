/** A desk that lost a bit of everything is brought back as a whole into its own place, killed on the way, and rolled back. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { onDatabase } from "../../src/demo/database.ts";
import { jsonLines } from "../harness/cli.ts";
import { atTerminal } from "../harness/terminal.ts";
import { longTest } from "../harness/whole.ts";
import { followElsewhere } from "./followed-elsewhere.ts";
import { assertSameState, type DeskState, openWholeDesk, rolledBack, stageIs, type WholeDesk } from "./whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let damaged: DeskState;

before(async () => {
  whole = await openWholeDesk({ messages: 120, conversations: 20, files: 6 });
  await whole.desk.summary(["backup"]);
  saved = await whole.state();
  await destroy();
  damaged = await whole.state();
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

/** What a bad night does: rows, a key, code, files. */
async function destroy(): Promise<void> {
  const { installation } = whole.desk;
  await onDatabase(installation.database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
    await client.query("insert into tags (name) values ('after the point')");
    // It makes sequences that the point does not know.
    await client.query("insert into accounts (name, created_at, updated_at) values ('new', now(), now())");
  });
  await writeFile(join(installation.codeRoot, "README.md"), "# emptied by a slip\n");
  const [folder = ""] = await readdir(installation.storageRoot);
  await rm(join(installation.storageRoot, folder), { recursive: true });
  const environment = await readFile(installation.envFile, "utf8");
  await writeFile(
    installation.envFile,
    environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`),
  );
}

async function plan(args: readonly string[] = []): Promise<Record<string, unknown>> {
  const { stdout, stderr, status } = await whole.desk.chatkeep(["--json", "restore", "latest", "--plan", ...args]);
  assert.equal(status, 0, stderr);
  return jsonLines(stdout).find(({ type }) => type === "plan") ?? {};
}

test("the plan tells every step in its order, and changes nothing", async () => {
  const shown = await plan();
  const names = (shown["stages"] as { name: string; lines: string[] }[]).map(({ name }) => name);
  assert.ok(names.includes("database") && names.includes("swap") && names.includes("environment"), names.join());
  assert.deepEqual(shown["blockers"], []);
  assert.equal(shown["replaces"], null);
  assert.equal(await whole.journal(), undefined);
  assertSameState(await whole.state(), damaged, "after the plan");
});

test("killed within a step and between two, it is gone on with to the end; a rollback brings back what was before", async () => {
  const { desk } = whole;
  assert.ok(await whole.killWhen(["restore", "latest", "--yes"], stageIs("database", "begun")), "killed within a step");
  assertSameState(await whole.state(), damaged, "killed before the swap");
  const again = await desk.chatkeep(["restore", "latest", "--yes"]);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /is not finished: it stands at 'database'\nhint: 'chatkeep restore --resume' goes on/);
  for (const args of [
    ["restore", "latest", "--only", "database", "--yes"],
    ["restore", "--discard-previous", "--yes"],
    // Before the point is looked for, and a moment recovered.
    ["restore", "no-such-point", "--plan"],
  ]) {
    const refused = await desk.chatkeep(args);
    assert.match(refused.stderr, /is not finished/, args.join(" "));
  }

  assert.ok(
    await whole.killWhen(["restore", "--resume", "--yes"], stageIs("swap", "done")),
    "killed between two steps",
  );
  await followElsewhere(desk);
  const summary = await desk.summary(["restore", "--resume", "--yes", "--outbound", "allow"]);
  assert.equal(summary["state"], "done");
  const stages = summary["stages"] as { name: string; state: string; seconds: number }[];
  assert.ok(
    stages.every(({ state }) => state === "done"),
    JSON.stringify(stages),
  );
  const left = summary["next"] as string[];
  assert.match(left.at(-2) ?? "", /^say 'chatkeep watch --new-server'/);
  assert.match(left.at(-1) ?? "", /^look whether all is as it should be/);
  assertSameState(await whole.state(), saved, "restored");
  assert.deepEqual(await whole.running(), { web: true, worker: true });

  const shown = await desk.chatkeep(["rollback", "--plan"]);
  assert.match(shown.stdout, /plan of a rollback of a restore of desk/);
  assert.ok(await whole.killWhen(["rollback", "--yes"], stageIs("environment", "undone")), "the rollback was killed");
  const refused = await desk.chatkeep(["restore", "--resume", "--yes"]);
  assert.match(refused.stderr, /a rollback of that restore was begun/);
  // One of long ago that nobody can read any more keeps nobody from going on, and is told.
  const old = join(whole.home, "20200101T000000Z-deadbeef");
  await mkdir(old);
  await writeFile(join(old, "journal.json"), '{ "schema": 999 }');
  const rolled = await desk.summary(["rollback", "--yes"], 3);
  assert.ok((rolled["findings"] as { kind: string }[]).some(({ kind }) => kind === "restore-record-unreadable"));
  assert.equal(rolled["isWhole"], true);
  assertSameState(await whole.state(), rolledBack(damaged, saved), "rolled back");
  assert.deepEqual(await whole.running(), { web: true, worker: true });
  // With all others undone it may be the one that is meant.
  const next = await desk.chatkeep(["rollback", "--yes"]);
  assert.match(next.stderr, /20200101T000000Z-deadbeef[^]*'chatkeep restore --discard-previous' forgets it/);
  await rm(old, { recursive: true });
  const twice = await desk.chatkeep(["rollback", "--yes"]);
  assert.equal(twice.status, 1);
  assert.match(twice.stderr, /last swap was itself a rollback/);

  // What was put aside in Redis could not be dropped: then nothing is.
  await whole.redis.stop();
  const kept = async () =>
    await desk.server.query("select datname from pg_database where datname like '%\\_rolledback\\_%'");
  const aside = await kept();
  assert.equal(aside.length, 1);
  const withoutRedis = await desk.chatkeep(["restore", "--discard-previous", "--yes"]);
  assert.match(withoutRedis.stderr, /nothing listens there[^]*an empty Redis will do/);
  assert.deepEqual(await kept(), aside);
  await whole.startRedis();
  // Nor is what somebody works with, and a plan drops nothing.
  const reader = new Client({
    ...desk.server.address,
    database: String(aside[0]?.["datname"]),
    application_name: "psql",
  });
  await reader.connect();
  const used = await desk.chatkeep(["restore", "--discard-previous", "--yes"]);
  assert.match(used.stderr, /is in use: process \d+ of role '.*' \(psql[^]*Nothing was dropped/);
  await reader.query("select 1");
  await reader.end();
  while ((await desk.server.query("select from pg_stat_activity where application_name = 'psql'")).length > 0);
  const planned = await desk.chatkeep(["--json", "restore", "--discard-previous", "--plan", "--yes"]);
  const shownPlan = jsonLines(planned.stdout).find(({ type }) => type === "plan") ?? {};
  assert.deepEqual([planned.status, (shownPlan["restores"] as string[]).length], [0, 1]);
  assert.deepEqual(
    (shownPlan["databases"] as { name: string }[]).map(({ name }) => name),
    aside.map(({ datname }) => datname),
  );
  assert.deepEqual(await kept(), aside);
  assert.notEqual(await whole.journal(), undefined);
  const dropped = await desk.summary(["restore", "--discard-previous", "--yes"]);
  assert.equal((dropped["forgotten"] as string[]).length, 1);
  assert.deepEqual(await kept(), []);
  assert.equal(await whole.journal(), undefined);
});

longTest("a point of another address is not put in the place of what is here, unless that is named", async () => {
  const { envFile } = whole.desk.installation;
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^FRONTEND_URL=.*$/m, "FRONTEND_URL=https://staging.acme.example"));
  const here = await whole.state();
  try {
    const shown = await plan();
    assert.deepEqual(shown["replaces"], {
      name: "staging.acme.example",
      why: ["the restore point is of https://support.acme.example, and this place is https://staging.acme.example"],
    });
    const refused = await whole.desk.chatkeep(["restore", "latest", "--yes"]);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /hint: If that is meant, say --replace staging\.acme\.example/);
    const wrong = await whole.desk.chatkeep(["restore", "latest", "--yes", "--replace", "support.acme.example"]);
    assert.equal(wrong.status, 2);
    assert.equal(await whole.journal(), undefined);
    // Whoever is at a terminal is asked twice: for the point's installation, and for the place that it would replace.
    const first = { question: /type the installation's name \(desk\):/, typed: "desk\n" };
    const second = /This is another place: .*type its name \(staging\.acme\.example\):/s;
    for (const typed of ["support.acme.example\n", "\u0004"]) {
      const asked = await atTerminal(whole.desk, ["restore", "latest"], first, { question: second, typed });
      assert.equal(asked.status, 130, asked.screen);
      assert.match(asked.screen, /error: the (?:restore was not confirmed|question was not answered)/);
      assert.equal(await whole.journal(), undefined);
      assertSameState(await whole.state(), here, JSON.stringify(typed));
    }
    const name = { question: second, typed: "staging.acme.example\n" };
    const begun = { question: /(?:^|\W)stop(?:ping|\W)/, typed: "\u0003" };
    const { status, screen } = await atTerminal(whole.desk, ["restore", "latest"], first, name, begun);
    assert.equal(status, 130, screen);
    assert.equal((await whole.journal())?.state, "restoring");
    await whole.desk.summary(["rollback", "--yes"]);
    assertSameState(await whole.state(), here, "rolled back");
    await whole.desk.summary(["restore", "--discard-previous", "--yes"]);
  } finally {
    await writeFile(envFile, environment);
  }
});

test("an installation is never made a clone of itself", async () => {
  const args = [
    "--json",
    "restore",
    "latest",
    "--as-clone",
    "--frontend-url",
    "https://staging.acme.example",
    "--plan",
  ];
  const { stdout, status } = await whole.desk.chatkeep(args);
  assert.equal(status, 1);
  const blockers = jsonLines(stdout).find(({ type }) => type === "plan")?.["blockers"] as { message: string }[];
  assert.ok(
    blockers.some(
      ({ message }) => message === "this place is the installation 'desk' itself, and a clone would take its place",
    ),
    JSON.stringify(blockers),
  );
  assert.equal(await whole.journal(), undefined);
});
