/** An upgrade under guard: it goes well, it fails, it breaks what it should not, and it is undone. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import type { GuardSummary } from "../../src/job/guard-summary.ts";
import { summaryOf } from "../harness/cli.ts";
import { AFTER, BEFORE, GOES_WELL, GOES_WRONG, type GuardDesk, MIGRATION, openGuardDesk } from "./guard-desk.ts";

let guarded: GuardDesk;

let first: GuardSummary;
/** Before any upgrade. */
let was: Record<string, unknown>;

before(async () => {
  guarded = await openGuardDesk();
  was = await guarded.stands();
  first = await guard(["--", await guarded.upgrade("well", GOES_WELL)], 0);
});
after(async () => await guarded[Symbol.asyncDispose]());

async function guard(words: readonly string[], status: number): Promise<GuardSummary> {
  const args = ["--json", "guard", ...words];
  const result = await guarded.desk.chatkeep(args);
  assert.equal(result.status, status, result.stderr + result.stdout);
  return summaryOf(result.stdout) as unknown as GuardSummary;
}

function kindsOf(findings: readonly Finding[]): string[] {
  return findings.map(({ kind }) => kind).toSorted();
}

test("an upgrade that goes well: a proven point first, then what changed", async () => {
  const summary = first;
  assert.deepEqual([summary.outcome, summary.status, summary.reasons], ["well", 0, []]);
  assert.deepEqual([summary.before, summary.after], [BEFORE, AFTER]);
  assert.ok(summary.changes.includes(`Chatwoot: ${BEFORE} → ${AFTER}`), summary.changes.join("\n"));
  assert.ok(summary.changes.includes(`migrations: 1 more, up to ${MIGRATION}`));
  const { points } = (await guarded.desk.summary(["list"])) as { points: { point: string; provenAt: string | null }[] };
  assert.equal(points.length, 1);
  assert.equal(points[0]?.point, summary.point);
  assert.ok(points[0]?.provenAt, "the point is proven");
  const kept = await readFile(join(guarded.state, await onlyFolder(), "guard.json"), "utf8");
  for (const secret of guarded.desk.installation.secrets) assert.equal(kept.includes(secret), false);
});

async function onlyFolder(): Promise<string> {
  return /^ {2}id: (.+)$/m.exec(await readFile(guarded.desk.config, "utf8"))?.[1] ?? "";
}

async function holds(): Promise<string[]> {
  const summary = (await guarded.desk.summary(["hold"])) as { holds: { name: string }[] };
  return summary.holds.map(({ name }) => name);
}

test("a command that is none here is refused before a backup is made for nothing", async () => {
  const { status, stderr } = await guarded.desk.chatkeep(["guard", "--", "cwctl-of-another-machine", "--upgrade"]);
  assert.equal(status, 2, stderr);
  assert.match(stderr, /^error: there is no program 'cwctl-of-another-machine'/m);
  const empty = await guarded.desk.chatkeep(["guard"]);
  assert.equal(empty.status, 2);
  const { points } = (await guarded.desk.summary(["list"])) as { points: unknown[] };
  assert.equal(points.length, 1);
});

test("a command that fails is left as it is where nobody can be asked, and no other begins before somebody has looked", async () => {
  const summary = await guard(["--point", "proven", "--", "sh", "-c", "exit 7"], 1);
  assert.deepEqual([summary.outcome, summary.status], ["wrong", 7]);
  assert.deepEqual(kindsOf(summary.reasons), ["guard-command-failed"]);
  assert.ok(summary.next[0]?.includes("chatkeep guard --back"));
  assert.deepEqual(await holds(), ["open-guard"], "nothing forgets the way back");
  const next = await guarded.desk.chatkeep(["guard", "--point", "proven", "--", "true"]);
  assert.equal(next.status, 1);
  assert.match(next.stderr, /^error: .* went wrong, and nothing was put back$/m);
  assert.match(next.stderr, /^hint: .*guard --check.*guard --back.*guard --forget/ms);
  const checked = await guard(["--check"], 0);
  assert.deepEqual([checked.outcome, checked.status], ["well", 7]);
  assert.deepEqual(await holds(), []);
});

test("what a failed upgrade did to rows, code and environment is undone at once, and said", async () => {
  const path = await guarded.upgrade("breaks", GOES_WRONG);
  const summary = await guard(["--on-failure", "rollback", "--outbound", "allow", "--point", "proven", "--", path], 1);
  assert.deepEqual([summary.outcome, summary.status], ["back", 5], JSON.stringify(summary, null, 1));
  assert.deepEqual(await guarded.stands(), was);
  assert.equal(existsSync(guarded.down), false, "the web process runs again");
  const aside = await guarded.desk.server.query(
    `select datname from pg_database where datname like '${guarded.desk.installation.database.database}_before_%'`,
  );
  assert.equal(aside.length, 1, "what was written since is in the database that was put aside");
});
