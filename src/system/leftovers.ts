/**
 * Half-written files of runs that died: whose they are is in their name, `<machine>-<life>-<pid>-<random>`.
 *
 * They may only go when their run is surely over. A repository's folder can be shared by machines and containers,
 * where a process number alone says nothing; a file whose owner cannot be judged from here stays for a week.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { isAlive } from "./alive.ts";

/** A file whose run cannot be judged from here. */
export const LEFTOVER_KEPT_MS = 7 * 24 * 3_600_000;
const NAME = /^([0-9a-f]{12})-([0-9a-f]{12})-([0-9a-f]{12})-(\d+)-[0-9a-f]{16}$/;

interface Place {
  /** The machine. */
  machine: string;
  /** This start of the machine. */
  boot: string;
  /** Where process numbers mean the same. */
  processes: string;
}

function attempt(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}

function digest(...parts: string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12);
}

let place: Place | undefined;

function thisPlace(): Place {
  if (place !== undefined) return place;
  const machine = attempt(() => readFileSync("/etc/machine-id", "utf8"));
  const boot = attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8"));
  const processes = attempt(() => readlinkSync("/proc/self/ns/pid"));
  place = { machine: digest(hostname(), machine), boot: digest(boot), processes: digest(processes) };
  return place;
}

/** A name for a file that this process is going to write. */
export function leftoverName(): string {
  const { machine, boot, processes } = thisPlace();
  return `${machine}-${boot}-${processes}-${process.pid}-${randomBytes(8).toString("hex")}`;
}

/** True for a name that {@link leftoverName} made, here or elsewhere. */
export function isLeftoverName(name: string): boolean {
  return NAME.test(name);
}

/** Whether the run that was writing this file is over; undefined where that cannot be judged from here. */
export function isLeftoverOver(name: string): boolean | undefined {
  const [, machine, boot, processes, pid] = NAME.exec(name) ?? [];
  const here = thisPlace();
  if (machine !== here.machine) return undefined;
  if (boot !== here.boot) return true;
  return processes === here.processes ? !isAlive(Number(pid)) : undefined;
}

/** How many digits of each are enough where a name must stay short: a socket's path has 107 bytes. */
const SHORT = 6;
const MARK = /^([0-9a-f]{6})\.([0-9a-f]{6})\.([0-9a-f]{6})\.(\d+)$/;

/** This process in short, for the name of a folder that is its own: `<machine>.<boot>.<processes>.<pid>`. */
export function ownMark(): string {
  return markOf(process.pid);
}

/** The same of another process that can be seen from here. */
export function markOf(pid: number): string {
  const { machine, boot, processes } = thisPlace();
  return [...[machine, boot, processes].map((part) => part.slice(0, SHORT)), pid].join(".");
}

/** True when the process that {@link ownMark} marked is surely over. */
export function isMarkOver(mark: string): boolean {
  const [, machine, boot, processes, pid] = MARK.exec(mark) ?? [];
  const here = thisPlace();
  if (machine !== here.machine.slice(0, SHORT)) return false;
  if (boot !== here.boot.slice(0, SHORT)) return true;
  return processes === here.processes.slice(0, SHORT) && !isAlive(Number(pid));
}

/** True when the process that {@link ownMark} marked can be seen from here, whether or not it is over. */
export function isMarkHere(mark: string): boolean {
  const [, ...parts] = MARK.exec(mark) ?? [];
  const { machine, boot, processes } = thisPlace();
  return [machine, boot, processes].every((part, index) => part.slice(0, SHORT) === parts[index]);
}

/** True when the run that was writing this file is surely over. */
export async function mayRemoveLeftover(folder: string, name: string): Promise<boolean> {
  return isLeftoverOver(name) ?? (await ageMs(folder, name)) > LEFTOVER_KEPT_MS;
}

/** By the clock of the filesystem, which may be another machine's. */
async function ageMs(folder: string, name: string): Promise<number> {
  const probe = join(folder, leftoverName());
  writeFileSync(probe, "", { flag: "wx", mode: 0o600 });
  try {
    const [now, then] = await Promise.all([stat(probe), stat(join(folder, name))]);
    return now.mtimeMs - then.mtimeMs;
  } finally {
    await rm(probe, { force: true });
  }
}
