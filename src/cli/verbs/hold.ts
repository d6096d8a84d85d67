import { runHold, runListHolds, runReleaseHold } from "../../app/holds.ts";
import { Failure } from "../../base/errors.ts";
import type { HoldSummary } from "../../job/summaries.ts";
import { answer, tellFindings } from "../answer.ts";
import type { ExitStatus } from "../exits.ts";
import type { Invocation, Verb } from "../command.ts";
import { formatHolds } from "../reports/hold.ts";

export const hold: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const point = given.optionalArgument(0);
  const name = given.text("name") ?? given.optionalArgument(1);
  const [reason, until, all] = [given.text("reason"), given.text("until"), given.has("all")];
  const isMaking = name !== undefined || reason !== undefined || until !== undefined;
  if (point === undefined && (isMaking || given.has("release"))) throw incomplete("which restore point");
  if (point === undefined) {
    answer(invocation, await runListHolds(globals, { all }, surroundings), formatHolds, { isAnswer: true });
    return 0;
  }
  if (name === undefined) throw incomplete("what the hold is called");
  if (!given.has("release")) {
    return tell(invocation, await runHold(globals, { point, name, reason, until }, surroundings));
  }
  if (reason !== undefined || until !== undefined) {
    throw new Failure("usage/invalid", "--release takes no --reason and no --until", {
      hint: "Say 'chatkeep hold --release POINT NAME'.",
    });
  }
  return tell(invocation, await runReleaseHold(globals, { point, name }, surroundings));
};

function tell(invocation: Invocation, summary: HoldSummary): ExitStatus {
  answer(invocation, summary, formatHolds);
  return tellFindings(invocation, summary.findings);
}

function incomplete(what: string): Failure {
  return new Failure("usage/invalid", `it is not said ${what}`, {
    hint: "Say 'chatkeep hold POINT --name NAME', 'chatkeep hold --release POINT NAME', or 'chatkeep hold' for a list.",
  });
}
