import { runScrub } from "../../app/verbs.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatScrub } from "../reports/scrub.ts";

export const scrub: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const summary = await runScrub(globals, { all: given.has("all") }, surroundings);
  answer(invocation, summary, formatScrub);
  return tellFindings(invocation, summary.findings);
};
