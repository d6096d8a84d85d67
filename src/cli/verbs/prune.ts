import { runPrune } from "../../app/upkeep.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatPrune } from "../reports/prune.ts";

export const prune: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const flags = {
    maxUnused: given.text("maxUnused"),
    maxRepack: given.text("maxRepack"),
    dryRun: given.has("dryRun"),
  };
  answer(invocation, await runPrune(globals, flags, surroundings), formatPrune);
  return 0;
};
