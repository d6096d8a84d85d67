import type { Verb } from "../command.ts";
import { formatCompletions, type Shell } from "../completions.ts";

export const completion: Verb = async ({ given, printer }) => {
  printer.out(formatCompletions(given.argument(0) as Shell));
  return 0;
};
