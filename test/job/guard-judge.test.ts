/** What counts as harm after an upgrade, from two looks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, type Judging } from "../../src/job/guard-judge.ts";
import type { Looked } from "../../src/job/guard-look.ts";
import { FALL_LIMITS } from "../../src/policy/shrinkage.ts";

const ROWS = {
  accounts: 3,
  users: 10,
  inboxes: 5,
  contacts: 1_000,
  conversations: 2_000,
  messages: 50_000,
  attachments: 400,
  active_storage_blobs: 450,
};

const BEFORE: Looked = {
  at: "2026-11-28T10:00:00Z",
  kind: "manual",
  version: "4.90.0",
  commit: "a".repeat(40),
  image: null,
  project: null,
  health: { isWell: true, detail: "http://localhost:3000", version: "4.90.0" },
  codeSchema: "20990101000000",
  migrations: ["20980101000000", "20990101000000"],
  rows: ROWS,
  databaseBytes: 1_000_000,
  disks: [],
  environment: { A: "1", B: "2" },
  worries: [],
};

function judged(change: Partial<Looked>, others: Partial<Judging> = {}) {
  const after = { ...BEFORE, ...change };
  return judge({
    before: BEFORE,
    after,
    unseen: undefined,
    command: { status: 0, signal: null },
    health: { isWell: true, detail: "" },
    limits: FALL_LIMITS,
    known: { releases: [], migrations: [] },
    ...others,
  });
}

function kinds(change: Partial<Looked>, others: Partial<Judging> = {}): string[] {
  return judged(change, others).reasons.map(({ kind }) => kind);
}

const REASONS: [what: string, change: Partial<Looked>, others: Partial<Judging>, reasons: string[]][] = [
  ["nothing changed", {}, {}, []],
  ["the command failed", {}, { command: { status: 1, signal: null } }, ["guard-command-failed"]],
  ["a signal ended it", {}, { command: { status: 137, signal: "SIGKILL" } }, ["guard-command-failed"]],
  ["it does not answer", {}, { health: { isWell: false, detail: "x" } }, ["guard-not-well"]],
  ["nobody can be asked", {}, { health: undefined }, []],
  ["migrations ran", { migrations: [...BEFORE.migrations, "21000101000000"], codeSchema: "21000101000000" }, {}, []],
  ["they did not run", { codeSchema: "21000101000000" }, {}, ["guard-migrations-pending"]],
  ["some vanished", { migrations: ["20990101000000"] }, {}, ["guard-migrations-lost"]],
  [
    "the database was set back",
    { migrations: ["20980101000000"] },
    {},
    ["guard-migrations-lost", "guard-migrations-pending"],
  ],
  ["a message was deleted", { rows: { ...ROWS, messages: 49_999 } }, {}, []],
  ["a tenth of them, and a few", { rows: { ...ROWS, messages: 44_999 } }, {}, ["guard-rows-lost"]],
  ["an account", { rows: { ...ROWS, accounts: 2 } }, {}, ["guard-rows-lost"]],
  ["a table", { rows: { ...ROWS, attachments: null } }, {}, ["guard-rows-lost"]],
  ["more than before", { rows: { ...ROWS, messages: 60_000 } }, {}, []],
  ["a limit that is switched off", { rows: { ...ROWS, messages: 0 } }, { limits: {} }, []],
];

for (const [what, change, others, reasons] of REASONS) {
  test(`${what}: ${reasons.length === 0 ? "is well" : reasons.join(", ")}`, () => {
    assert.deepEqual(kinds(change, others), reasons);
  });
}

test("what a release that is known here lacks is told by its own list, whatever its schema file says", () => {
  const releases = [{ tag: "v4.90.0", schemaVersion: "20990101000000" }] as unknown as Judging["known"]["releases"];
  const migrations = ["20980101000000", "20981231000000", "20990101000000"].map((version) => ({
    version,
    first: "v4.80.0",
    last: "v4.90.0",
  })) as unknown as Judging["known"]["migrations"];
  const { reasons } = judged({ codeSchema: "20800101000000" }, { known: { releases, migrations } });
  assert.match(reasons[0]?.message ?? "", /20981231000000$/);
});

function worry(kind: string): Looked["worries"][number] {
  return { kind, message: kind, hint: "h", level: "alarm" };
}

test("what was wrong before is not the upgrade's doing, and what is new and no harm is told", () => {
  const before = { ...BEFORE, worries: [worry("storage-files-lost")] };
  const lost = { ...worry("storage-files-lost"), message: "another sample" };
  const after = { ...BEFORE, worries: [lost, worry("encryption-keys-wrong"), worry("disk-low")] };
  const { reasons, findings } = judged({}, { before, after });
  assert.deepEqual(
    reasons.map(({ kind }) => kind),
    ["encryption-keys-wrong"],
  );
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["storage-files-lost", "disk-low"],
  );
});

test("what changed is told in words, and of the environment names alone", () => {
  const { changes } = judged({
    version: "4.99.0",
    commit: "b".repeat(40),
    rows: { ...ROWS, messages: 50_001 },
    environment: { A: "other", C: "3" },
  });
  assert.deepEqual(changes, [
    "Chatwoot: 4.90.0 → 4.99.0",
    `commit: ${"a".repeat(10)} → ${"b".repeat(10)}`,
    "rows of messages: 50,000 → 50,001",
    "environment, added: C",
    "environment, changed: A",
    "environment, taken away: B",
  ]);
});
