/** What every refusal has in common: one line, one hint, its status, no trace, no secret. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { RunResult } from "../harness/run.ts";
import type { Desk } from "./desk.ts";

export interface Refusal {
  status: number;
  error: RegExp;
  hint?: RegExp;
}

/** The lines of stderr that begin with a word and a colon. */
function linesOf(stderr: string, word: string): string[] {
  return stderr.split("\n").filter((line) => line.startsWith(`${word}: `));
}

/** Everything of a desk that may never be printed. */
export async function secretsOf(desk: Desk): Promise<string[]> {
  return [...desk.installation.secrets, (await readFile(desk.passwordFile, "utf8")).trim()];
}

export function assertNoSecret(result: RunResult, secrets: readonly string[]): void {
  for (const secret of secrets) assert.ok(!(result.stdout + result.stderr).includes(secret), "a secret was printed");
}

/** Fails unless the run ended as a refusal should, with this status and these words. */
export function assertRefused(result: RunResult, expected: Refusal, secrets: readonly string[] = []): void {
  const shown = `status ${result.status}\n${result.stderr}${result.stdout}`;
  assert.equal(result.status, expected.status, shown);
  const [errors, hints] = [linesOf(result.stderr, "error"), linesOf(result.stderr, "hint")];
  assert.equal(errors.length, 1, shown);
  assert.equal(hints.length, 1, shown);
  assert.match(errors[0] ?? "", expected.error);
  if (expected.hint !== undefined) assert.match(hints[0] ?? "", expected.hint);
  assert.doesNotMatch(result.stderr + result.stdout, /\n\s+at /, "a stack trace was printed");
  assertNoSecret(result, secrets);
}
