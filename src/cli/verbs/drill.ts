import { runDrill } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { parseMoment } from "../../point/moment.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatDrill, formatNotProven } from "../reports/drill.ts";

export const drill: Verb = async (invocation) => {
  const { given, globals, surroundings, printer, redactor, look } = invocation;
  const point = given.optionalArgument(0);
  const at = given.text("at");
  if (at !== undefined && point !== undefined) {
    throw new Failure("usage/invalid", "--at and POINT cannot both be given", { hint: "Each names what is drilled." });
  }
  if (at !== undefined && at !== "random" && parseMoment(at, surroundings.clock.now()) === undefined) {
    throw new Failure("usage/invalid", `--at cannot be '${at}'`, {
      hint: "Write random, now, -5m, a time with its zone, or lsn:0/16B3748.",
    });
  }
  const flags = { all: given.has("all"), inPlaceServer: given.has("inPlaceServer"), at };
  const summary = await runDrill(globals, point, flags, surroundings);
  answer(invocation, summary, formatDrill);
  if (summary.proven) return 0;
  printer.note(formatNotProven(redactor.redactDeep(summary), look));
  return 1;
};
