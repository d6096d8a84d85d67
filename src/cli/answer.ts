/** What every command does with its summary: one JSON line, or a report for a person and the findings beside it. */
import type { Finding } from "../base/findings.ts";
import type { ExitStatus } from "./exits.ts";
import { formatFindings, statusOf } from "./findings.ts";
import type { Invocation } from "./command.ts";
import type { Look } from "./look.ts";

/**
 * Prints the summary as `--json` and `--quiet` want it. Secrets go before anything is laid out, because a secret that
 * is broken over two lines would no longer be recognized.
 * @param options.isAnswer the report is what was asked for, so it is printed with `--quiet` too.
 */
export function answer<Summary extends object>(
  { mode, printer, progress, redactor, look }: Invocation,
  summary: Summary,
  format: (summary: Summary, look: Look) => readonly string[],
  { isAnswer = false } = {},
): void {
  progress.end();
  if (mode.json) printer.json(summary);
  else if (isAnswer || !mode.quiet) printer.out(format(redactor.redactDeep(summary), look));
}

/** Prints findings on stderr and gives the exit status that they ask for. */
export function tellFindings({ mode, printer, redactor, look }: Invocation, findings: readonly Finding[]): ExitStatus {
  const told = mode.quiet ? findings.filter((finding) => !mode.json && finding.level !== "note") : findings;
  printer.note(formatFindings(redactor.redactDeep([...told]), look));
  return statusOf(findings);
}
