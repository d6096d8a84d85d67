import { runExport } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatExport } from "../reports/export.ts";

export const exportVerb: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const flags = { point: given.argument(0), file: given.argument(1), passwordFile: given.text("passwordFile") };
  answer(invocation, await runExport(globals, flags, surroundings), formatExport);
  return 0;
};
