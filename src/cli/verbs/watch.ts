import { checkWatchTime, isWatchMode } from "../../app/config-watch.ts";
import { runWatch, runWatchService } from "../../app/verbs.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import { WATCH_MANIFESTS } from "../commands/continuous.ts";
import { formatWatchService } from "../reports/watch-service.ts";

export const watch: Verb = async (invocation) => {
  const { given, globals, mode: asked, printer, surroundings } = invocation;
  const mode = given.text("mode");
  const flushEvery = given.text("flushEvery");
  const interval = given.text("interval");
  checkWatchTime("--flush-every", flushEvery);
  checkWatchTime("--interval", interval);
  const flags = { mode: isWatchMode(mode) ? mode : undefined, flushEvery, interval };
  const action = actionOf(invocation);
  if (action === undefined) {
    try {
      await runWatch(globals, flags, surroundings);
    } catch (error) {
      const { reason } = surroundings.signal;
      // It has no end of its own: who stops it gets what was asked for, and it has said what is stored.
      if (!isFailure(reason, "run/cancelled")) throw error;
      const { code, message, hint = null } = reason;
      if (asked.json) printer.json({ type: "error", code, message, hint, exit: 130 });
      return 130;
    }
    return 0;
  }
  const confirm = async (question: string) => asked.yes || (await surroundings.person?.confirm(question)) === true;
  const image = given.text("image");
  const summary = await runWatchService(globals, { ...flags, action, image, confirm }, surroundings);
  answer(invocation, summary, formatWatchService, { isAnswer: true });
  return tellFindings(invocation, summary.findings);
};

/** What to do in place of watching; undefined: to watch. */
function actionOf({ given }: Invocation) {
  const print = WATCH_MANIFESTS.find((kind) => kind === given.text("print"));
  const [action, ...others] = [
    ...(given.has("install") ? (["install"] as const) : []),
    ...(given.has("remove") ? (["remove"] as const) : []),
    ...(given.has("newServer") ? (["new-server"] as const) : []),
    ...(print === undefined ? [] : [print]),
  ];
  if (others.length > 0) {
    throw new Failure("usage/invalid", "--install, --remove, --new-server and --print are one thing each", {
      hint: "Leave out all but one of them.",
    });
  }
  if (given.text("image") !== undefined && (print === undefined || print === "systemd")) {
    throw new Failure("usage/invalid", "--image is for what is printed for containers", {
      hint: "Give --print compose or --print kubernetes.",
    });
  }
  return action;
}
