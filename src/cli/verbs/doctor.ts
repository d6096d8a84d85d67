import { runDoctor } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { statusOf } from "../findings.ts";
import { formatWorries, formatDoctor } from "../reports/doctor.ts";

export const doctor: Verb = async (invocation) => {
  const { mode, globals, surroundings } = invocation;
  const summary = await runDoctor(globals, {}, surroundings);
  answer(invocation, summary, mode.quiet ? formatWorries : formatDoctor, { isAnswer: true });
  return statusOf(summary.findings);
};
