/** A process that is remembered beyond the run that began it: known again after its number went to another. */
import { beganAt } from "./alive.ts";
import { isMarkHere, isMarkOver, markOf } from "./leftovers.ts";

export interface KnownProcess {
  readonly pid: number;
  /** Of `markOf`: machine, boot and name space of its number. */
  readonly mark: string;
  /** Ticks since the machine's start; empty where the system does not tell. */
  readonly began: string;
}

/** One that can be seen from here. */
export function knownProcess(pid: number): KnownProcess {
  return { pid, mark: markOf(pid), began: beganAt(pid) };
}

/** True when it is surely the same one, and runs: only then may it be sent a signal. */
export function isProcessSeen(known: KnownProcess): boolean {
  return !isProcessOver(known) && isMarkHere(known.mark) && known.began !== "";
}

/** True when it is surely over. Of one that cannot be seen from here that is not known, nor where the system tells no beginnings. */
export function isProcessOver({ pid, mark, began }: KnownProcess): boolean {
  return isMarkOver(mark) || (isMarkHere(mark) && began !== "" && beganAt(pid) !== began);
}
