import { runRepairIndex, runRepairPacks } from "../../app/upkeep.ts";
import { Failure } from "../../base/errors.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatLost, formatRepair } from "../reports/repair.ts";

export const repair: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const flags = { readAllPacks: given.has("readAllPacks"), from: given.text("from") };
  const isIndex = given.argument(0) === "index";
  if (isIndex ? flags.from !== undefined : flags.readAllPacks) {
    const flag = isIndex ? "--from" : "--read-all-packs";
    throw new Failure("usage/invalid", `'repair ${given.argument(0)}' takes no ${flag}`, {
      hint: "--from belongs to 'repair packs', --read-all-packs to 'repair index'.",
    });
  }
  const summary = await (isIndex ? runRepairIndex : runRepairPacks)(globals, flags, surroundings);
  answer(invocation, summary, formatRepair);
  if (summary.lost.length === 0 && summary.damaged.every(({ mended }) => mended)) return 0;
  if (!invocation.mode.json) printer.note(formatLost(redactor.redactDeep(summary), look));
  return 13;
};
