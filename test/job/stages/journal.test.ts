import assert from "node:assert/strict";
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { Journal, journalFile, journalPath, type JournalValue, parseJournal } from "../../../src/job/stages/journal.ts";
import { temporaryFolder } from "../../harness/temporary.ts";

const VALUE: Omit<JournalValue, "schema" | "state"> = {
  id: "20260301T020304Z",
  program: "chatkeep 0",
  beganAt: "2026-03-01T02:03:04.000Z",
  point: "a".repeat(64),
  snapshot: "b".repeat(64),
  takenAt: "2026-03-01T01:00:00.000Z",
  installation: { id: "6a1f", name: "desk" },
  repository: "primary",
  parts: ["database"],
  options: { withRoles: false, storage: undefined, migrate: false, outbound: "ask", clone: undefined },
  place: { kind: "manual", database: "chatwoot_production" },
  fresh: "chatwoot_production_restoring_20260301T020304",
  stages: [
    { name: "stop", state: "waiting", seconds: 0 },
    { name: "database", state: "waiting", seconds: 0 },
  ],
};

test("what a journal was told is there when it is opened again, for its owner alone", async () => {
  await using temporary = await temporaryFolder();
  const folder = temporary.at("state", "restore", VALUE.id);
  const journal = await Journal.begin(journalFile(folder), VALUE);
  await journal.setStage("stop", { state: "begun" });
  await journal.setStage("stop", { kept: { wasRunning: true } });
  await journal.set({ options: { ...VALUE.options, outbound: "defuse" } });
  const again = await Journal.open(journalFile(folder), "journal");
  assert.deepEqual(again?.value, JSON.parse(JSON.stringify(journal.value)));
  assert.deepEqual(again?.stage("stop"), { name: "stop", state: "begun", seconds: 0, kept: { wasRunning: true } });
  assert.equal(again?.value.options.outbound, "defuse");
  assert.equal((await stat(journalPath(folder))).mode & 0o777, 0o600);
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(folder), ["journal.json"]);
});

test("where there is none, there is none", async () => {
  await using temporary = await temporaryFolder();
  const folder = temporary.at("nothing");
  assert.equal(await Journal.open(journalFile(folder), "journal"), undefined);
});

test("a journal that is cut anywhere, of a newer version, or none at all is refused with a hint", async () => {
  await using temporary = await temporaryFolder();
  const folder = temporary.path;
  const journal = await Journal.begin(journalFile(folder), VALUE);
  const text = JSON.stringify(journal.value);
  const { place: _, ...placeless } = journal.value;
  const damaged = [
    ...Array.from({ length: text.length }, (_one, end) => text.slice(0, end)),
    "null",
    "[]",
    "7",
    JSON.stringify({ ...journal.value, schema: 2 }),
    JSON.stringify({ ...journal.value, schema: "1" }),
    JSON.stringify({ ...journal.value, stages: [null] }),
    JSON.stringify({ ...journal.value, stages: [{ name: "brew", state: "done", seconds: 0 }] }),
    JSON.stringify({ ...journal.value, state: "sleeping" }),
    JSON.stringify(placeless),
  ];
  for (const bad of damaged) {
    assert.throws(
      () => parseJournal(bad, "journal"),
      (error) => {
        assert.ok(isFailure(error, "restore/record"), `${bad}: ${String(error)}`);
        assert.ok((error.hint ?? "").length > 20);
        return true;
      },
    );
  }
  await writeFile(journalPath(folder), text.slice(0, 100));
  await assert.rejects(Journal.open(journalFile(folder), "journal"), { code: "restore/record" });
});

test("what cannot be written is said, and the journal says what it said before", async () => {
  await using temporary = await temporaryFolder();
  const folder = temporary.at("one");
  const journal = await Journal.begin(journalFile(folder), VALUE);
  // Where the new text would be written, something is in the way.
  await mkdir(join(`${journalPath(folder)}.new`, "in the way"), { recursive: true });
  await assert.rejects(journal.setStage("stop", { state: "begun" }), { code: "restore/record" });
  assert.equal(journal.stage("stop")?.state, "waiting");
  assert.equal((await Journal.open(journalFile(folder), "journal"))?.stage("stop")?.state, "waiting");
});
