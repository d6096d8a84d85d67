import { runStatus } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { statusOf } from "../findings.ts";
import { formatStatus } from "../reports/status.ts";

export const status: Verb = async (invocation) => {
  const summary = await runStatus(invocation.globals, invocation.surroundings);
  answer(invocation, summary, formatStatus, { isAnswer: true });
  return statusOf(summary.findings);
};
