/** The command under guard has the terminal and the signals; a guard that is killed leaves word, and its way back is gone on with. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, globSync, readFileSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Finding } from "../../src/base/findings.ts";
import { readGuard } from "../../src/job/guard-record.ts";
import type { GuardSummary } from "../../src/job/guard-summary.ts";
import type { JournalValue } from "../../src/job/stages/journal.ts";
import type { StageName } from "../../src/job/stages/stage.ts";
import { runCli, startCli, summaryOf } from "../harness/cli.ts";
import { atTerminal } from "../harness/terminal.ts";
import { GOES_WRONG, type GuardDesk, openGuardDesk } from "../scenario/guard-desk.ts";

let guarded: GuardDesk;

before(async () => {
  guarded = await openGuardDesk({ messages: 600 });
  await guarded.desk.summary(["backup"]);
  await guarded.desk.summary(["drill"]);
});
after(async () => await guarded[Symbol.asyncDispose]());

async function guard(words: readonly string[], status: number): Promise<GuardSummary> {
  const result = await guarded.desk.chatkeep(["--json", "guard", ...words]);
  assert.equal(result.status, status, result.stderr + result.stdout);
  return summaryOf(result.stdout) as unknown as GuardSummary;
}

async function unfinished(): Promise<Finding | undefined> {
  const { findings } = (await guarded.desk.summary(["doctor"], 3)) as unknown as { findings: Finding[] };
  return findings.find(({ kind }) => kind === "guard-unfinished");
}

async function onlyFolder(): Promise<string> {
  return /^ {2}id: (.+)$/m.exec(await readFile(guarded.desk.config, "utf8"))?.[1] ?? "";
}

test("the command has our input and output; with --json its output goes to stderr", async () => {
  const args = ["--config", guarded.desk.config];
  const options = { cwd: guarded.desk.root, input: "typed\n" };
  const plain = await runCli([...args, "--quiet", "guard", "--point", "proven", "--", "cat"], options);
  assert.deepEqual([plain.status, plain.stdout], [0, "typed\n"], plain.stderr);
  const json = await runCli([...args, "--json", "guard", "--point", "proven", "--", "cat"], options);
  assert.equal(json.status, 0, json.stderr);
  assert.match(json.stderr, /^typed$/m);
  assert.equal(summaryOf(json.stdout)["outcome"], "well");
});

test("signals go to the command; a guard that is killed is told of by doctor, and its work is looked at later", async () => {
  const [ready, told, over] = ["ready", "told", "over"].map((name) => join(guarded.desk.root, name));
  assert(ready !== undefined && told !== undefined && over !== undefined);
  const waits = await guarded.upgrade("waits", [
    `trap 'touch "${told}"; exit 9' TERM`,
    `touch '${ready}'`,
    `while [ ! -e '${over}' ]; do sleep 0.05; done`,
  ]);
  const words = ["--config", guarded.desk.config, "--json", "guard", "--point", "proven", "--", waits];
  const start = async () => {
    await rm(ready, { force: true });
    const child = startCli(words, { cwd: guarded.desk.root });
    // Not until its output is closed: what it started may outlive it.
    const ended = once(child, "exit");
    const output: Buffer[] = [];
    child.stdout?.on("data", (data: Buffer) => output.push(data));
    while (!existsSync(ready)) await sleep(20);
    return { child, ended, text: () => Buffer.concat(output).toString("utf8") };
  };
  const first = await start();
  first.child.kill("SIGTERM");
  assert.deepEqual(await first.ended, [1, null]);
  assert.ok(existsSync(told), "the command was told");
  assert.equal(summaryOf(first.text())["status"], 9);
  await guard(["--check"], 0);
  const second = await start();
  second.child.kill("SIGKILL");
  await second.ended;
  await writeFile(over, "");
  assert.match((await unfinished())?.message ?? "", /was stopped while its command ran$/);
  const record = await readGuard(join(guarded.state, await onlyFolder(), "guard.json"));
  assert.equal(record?.stage, "running");
  const checked = await guard(["--check"], 0);
  assert.deepEqual([checked.outcome, checked.status], ["well", null]);
});

function kindsOf(findings: readonly Finding[]): string[] {
  return findings.map(({ kind }) => kind).toSorted();
}

test("a command that ends well and breaks the web process, or leaves the old one running", async () => {
  const broken = await guard(["--point", "proven", "--wait", "0", "--", "touch", guarded.down], 1);
  assert.deepEqual([broken.outcome, broken.status], ["wrong", 0]);
  assert.deepEqual(kindsOf(broken.reasons), ["guard-not-well"]);
  await rm(guarded.down);
  assert.equal((await guard(["--check"], 0)).outcome, "well");
  guarded.answersAs("4.0.0");
  const old = await guard(["--point", "proven", "--wait", "0", "--", "true"], 1);
  assert.match(old.reasons[0]?.message ?? "", /still answers as 4\.0\.0: was it started again\?$/);
  guarded.answersAs(undefined);
  assert.equal((await guard(["--forget"], 0)).outcome, "forgotten");
});

test("rows that a live desk deletes are told, and those that nobody deletes by the way are a loss", async () => {
  const few = await guarded.upgrade("few", [`sql "delete from messages where id in (select max(id) from messages)"`]);
  const fine = await guard(["--point", "proven", "--", few], 0);
  assert.match(fine.changes.join("\n"), /^rows of messages: \d+ → \d+$/m);
  const many = await guarded.upgrade("many", [`sql "delete from messages where id % 2 = 0"`]);
  const lost = await guard(["--point", "proven", "--", many], 1);
  assert.deepEqual(kindsOf(lost.reasons), ["guard-rows-lost"]);
  assert.match(lost.reasons[0]?.message ?? "", /messages: \d+ before, \d+ now/);
  // The web process here gives no files out, which is told.
  assert.equal((await guard(["--back", "--yes", "--outbound", "allow"], 3)).outcome, "back");
});

test("the point of an open guard is not forgotten, even by name, until nothing is left to do", async () => {
  await guarded.desk.summary(["backup"]);
  const { point } = await guard(["--point", "proven", "--", "false"], 1);
  const refused = await guarded.desk.chatkeep(["forget", point, "--yes"]);
  assert.equal(refused.status, 2, refused.stdout);
  assert.match(refused.stderr, /is held: .*open-guard/);
  await guard(["--forget"], 0);
  // The last that is proven is not forgotten either.
  await guarded.desk.summary(["drill"]);
  await guarded.desk.summary(["forget", point, "--yes"]);
});

const QUESTION = /Put everything back as it was\? \(database, code or image, environment\) \[y\/N\]/;

test("at a terminal somebody is asked once, after what is wrong: an empty answer is no, and 'y' puts everything back", async () => {
  const broken = await guarded.upgrade("breaks", [`sql "delete from messages"`, "echo 'what it printed'", "exit 5"]);
  const words = ["guard", "--outbound", "allow", "--point", "latest", "--", broken];
  const no = await atTerminal(guarded.desk, words, { question: QUESTION, typed: "\n" });
  assert.equal(no.status, 1, no.screen);
  const at = ["what it printed", "the command ended with status 5", "rows were lost", "[y/N]"].map((text) =>
    no.screen.indexOf(text),
  );
  assert.ok(
    at.every((place, index) => place > (at[index - 1] ?? -1)),
    no.screen,
  );
  assert.deepEqual(await guarded.onLive("select id from messages"), []);
  assert.match((await unfinished())?.message ?? "", /nothing was put back$/);
  const refused = await atTerminal(guarded.desk, ["guard", "--back"], { question: QUESTION, typed: "n\n" });
  assert.equal(refused.status, 130, refused.screen);
  const back = ["guard", "--back", "--outbound", "allow"];
  const yes = await atTerminal(guarded.desk, back, { question: QUESTION, typed: "y\n" });
  // The web process here gives no files out, which is told.
  assert.equal(yes.status, 3, yes.screen);
  assert.match(yes.screen, /✓ everything is as it was before/);
  assert.notDeepEqual(await guarded.onLive("select id from messages"), []);
});

function hasBegun(stage: StageName): boolean {
  const journals = globSync("*/restore/*/journal.json", { cwd: guarded.state }).map(
    (path) => JSON.parse(readFileSync(join(guarded.state, path), "utf8")) as JournalValue,
  );
  const open = journals.find(({ state }) => state === "restoring");
  return open?.stages.some(({ name, state }) => name === stage && state !== "waiting") ?? false;
}

/** Kills a guard when its way back has begun that stage. */
async function killAt(words: readonly string[], stage: StageName): Promise<void> {
  const { config, root } = guarded.desk;
  const child = startCli(["--config", config, "guard", ...words], { cwd: root, env: { TMPDIR: root } });
  child.stdout?.resume();
  child.stderr?.resume();
  const ended = once(child, "exit");
  while (!hasBegun(stage)) {
    assert.equal(child.exitCode, null, `it ended before '${stage}'`);
    await sleep(5);
  }
  child.kill("SIGKILL");
  assert.deepEqual(await ended, [null, "SIGKILL"]);
}

test("the way back from an upgrade that failed is killed three times, and gone on with to the state of before", async () => {
  const was = await guarded.stands();
  const broken = await guarded.upgrade("goes-wrong", GOES_WRONG);
  await killAt(["--on-failure", "rollback", "--outbound", "allow", "--", broken], "database");
  assert.notDeepEqual(await guarded.stands(), was, "the upgrade has broken it");
  assert.match((await unfinished())?.message ?? "", /was stopped while it put everything back$/);
  const refused = await guarded.desk.chatkeep(["guard", "--point", "proven", "--", "true"]);
  assert.equal(refused.status, 1, refused.stdout);
  const back = ["--back", "--yes", "--outbound", "allow"];
  for (const stage of ["code", "environment"] as const) await killAt(back, stage);
  // The web process here gives no files out, which is told.
  assert.equal((await guard(back, 3)).outcome, "back");
  assert.deepEqual(await guarded.stands(), was);
  assert.equal(existsSync(guarded.down), false, "the web process runs again");
  const record = await readGuard(join(guarded.state, await onlyFolder(), "guard.json"));
  assert.equal(record?.stage, "back");
});
