/** A restore into the own place is killed, or interrupted as with one Ctrl-C, at each of its stages and at moments chosen by chance, gone on with, rolled back, and that is killed too. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { StageName } from "../../src/job/stages/stage.ts";
import { jsonLines } from "../harness/cli.ts";
import {
  assertSameState,
  type DeskState,
  type KillSignal,
  loseListedFiles,
  openWholeDesk,
  stageIs,
  type WholeDesk,
} from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let damaged: DeskState;
let stages: StageName[];

const BEGIN = ["restore", "latest", "--yes", "--outbound", "allow"];
const RESUME = ["restore", "--resume", "--outbound", "allow"];
const ROLLBACK = ["rollback", "--yes"];
const FORGET = ["restore", "--discard-previous", "--yes"];

/** Each a restore and its rollback, killed once or twice. */
const ROUNDS = 6;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const random = seededRandom(`restore-kills/${seed}`);

before(async () => {
  whole = await openWholeDesk({ messages: 60, conversations: 10, files: 4 });
  await whole.desk.summary(["backup"]);
  saved = await whole.state();
  const { envFile, codeRoot, database } = whole.desk.installation;
  await onDatabase(database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
  });
  const environment = await readFile(envFile, "utf8");
  await writeFile(envFile, environment.replace(/^SECRET_KEY_BASE=.*$/m, `SECRET_KEY_BASE=${"0".repeat(64)}`));
  await writeFile(join(codeRoot, "README.md"), "# emptied by a slip\n");
  await loseListedFiles(whole.desk);
  damaged = await whole.state();
  await whole.start();
  const { stdout } = await whole.desk.chatkeep(["--json", "restore", "latest", "--plan"]);
  const plan = jsonLines(stdout).find(({ type }) => type === "plan") ?? {};
  stages = (plan["stages"] as { name: StageName }[]).map(({ name }) => name);
  assert.ok(stages.length >= 8, stages.join());
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

/** Every other one. */
function signalOf(at: number): KillSignal {
  return at % 2 === 0 ? "SIGKILL" : "SIGINT";
}

async function isUnfinished(): Promise<boolean> {
  return (await whole.journal())?.state === "restoring";
}

test("killed at each of its stages, begun and done, one after the other, it comes to the same end, and back to what was before", async () => {
  const { desk } = whole;
  let args = BEGIN;
  const kills = { SIGKILL: 0, SIGINT: 0 };
  for (const [at, name] of stages.entries()) {
    for (const state of ["begun", "done"] as const) {
      const signal = signalOf(state === "begun" ? at : at + 1);
      if (await whole.killWhen(args, stageIs(name, state), { signal })) kills[signal] += 1;
      args = RESUME;
    }
  }
  // What is short may be done before it is seen.
  assert.ok(kills.SIGKILL + kills.SIGINT > stages.length && kills.SIGINT > 0, JSON.stringify(kills));
  if (await isUnfinished()) await desk.summary(RESUME);
  assertSameState(await whole.state(), saved, "restored");
  for (const [at, name] of stages.toReversed().entries())
    await whole.killWhen(ROLLBACK, stageIs(name, "undone"), { signal: signalOf(at) });
  if ((await whole.journal())?.state !== "undone") await desk.summary(ROLLBACK);
  assertSameState(await whole.state(), damaged, "rolled back");
  await desk.summary(FORGET);
});

test("undone half-way, from any stage, all is as it was", async (t) => {
  for (const [at, name] of stages.entries()) {
    const signal = signalOf(at + 1);
    await t.test(`${name}, ${signal}`, async () => {
      const { desk } = whole;
      const wasKilled = await whole.killWhen(BEGIN, stageIs(name, "begun"), { signal });
      await desk.summary(ROLLBACK);
      assertSameState(await whole.state(), damaged, `undone ${wasKilled ? "half-way" : "from the end"} at '${name}'`);
      await desk.summary(FORGET);
    });
  }
});

test(`killed at moments chosen by chance, going on and going back (CHATKEEP_TEST_SEED=${seed})`, async (t) => {
  for (let round = 1; round <= ROUNDS; round += 1) {
    const name = stages[random.below(stages.length)] ?? "stop";
    // Loading takes longest.
    const afterMs = random.below(name === "database" ? 4000 : 600);
    const goesOn = random.below(2) === 1;
    const backMs = random.below(4000);
    const [signal, backSignal] = [signalOf(random.below(2)), signalOf(random.below(2))];
    const shown = `${signal} ${afterMs} ms after '${name}' began, ${goesOn ? "gone on with" : "undone"}, ${backSignal} ${backMs} ms into the rollback`;
    await t.test(shown, async () => {
      const { desk } = whole;
      await whole.killWhen(BEGIN, stageIs(name, "begun"), { afterMs, signal });
      if (goesOn && (await isUnfinished())) await desk.summary(RESUME);
      if (goesOn) assertSameState(await whole.state(), saved, "restored");
      await whole.killWhen(ROLLBACK, ({ state }) => state === "undoing", {
        afterMs: backMs,
        signal: backSignal,
      });
      if ((await whole.journal())?.state !== "undone") await desk.summary(ROLLBACK);
      assertSameState(await whole.state(), damaged, "rolled back");
      await desk.summary(FORGET);
    });
  }
});
