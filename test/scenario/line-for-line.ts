/** One round through the whole product with a hostile database, and what must be true of it on every server. */
import assert from "node:assert/strict";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import type { TestAddress } from "../harness/postgres.ts";
import type { RunOptions } from "../harness/run.ts";
import type { Desk } from "./desk.ts";

interface Finding {
  kind: string;
  level: string;
  message: string;
}

/** Where the environment of the command line needs more: the folder of a newer server's programs. */
export interface Round {
  desk: Desk;
  /** The folder of the server's own programs. */
  programs: string;
  options?: RunOptions;
}

/** A backup that is complete, and tells only what is worth knowing. */
export async function backUpAndTell({ desk, options = {} }: Round): Promise<string> {
  const { status, stdout, stderr } = await desk.chatkeep(["--json", "backup"], options);
  assert.equal(status, 0, stderr);
  const summary = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as { point: string; findings: Finding[] };
  const found = (kind: string) => summary.findings.find((finding) => finding.kind === kind);
  assert.equal(found("materialized-views")?.level, "note");
  assert.deepEqual(
    summary.findings.filter(({ level }) => level !== "note").map(({ kind }) => kind),
    [],
  );
  return summary.point;
}

/** The restored database, of which pg_dump says line for line the same. */
export async function restoreAndCompare(round: Round, point: string): Promise<TestAddress> {
  const { desk, programs, options = {} } = round;
  const source = desk.installation.database;
  const restored = { ...source, database: "line for line" };
  const url = new URL("postgresql://localhost");
  url.username = restored.user;
  url.password = restored.password ?? "";
  url.hostname = restored.host;
  url.port = String(restored.port);
  url.pathname = encodeURIComponent(restored.database);
  const { status, stderr } = await desk.chatkeep(["restore", point, "--database-url", url.href, "--yes"], options);
  assert.equal(status, 0, stderr);
  await assertSameDatabase(source, restored, { programs });
  return restored;
}

/**
 * A drill of the point: restored once more, in a server of its own, and every row compared.
 * @param view Its content is made anew, and the proof says so.
 */
export async function prove({ desk, options = {} }: Round, point: string, view: string): Promise<void> {
  const { status, stdout, stderr } = await desk.chatkeep(["--json", "drill", point], options);
  const summary = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "{}") as {
    proven?: boolean;
    checks?: { name: string; detail: string }[];
  };
  assert.equal(summary.proven, true, stderr + JSON.stringify(summary.checks));
  const rows = summary.checks?.find(({ name }) => name === "rows");
  const [, made = ""] =
    /; the content of .* is made anew each time, and not compared: (.*)/.exec(rows?.detail ?? "") ?? [];
  assert.ok(made.includes(view), rows?.detail ?? "");
  assert.equal(status, 0, stderr);
}
