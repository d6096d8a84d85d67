import { runNotify } from "../../app/verbs.ts";
import { answer } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatNotify } from "../reports/notify.ts";

export const notify: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const summary = await runNotify(globals, { test: given.has("test") }, surroundings);
  answer(invocation, summary, formatNotify, { isAnswer: true });
  return summary.channels.some(({ delivered }) => delivered === false) ? 1 : 0;
};
