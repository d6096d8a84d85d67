/** Two restores and their rollbacks, one after the other and two people at once: each undoes what it says, and nothing else. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { findRollback, runUndo } from "../../src/app/restore-whole.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { assertSameState, type DeskState, openWholeDesk, stageIs, type WholeDesk } from "../scenario/whole-desk.ts";

let whole: WholeDesk;
let damaged: DeskState;

before(async () => {
  whole = await openWholeDesk({ messages: 60, conversations: 10, files: 4 });
  await whole.desk.summary(["backup"]);
  await onDatabase(whole.desk.installation.database, async (client) => {
    await client.query("delete from messages where id % 2 = 0");
  });
  damaged = await whole.state();
  await whole.start();
});
after(async () => {
  await whole[Symbol.asyncDispose]();
});

const RESTORE = ["restore", "latest", "--yes", "--outbound", "allow"];

test("a second try that came to nothing, or was swapped and undone, leaves the first one to be undone as a whole", async () => {
  const { desk } = whole;
  for (const [stage, state] of [
    ["database", "begun"],
    ["swap", "done"],
  ] as const) {
    await desk.summary(RESTORE);
    const restored = await whole.state();
    // The first one's journal is there, too, and says that all is done.
    const isThere = stageIs(stage, state);
    const killed = await whole.killWhen(RESTORE, (journal) => journal.state === "restoring" && isThere(journal));
    assert.ok(killed, `killed at ${stage}`);
    const first = await desk.summary(["rollback", "--yes"]);
    assert.equal(first["isWhole"], true);
    assertSameState(await whole.state(), restored, `the second try of ${stage} is undone`);
    const second = await desk.summary(["rollback", "--yes"]);
    assert.equal(second["isWhole"], true);
    assertSameState(await whole.state(), damaged, `the first restore is undone after ${stage}`);
    await desk.summary(["restore", "--discard-previous", "--yes"]);
  }
});

test("who was asked about a rollback while another went on with the restore undoes nothing", async () => {
  const { desk } = whole;
  assert.ok(await whole.killWhen(RESTORE, stageIs("database", "done")), "killed");
  const s: Surroundings = {
    signal: new AbortController().signal,
    progress: silent,
    env: process.env,
    cwd: desk.root,
    clock: systemClock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  const globals = { config: desk.config };
  const seen = await findRollback(globals, s);
  assert.ok(seen);
  await desk.summary(["restore", "--resume", "--yes", "--outbound", "allow"]);
  const journal = await whole.journal();
  await assert.rejects(runUndo(globals, seen, s), /somebody else went on with this restore/);
  assert.deepEqual(await whole.journal(), journal, "the journal is as the other left it");
  await desk.summary(["rollback", "--yes"]);
  assertSameState(await whole.state(), damaged, "rolled back");
});
