import { Failure } from "../../base/errors.ts";
import type { Verb } from "../command.ts";
import { formatOverview, formatPage, pageNames } from "../help.ts";

export const help: Verb = async ({ given, printer }) => {
  const topic = given.optionalArgument(0);
  printer.out(topic === undefined ? formatOverview() : pageOf(topic));
  return 0;
};

/** @throws Failure `usage/invalid` when there is no such page. */
export function pageOf(topic: string): string[] {
  const page = formatPage(topic);
  if (page !== undefined) return page;
  throw new Failure("usage/invalid", `there is no help about '${topic}'`, {
    hint: `There is: ${pageNames().join(", ")}.`,
  });
}
