import { runAck, runListAcks } from "../../app/acks.ts";
import { Failure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Verb } from "../command.ts";
import { formatAcks } from "../reports/ack.ts";

export const ack: Verb = async (invocation) => {
  const { given, globals, surroundings } = invocation;
  const word = given.optionalArgument(0);
  const reason = given.text("reason");
  if (word === undefined) {
    if (reason !== undefined) {
      throw new Failure("usage/invalid", "it is not said what is acknowledged", {
        hint: "Say 'chatkeep ack shrunk --reason TEXT', or 'chatkeep ack' for a list.",
      });
    }
    answer(invocation, await runListAcks(globals, surroundings), formatAcks, { isAnswer: true });
    return 0;
  }
  const summary = await runAck(globals, { word, reason }, surroundings);
  answer(invocation, summary, formatAcks);
  return tellFindings(invocation, summary.findings);
};
