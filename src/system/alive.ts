import { readFileSync } from "node:fs";

/**
 * True while a process of this machine (and of our own container) has this number. One that belongs to somebody else
 * is alive too, though we may not send it anything.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/**
 * When a process began, in ticks since the machine's start: numbers of processes are used again. Field 22 of proc_pid_stat(5);
 * empty where there is none. The name of the program may hold anything but ends with ')'.
 */
export function beganAt(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}
