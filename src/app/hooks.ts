/** Commands of the configuration that run before and after the day's work. */
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { readProgram } from "../system/process.ts";
import { durationMs, type HookConfig } from "./config-daily.ts";
import type { Surroundings } from "./surroundings.ts";

export interface HookFacts {
  hook: "before" | "after";
  installation: { id: string; name: string };
  /** Of the point that was made. */
  point: string | undefined;
  /** What the run will end with; undefined before it began. */
  exit: number | undefined;
  outcome: string | undefined;
}

export interface Hook {
  command: string;
  limitMs: number;
  /** That it fails keeps nothing from going on. */
  isIgnored: boolean;
}

export function hookOf(config: HookConfig | undefined): Hook | undefined {
  if (config === undefined) return undefined;
  if (typeof config === "string") return { command: config, limitMs: LIMITS.hookMs, isIgnored: false };
  const limit = config["time-limit"];
  return {
    command: config.command,
    limitMs: limit === undefined ? LIMITS.hookMs : durationMs(limit),
    isIgnored: config.ignore === true,
  };
}

/**
 * Runs it with `/bin/sh`, and shows what it prints.
 * @throws Failure `hook/failed` when it fails or takes too long. Then all that it started is ended too.
 */
export async function runHook({ command, limitMs }: Hook, facts: HookFacts, s: Surroundings): Promise<void> {
  const limit = new AbortController();
  const done = new AbortController();
  const late = new Failure("hook/failed", `hook '${facts.hook}' was not over after ${limitMs / 60_000} minutes`, {
    hint: "It was ended. Give it more with time-limit, or see what it waits for.",
  });
  const waiting = s.clock.sleep(limitMs, done.signal).then(() => limit.abort(late));
  waiting.catch(() => {});
  try {
    await show(command, facts, { ...s, signal: AbortSignal.any([s.signal, limit.signal]) });
  } catch (error) {
    if (!isFailure(error, "program/failed") && !isFailure(error, "program/missing")) throw error;
    // The command itself may hold a secret.
    const message = error.message.replace("'/bin/sh'", "it");
    throw new Failure("hook/failed", `hook '${facts.hook}' failed: ${message}`, {
      hint: "What it printed is above. Run the command by hand; 'ignore: true' lets the run go on without it.",
      cause: error,
    });
  } finally {
    done.abort(new Failure("run/cancelled", "the hook is over"));
  }
}

async function show(command: string, facts: HookFacts, s: Surroundings): Promise<void> {
  const { hook, installation, point, exit, outcome } = facts;
  const env = {
    CHATKEEP_VERB: "run",
    CHATKEEP_HOOK: hook,
    CHATKEEP_INSTALLATION: installation.name,
    CHATKEEP_POINT: point,
    CHATKEEP_EXIT: exit === undefined ? undefined : String(exit),
    CHATKEEP_OUTCOME: outcome,
  };
  const output = readProgram("/bin/sh", ["-c", `exec 2>&1\n${command}`], {
    signal: s.signal,
    cwd: s.cwd,
    env,
    hasOwnGroup: true,
  });
  let shown = 0;
  const say = (line: string) => {
    shown += 1;
    if (shown <= LIMITS.hookLines) s.progress.say(`hook ${hook}: ${line}`);
  };
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of output) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    // A line without end is shown in pieces.
    rest = (lines.pop() ?? "").slice(-LIMITS.stderrKeptBytes);
    for (const line of lines) say(line);
  }
  if (rest !== "") say(rest);
}
