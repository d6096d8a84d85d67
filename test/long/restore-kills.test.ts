/** A restore into the own place is killed at each of its stages, gone on with, rolled back, and that is killed too. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import type { StageName } from "../../src/job/stages/stage.ts";
import { jsonLines } from "../harness/cli.ts";
import { assertSameState, type DeskState, openWholeDesk, stageIs, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let saved: DeskState;
let damaged: DeskState;
let stages: StageName[];

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
  const { stdout } = await whole.desk.chatkeep(["--json", "restore", "latest", "--plan"]);
  const plan = jsonLines(stdout).find(({ type }) => type === "plan") ?? {};
  stages = (plan["stages"] as { name: StageName }[]).map(({ name }) => name);
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

test("killed at any stage, begun or done, it comes to the same end, and back to what was before", async (t) => {
  assert.ok(stages.length >= 4, stages.join());
  for (const name of stages) {
    for (const state of ["begun", "done"] as const) {
      await t.test(`${name}, ${state}`, async () => {
        const { desk } = whole;
        const begin = ["restore", "latest", "--yes", "--outbound", "allow"];
        const wasKilled = await whole.killWhen(begin, stageIs(name, state));
        // The last one may be done before it is seen.
        if (wasKilled) await desk.summary(["restore", "--resume", "--outbound", "allow"]);
        assertSameState(await whole.state(), saved, `restored, killed at '${name}' ${state}`);
        if (await whole.killWhen(["rollback", "--yes"], stageIs(name, "undone")))
          await desk.summary(["rollback", "--yes"]);
        assertSameState(await whole.state(), damaged, `rolled back, killed at '${name}'`);
        await desk.summary(["restore", "--discard-previous", "--yes"]);
      });
    }
  }
});

test("undone half-way, from any stage, all is as it was", async (t) => {
  for (const name of stages) {
    await t.test(name, async () => {
      const { desk } = whole;
      const wasKilled = await whole.killWhen(
        ["restore", "latest", "--yes", "--outbound", "allow"],
        stageIs(name, "begun"),
      );
      await desk.summary(["rollback", "--yes"]);
      assertSameState(await whole.state(), damaged, `undone ${wasKilled ? "half-way" : "from the end"} at '${name}'`);
      await desk.summary(["restore", "--discard-previous", "--yes"]);
    });
  }
});
