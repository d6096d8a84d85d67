/**
 * One run at a time on this machine: a file that says which process runs since when. It appears with its content, by a hard
 * link, so that no reader sees it half. One whose process is gone is taken over; where processes cannot be compared (another
 * container with the same folder) one that was not touched for ten minutes is.
 */
import { randomUUID } from "node:crypto";
import { link, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { dateOf, formatInstant, parseZonedInstant } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { beganAt } from "./alive.ts";
import { freeBytesOf } from "./folders.ts";
import { isMarkOver, isMarkHere, ownMark } from "./leftovers.ts";

interface Holder {
  id: string;
  pid: number;
  /** Of {@link ownMark}. */
  mark: string;
  /** Ticks since the machine's start at which the process began: numbers of processes are used again. */
  began: string;
  /** RFC 3339. */
  since: string;
}

export interface RunLock extends AsyncDisposable {
  /** RFC 3339: since when a run that is gone had held it; undefined when nobody had. */
  readonly takenOverFrom: string | undefined;
}

/**
 * @param path below a folder that exists.
 * @throws Failure `run/locked` that names the process and since when it runs.
 */
export async function lockRun(path: string, { clock }: { clock: Clock }): Promise<RunLock> {
  const own: Holder = {
    id: randomUUID(),
    pid: process.pid,
    mark: ownMark(),
    began: beganAt(process.pid),
    since: formatInstant(clock.now()),
  };
  let takenOverFrom: string | undefined;
  for (let attempt = 0; attempt < LIMITS.runLockAttempts; attempt += 1) {
    if (await place(path, own)) return hold(path, own, clock, takenOverFrom);
    const holder = await read(path);
    // It went between the two looks.
    if (holder === "gone") continue;
    if (holder !== "unreadable" && !(await isOver(path, holder, clock))) throw locked(holder);
    takenOverFrom = holder === "unreadable" ? formatInstant(clock.now()) : holder.since;
    await takeAway(path, holder, own);
  }
  throw new Failure("run/locked", "other runs begin at the same moment", { hint: "Run it again." });
}

/** Since when it is held, milliseconds since 1970; undefined when it is not, or cannot be read. */
export async function heldSince(path: string): Promise<number | undefined> {
  const holder = await read(path);
  return typeof holder === "object" ? parseZonedInstant(holder.since) : undefined;
}

async function place(path: string, own: Holder): Promise<boolean> {
  const beside = `${path}.${own.id}`;
  try {
    await writeFile(beside, `${JSON.stringify(own)}\n`, { flag: "wx", mode: 0o600 });
    await link(beside, path);
    return true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    const isFull = code === "ENOSPC" || code === "EDQUOT";
    const free = isFull ? await freeBytesOf(dirname(path)) : undefined;
    throw new Failure("config/invalid", `cannot write '${path}': ${messageOf(cause)}`, {
      hint: isFull
        ? `Make room on that disk${free === undefined ? "" : `, which has ${formatBytes(free)} free`}: a few hundred KiB are enough to go on.`
        : "Name a folder of this machine that Chatkeep may write to with state-dir.",
      cause,
    });
  } finally {
    await rm(beside, { force: true });
  }
}

async function read(path: string): Promise<Holder | "gone" | "unreadable"> {
  try {
    const value = JSON.parse(await readFile(path, "utf8")) as Partial<Holder>;
    const isWhole = typeof value.id === "string" && typeof value.mark === "string" && typeof value.since === "string";
    return isWhole ? (value as Holder) : "unreadable";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "gone" : "unreadable";
  }
}

async function isOver(path: string, { mark, pid, began }: Holder, clock: Clock): Promise<boolean> {
  if (isMarkHere(mark)) return isMarkOver(mark) || (began !== "" && beganAt(pid) !== began);
  if (isMarkOver(mark)) return true;
  const touched = await stat(path).catch(() => undefined);
  return touched !== undefined && clock.now() - touched.mtimeMs > LIMITS.runLockSilentMs;
}

/** Only what was judged is taken away: if it has become somebody's meanwhile, he gets it back. */
async function takeAway(path: string, judged: Holder | "unreadable", own: Holder): Promise<void> {
  const aside = `${path}.${own.id}.over`;
  try {
    await rename(path, aside);
  } catch {
    return; // Somebody else took it away.
  }
  const moved = await read(aside);
  const isSame =
    typeof moved === "object" && typeof judged === "object" ? moved.id === judged.id : typeof moved === typeof judged;
  if (!isSame) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

function hold(path: string, own: Holder, clock: Clock, takenOverFrom: string | undefined): RunLock {
  const ended = new AbortController();
  const touching = touch(path, clock, ended.signal);
  return {
    takenOverFrom,
    async [Symbol.asyncDispose]() {
      ended.abort(new Failure("run/cancelled", "the lock was let go"));
      await touching;
      const holder = await read(path);
      if (typeof holder === "object" && holder.id === own.id) await rm(path, { force: true });
    },
  };
}

async function touch(path: string, clock: Clock, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await clock.sleep(LIMITS.runLockTouchMs, signal);
    } catch {
      return; // let go
    }
    const now = dateOf(clock.now());
    await utimes(path, now, now).catch(() => {});
  }
}

function locked({ pid, since }: Holder): Failure {
  return new Failure("run/locked", `another run is under way: process ${pid}, since ${since}`, {
    hint: "Wait until it is over. If it hangs, look at what it does, then end it; the next run goes on.",
  });
}
