/** What counts as harm after an upgrade, from two looks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compareVersions } from "../../src/chatwoot/versions.ts";
import { readReleases } from "../../src/installation/releases.ts";
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

const known = await readReleases();

/** What ran in a database of a release. */
function migrationsOf(version: string): string[] {
  return known.migrations
    .filter(({ first, last }) => compareVersions(first, version) <= 0 && compareVersions(last, version) >= 0)
    .map((migration) => migration.version);
}

interface Step {
  from: string;
  to: string;
  /** What the database has afterwards, where it is not what it had. */
  ran?: string[];
  change?: Partial<Looked>;
  /** Of both looks. */
  both?: Partial<Looked>;
}

/** The kinds and hints of what stands in the way of the code that came. */
function gates({ from, to, ran, change, both }: Step): string[] {
  const before = { ...BEFORE, codeSchema: null, version: from, migrations: migrationsOf(from), ...both };
  const after = { ...before, version: to, migrations: ran ?? before.migrations, ...change };
  return judged({}, { before, after, known })
    .reasons.filter(({ kind }) => !kind.startsWith("guard-"))
    .map(({ kind, message, hint }) => `${kind}: ${message}. ${hint}`);
}

test("a release that could not be reached in one step is told, and where the way leads; one that was reached is not", () => {
  const jump = { from: "3.16.0", to: "4.15.1" };
  const [steps, ...others] = gates(jump);
  assert.deepEqual(others, []);
  assert.match(
    steps ?? "",
    /^upgrade-in-steps: Chatwoot 4\.15\.1 that is installed now cannot migrate the database, of Chatwoot 3\.16\.0,/,
  );
  assert.match(steps ?? "", /Put everything back\. Then go in steps, .* 4\.1\.0, and then to the newest\.$/);
  assert.match(gates({ from: "2.16.0", to: "4.15.1" })[0] ?? "", /^upgrade-in-steps: .* older than 2\.17/);
  assert.deepEqual(gates({ ...jump, ran: [...migrationsOf("3.16.0"), ...migrationsOf("4.15.1")] }), []);
  assert.deepEqual(gates({ from: "4.1.0", to: "4.15.1" }), [], "migrations that only did not run are told as that");
});

test("pgvector is asked for only where the server lacks it, and a look that did not ask says nothing", () => {
  const step = { from: "3.16.0", to: "4.1.0" };
  assert.match(
    gates({ ...step, change: { offersVector: false } })[0] ?? "",
    /^pgvector-needed: .*Put everything back\./,
  );
  for (const change of [{ offersVector: true }, {}]) assert.deepEqual(gates({ ...step, change }), []);
});

function image(name: string): Pick<Looked, "image"> {
  return { image: { name, id: "sha256:1", digest: null } };
}

test("an older release, or upstream's over a fork, is told though it answers; what was so before is not", () => {
  assert.match(gates({ from: "4.15.1", to: "4.1.0" })[0] ?? "", /^code-too-old: .*Chatwoot cannot go back/);
  const forked = { migrations: [...migrationsOf("4.15.1"), "20250101123456"] };
  const both = { ...forked, ...image("example/chatwoot:1") };
  const step = { from: "4.15.1", to: "4.15.1", ran: forked.migrations, both };
  assert.deepEqual(gates(step), []);
  assert.match(
    gates({ ...step, change: image("chatwoot/chatwoot:v4.15.1") })[0] ?? "",
    /^code-of-another-fork: the database/,
  );
  assert.deepEqual(gates({ from: "4.1.0", to: "4.1.0", both: { migrations: migrationsOf("4.15.1") } }), []);
});
