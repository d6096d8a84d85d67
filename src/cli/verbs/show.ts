import { runShow } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatShow } from "../reports/show.ts";

export const show: Verb = async (invocation) => {
  const summary = await runShow(invocation.globals, invocation.given.argument(0), invocation.surroundings);
  answer(invocation, summary, formatShow, { isAnswer: true });
  return 0;
};
