import { runBackup } from "../../app/verbs.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatBackup } from "../reports/backup.ts";

export const backup: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const options = {
    full: given.has("full"),
    fromStandby: given.has("fromStandby"),
    tags: given.list("tag"),
    dryRun: given.has("dryRun"),
  };
  const summary = await runBackup(globals, options, surroundings);
  answer(invocation, summary, formatBackup);
  return tellFindings(invocation, summary.findings);
};
