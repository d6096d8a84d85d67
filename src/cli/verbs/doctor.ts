import { runDoctor } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { statusOf } from "../findings.ts";
import { formatWorries, formatDoctor } from "../reports/doctor.ts";

export const doctor: Verb = async (invocation) => {
  const { given, mode, globals, surroundings } = invocation;
  const confirm = async (question: string) => mode.yes || (await surroundings.person?.confirm(question)) === true;
  const fix = given.has("fix") ? { confirm } : undefined;
  const summary = await runDoctor(globals, { fix }, surroundings);
  answer(invocation, summary, mode.quiet ? formatWorries : formatDoctor, { isAnswer: true });
  return statusOf(summary.findings);
};
