import { readFileSync } from "node:fs";

/**
 * True while a process of this machine (and of our own container) has this number. One that belongs to somebody else
 * is alive too, though we may not send it anything; one that has ended is not, though its parent never asks how.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  return !ENDED.has(readStat(pid)[0] ?? "");
}

/** Zombie and dead. */
const ENDED = new Set(["Z", "X", "x"]);

/** When a process began, in ticks since the machine's start: numbers of processes are used again. Empty where there is none. */
export function beganAt(pid: number): string {
  return readStat(pid)[19] ?? "";
}

/** The fields of proc_pid_stat(5) from its third on, the state; none where there is no such process. Its name may hold anything but ends with ')'. */
function readStat(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return [];
  }
}
