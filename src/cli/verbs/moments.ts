import { runMoments } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import type { Given } from "../given.ts";
import { formatMoments, formatUnread } from "../reports/moments.ts";

const LIMIT = 40;
const MOST = 100_000;

export const moments: Verb = async (invocation) => {
  const { given, globals, surroundings, mode, printer, redactor } = invocation;
  const flags = {
    table: given.text("table"),
    deleted: count(given, "deleted") ?? 0,
    updated: count(given, "updated") ?? 0,
    inserted: count(given, "inserted") ?? 0,
    since: given.text("since"),
    until: given.text("until"),
    limit: count(given, "limit") ?? LIMIT,
  };
  const summary = await runMoments(globals, flags, surroundings);
  answer(invocation, summary, formatMoments, { isAnswer: true });
  if (!mode.json) printer.note(formatUnread(redactor.redactDeep(summary)));
  // A table cannot be looked for where it is not known which one a file is.
  const isPart = summary.unread.length > 0 || (flags.table !== undefined && summary.unnamed !== null);
  return isPart ? 3 : 0;
};

function count(given: Given, name: string): number | undefined {
  const text = given.text(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d{1,9}$/.test(text) && value > 0 && (name !== "limit" || value <= MOST)) return value;
  throw new Failure("usage/invalid", `--${name} cannot be '${text}'`, { hint: "It is a number of 1 or more." });
}
