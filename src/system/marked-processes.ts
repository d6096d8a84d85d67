/**
 * Processes of this machine that a run of ours began and may have left when it was killed: known by a variable that they were given.
 * Linux alone tells what a process was given, in `/proc` (proc(5), `environ`); elsewhere, and of other users' processes, none is found.
 */
import { readdir, readFile } from "node:fs/promises";
import { systemClock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";

export interface Mark {
  readonly name: string;
  readonly value: string;
}

/** Their numbers; never this process itself. */
export async function markedProcesses({ name, value }: Mark): Promise<number[]> {
  const line = `${name}=${value}`;
  const found: number[] = [];
  for (const entry of await readdir("/proc").catch(() => [])) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    // One that has ended, or is somebody else's, does not tell. Of one that has ended and is not yet forgotten it is empty.
    const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
    if (environment.split("\0").includes(line)) found.push(pid);
  }
  return found;
}

/** Returns when none is left. */
export async function waitForMarked(mark: Mark, { signal }: { signal: AbortSignal }): Promise<void> {
  while ((await markedProcesses(mark)).length > 0) await systemClock.sleep(LIMITS.lookSoonMs, signal);
}

/** Ends them, at once those that do not end when they are asked to, and returns when none is left. */
export async function endMarked(mark: Mark, { signal }: { signal: AbortSignal }): Promise<void> {
  const until = systemClock.monotonic() + LIMITS.containerStopMs;
  let asked = new Set<number>();
  for (;;) {
    const left = await markedProcesses(mark);
    if (left.length === 0) return;
    const isLate = systemClock.monotonic() >= until;
    for (const pid of left) if (isLate || !asked.has(pid)) send(pid, isLate ? "SIGKILL" : "SIGTERM");
    asked = new Set(left);
    await systemClock.sleep(LIMITS.lookSoonMs, signal);
  }
}

function send(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile, or is not ours: who looks again sees.
  }
}
