import { runKit } from "../../app/verbs.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatKit } from "../reports/kit.ts";

export const kit: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const summary = await runKit(
    globals,
    { out: given.text("out"), withPassword: given.has("withPassword") },
    surroundings,
  );
  answer(invocation, summary, formatKit);
  return tellFindings(invocation, summary.findings);
};
