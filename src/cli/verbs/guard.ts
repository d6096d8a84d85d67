import { checkGuard, forgetGuard, runGuard } from "../../app/guard.ts";
import { type BackFlags, goBack } from "../../app/guard-back.ts";
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { GuardSummary } from "../../job/guard-summary.ts";
import { answer, tellFindings } from "../answer.ts";
import type { Invocation, Verb } from "../command.ts";
import type { ON_FAILURE } from "../commands/guard.ts";
import type { ExitStatus } from "../exits.ts";
import { statusOf } from "../findings.ts";
import { formatGuard, formatReasons } from "../reports/guard.ts";

type OnFailure = (typeof ON_FAILURE)[number];

export const guard: Verb = async (invocation) => {
  const { given, globals, mode, surroundings, progress } = invocation;
  const command = given.argumentsFrom(0);
  const action = actionOf(invocation, command);
  const onFailure = onFailureOf(invocation);
  const outbound = given.text("outbound") as BackFlags["outbound"];
  const flags = { waitMs: waitOf(given.text("wait")), isOutputTaken: mode.json, outbound };
  if (action === "forget") {
    answer(invocation, await forgetGuard(globals, surroundings), formatGuard);
    return 0;
  }
  if (action === "back") return await backAlone(invocation, flags);
  const summary =
    action === "check"
      ? await checkGuard(globals, flags, surroundings)
      : await runGuard(
          globals,
          { ...flags, command, point: given.text("point"), inPlaceServer: given.has("inPlaceServer") },
          surroundings,
          () => progress.end(),
        );
  if (summary.outcome === "well") {
    answer(invocation, summary, formatGuard);
    return tellFindings(invocation, summary.findings);
  }
  return await askAndGoBack(invocation, summary, { ...flags, onFailure });
};

/** What is wrong stands before the question; a program gets one summary, at the end. */
async function askAndGoBack(
  invocation: Invocation,
  summary: GuardSummary,
  { onFailure, ...flags }: { onFailure: OnFailure } & BackFlags,
): Promise<ExitStatus> {
  const { globals, mode, surroundings, printer, progress, redactor, look } = invocation;
  progress.end();
  printer.note(formatReasons(redactor.redactDeep(summary), look));
  const isBack = onFailure === "rollback" || (onFailure === "ask" && (await confirm(invocation)));
  if (!isBack) {
    answer(invocation, summary, formatGuard);
    tellFindings(invocation, summary.findings);
    return 1;
  }
  if (!mode.json && !mode.quiet) printer.note(["putting everything back"]);
  const back = await goBack(globals, flags, surroundings);
  const { reasons, changes, findings, seconds } = summary;
  const whole = {
    ...back,
    reasons: [...reasons, ...back.reasons],
    changes,
    findings: [...findings, ...back.findings],
    seconds: Math.round((seconds + back.seconds) * 10) / 10,
  };
  answer(invocation, whole, formatGuard);
  printer.note(formatReasons(redactor.redactDeep(back), look));
  tellFindings(invocation, whole.findings);
  return 1;
}

async function confirm({ surroundings: { person } }: Invocation): Promise<boolean> {
  return (await person?.confirm("Put everything back as it was? (database, code or image, environment)")) === true;
}

/** Somebody asked for it: that it was done is no failure. */
async function backAlone(invocation: Invocation, flags: BackFlags): Promise<ExitStatus> {
  const { globals, mode, surroundings, printer, redactor, look } = invocation;
  if (!mode.yes && surroundings.person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to confirm it", {
      hint: "Say --yes to put everything back.",
    });
  }
  if (!mode.yes && !(await confirm(invocation))) {
    throw new Failure("run/cancelled", "nothing was put back", { hint: "Nothing was changed." });
  }
  const back = await goBack(globals, flags, surroundings);
  answer(invocation, back, formatGuard);
  printer.note(formatReasons(redactor.redactDeep(back), look));
  tellFindings(invocation, back.findings);
  return back.outcome === "back" ? statusOf(back.findings) : 1;
}

function actionOf({ given }: Invocation, command: readonly string[]): "run" | "check" | "back" | "forget" {
  const actions = (["check", "back", "forget"] as const).filter((name) => given.has(name));
  const [action] = actions;
  if (actions.length > 1 || (action !== undefined && command.length > 0)) {
    throw new Failure("usage/invalid", "guard does one thing at a time", {
      hint: "Give a command after '--', or one of --check, --back and --forget.",
    });
  }
  return action ?? "run";
}

function onFailureOf({ given, surroundings: { person } }: Invocation): OnFailure {
  const said = given.text("onFailure") as OnFailure | undefined;
  if (said === "ask" && person === undefined) {
    throw new Failure("usage/invalid", "nobody is at a terminal to be asked", {
      hint: "Say --on-failure rollback, or --on-failure leave.",
    });
  }
  return said ?? (person === undefined ? "leave" : "ask");
}

function waitOf(given: string | undefined): number {
  if (given === undefined) return LIMITS.guardWaitMs;
  if (/^\d{1,4}$/.test(given)) return Number(given) * 60_000;
  throw new Failure("usage/invalid", `--wait cannot be '${given}'`, { hint: "It is a whole number of minutes." });
}
