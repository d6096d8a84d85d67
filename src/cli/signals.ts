/** Ctrl-C and `kill`: the first asks for a clean stop, the next one ends at once. */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";

/** Parents (npm, some shells) pass on the signal that the terminal sent already: so near together they are one. */
const ECHO_MS = 200;

export interface InterrupterOptions {
  clock: Clock;
  /** What holds when the run is stopped; ends a sentence. */
  kept: () => string;
  abort: (reason: Failure) => void;
  tell: (line: string) => void;
  /** Ends the process now, with that status. */
  exitNow: (status: number) => void;
}

/** Call the result for each SIGINT or SIGTERM. */
export function createInterrupter(options: InterrupterOptions): (signal: "SIGINT" | "SIGTERM") => void {
  const { clock, kept, abort, tell, exitNow } = options;
  let stoppedMs: number | undefined;
  return (signal) => {
    const nowMs = clock.monotonic();
    if (stoppedMs === undefined) {
      stoppedMs = nowMs;
      tell(`stopping cleanly${signal === "SIGINT" ? "; press Ctrl-C again to stop at once" : ""}`);
      abort(new Failure("run/cancelled", "stopped before the end", { hint: sentence(kept()) }));
    } else if (nowMs - stoppedMs >= ECHO_MS) exitNow(130);
  };
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
