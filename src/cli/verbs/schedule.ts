import { runSchedule } from "../../app/verbs.ts";
import { Failure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { formatSchedule } from "../reports/schedule.ts";

export const schedule: Verb = async (invocation) => {
  const { globals, surroundings } = invocation;
  const summary = await runSchedule(globals, readFlags(invocation), surroundings);
  answer(invocation, summary, formatSchedule, { isAnswer: true });
  return tellFindings(invocation, summary.findings);
};

/** The table of commands has checked the words. */
function readFlags({ given }: Invocation) {
  const action = given.optionalArgument(0);
  const print = given.text("print");
  const crontab = given.has("crontab");
  const image = given.text("image");
  if (crontab && action !== "install") {
    throw new Failure("usage/invalid", "--crontab says how to install", {
      hint: "Say 'chatkeep schedule install --crontab'; 'show' and 'remove' find the line by themselves.",
    });
  }
  if (print !== undefined && action !== undefined) {
    throw new Failure("usage/invalid", `--print changes nothing, and '${action}' does`, {
      hint: "Leave out one of them.",
    });
  }
  if (image !== undefined && print === undefined) {
    throw new Failure("usage/invalid", "--image is for what is printed", {
      hint: "Give --print cronjob or --print compose.",
    });
  }
  return {
    action: action === "install" || action === "remove" ? action : "show",
    crontab,
    print: print === "cronjob" || print === "compose" ? print : undefined,
    image,
  } as const;
}
