/**
 * A person's own command that starts a process of Chatwoot's: what it prints is kept, and of what it leaves running in the background
 * it is known, as long as this process lives, whether that ends with a failure.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type FileHandle, open, readlink, stat } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { formatSeconds, plural } from "../base/bytes.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { naming } from "../system/replace-file.ts";
import type { Step } from "./processes.ts";

export type OwnCommand = Extract<Step, { how: "shell" }>;

/** The process that a command has left running in the background, the last one where there are several. */
export interface LeftRunning {
  readonly pid: number;
  /** The file that it prints its failures into, as far as that was seen. */
  printed: string;
  /** The last lines that came before the command's end: of both, and in no file any more. */
  readonly said: readonly string[];
  /** How it has ended; undefined while it runs, or where its end was not seen. */
  readonly status: number | undefined;
}

/** By the very step that was run, for as long as somebody has it. */
const LEFT = new WeakMap<Step, LeftRunning>();
const watching = new Set<ChildProcess>();

/**
 * The command's own shell says how the command came to its end and what it has left running, and then waits for that, for only a parent
 * learns how a process ends. It says so on descriptor 3, which the command itself does not have.
 */
const SHELL = `
told() {
  status=$?
  trap - EXIT
  echo "$status $!" >&3
  [ -n "$!" ] || exit "$status"
  wait "$!"
  echo "$?" >&3
}
trap told EXIT
eval "$1" 3>&-`;

export interface StartOptions {
  /** Kept for as long as what was started may have to be explained. */
  readonly folder: string;
  readonly progress: Pick<Progress, "say">;
  /** By which a command is waited for, which takes its own time. Default: the machine's. */
  readonly clock?: Clock;
  readonly signal: AbortSignal;
}

/**
 * Runs it to its end. What it prints is not kept then, for it may hold a secret. What it leaves running goes on printing into a file
 * in the folder, `start.web.log`, where the command did not send that elsewhere. One that has not ended for long is told, and at last
 * ended with all that it runs, for it stays in the foreground.
 * @throws Failure `program/failed` with its last lines, or the signal's reason; what the filesystem says of that file.
 */
export async function startByCommand(
  step: OwnCommand,
  { folder, progress, clock = systemClock, signal }: StartOptions,
): Promise<void> {
  LEFT.delete(step);
  const printed = join(folder, `${step.name}.log`);
  const file = await naming(printed, async () => await open(printed, "w+", 0o600));
  // Its words are written without us: what it leaves running goes on when this process ends.
  const shell = spawn("/bin/sh", ["-c", SHELL, "sh", step.command], { stdio: ["ignore", file.fd, file.fd, "pipe"] });
  const telling = shell.stdio[3] as Socket;
  const stop = () => {
    shell.kill("SIGKILL");
    telling.destroy();
  };
  const stopAll = () => {
    const below = shell.pid === undefined ? [] : descendantsOf(shell.pid);
    // First, or it would begin with what comes next in the command.
    stop();
    for (const pid of below) end(pid);
  };
  signal.addEventListener("abort", stopAll, { once: true });
  if (signal.aborted) stopAll();
  const hasEnded = new AbortController();
  try {
    const ended = toldBy(shell, telling);
    const patience = waitFor(step, { progress, clock, signal: hasEnded.signal });
    const lines = await Promise.race([ended, patience]);
    signal.throwIfAborted();
    if (lines === undefined) {
      stopAll();
      throw notEnded(step, await takeOut(file));
    }
    const [status = endOf(shell), pid = ""] = lines[0]?.split(" ") ?? [];
    const said = await takeOut(file);
    if (status !== "0") {
      // It may have left something running all the same.
      stop();
      throw failedWith(step, said, status);
    }
    if (pid === "") return;
    LEFT.set(step, {
      pid: Number(pid),
      printed,
      said,
      get status() {
        return lines[1] === undefined ? undefined : Number(lines[1]);
      },
    });
    letBe(shell, telling);
  } finally {
    hasEnded.abort();
    signal.removeEventListener("abort", stopAll);
    await file.close();
  }
}

/** Returns when it has been waited for long enough; rejects once it has ended. */
async function waitFor(
  { name }: OwnCommand,
  { progress, clock, signal }: Required<Pick<StartOptions, "progress" | "clock" | "signal">>,
): Promise<undefined> {
  const { startCommandToldMs: toldMs, startCommandPatienceMs: mostMs } = LIMITS;
  await clock.sleep(toldMs, signal);
  progress.say(
    `command '${name}' of the configuration has not come to its end after ${formatSeconds(toldMs / 1_000)}: it has to, and leave the process running; it is waited for, and ended after ${plural(mostMs / 60_000, "minute")}`,
  );
  await clock.sleep(mostMs - toldMs, signal);
  return undefined;
}

/** What a process and those that it started have started, as far as this machine tells (proc(5), `children`). */
function descendantsOf(pid: number): number[] {
  let children: number[] = [];
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
    children = text.split(" ").filter(Boolean).map(Number);
  } catch {
    // It has just ended, or there is no /proc.
  }
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch {
    // It has ended by itself.
  }
}

function notEnded(step: OwnCommand, lines: readonly string[]): Failure {
  const most = plural(LIMITS.startCommandPatienceMs / 60_000, "minute");
  const said = lines.length === 0 ? "" : ` It said: ${lines.join("\n")}`;
  return new Failure(
    "program/failed",
    `command '${step.name}' of the configuration did not come to its end in ${most}, and was ended with what it ran`,
    {
      hint: `A start command has to leave the process running and end: name whoever keeps it running (systemctl start …), or put it into the background (… >>log/web.log 2>&1 &). Correct it and go on.${said}`,
    },
  );
}

/** The lines that come, which go on coming; returns with the first, or when none will come. */
async function toldBy(shell: ChildProcess, telling: Socket): Promise<readonly string[]> {
  const lines: string[] = [];
  let rest = "";
  const first = new Promise<void>((resolve) => {
    telling.on("data", (data: Buffer) => {
      const parts = (rest + data.toString("latin1")).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      if (lines.length > 0) resolve();
    });
  });
  await Promise.race([first, once(shell, "close")]);
  return lines;
}

/** Of a shell that told nothing: it was killed, or has become another program. */
function endOf({ exitCode, signalCode }: ChildProcess): string {
  return String(exitCode ?? signalCode);
}

function failedWith(step: OwnCommand, lines: readonly string[], status: string): Failure {
  const how = /^\d+$/.test(status) ? `ended with status ${status}` : `was ended by ${status}`;
  return new Failure("program/failed", `command '${step.name}' of the configuration ${how}`, {
    hint: lines.length === 0 ? "It printed nothing that explains it." : `It said: ${lines.join("\n")}`,
  });
}

/** It goes on waiting, and this process need not. */
function letBe(shell: ChildProcess, telling: Socket): void {
  process.off("exit", endWatching);
  process.on("exit", endWatching);
  watching.add(shell);
  shell.once("exit", () => watching.delete(shell));
  shell.unref();
  telling.unref();
}

/** The shells, and not what they have started. */
function endWatching(): void {
  for (const shell of watching) shell.kill("SIGKILL");
}

/** What the step has left running, where this process has run it. */
export function leftRunning(step: Step): Readonly<LeftRunning> | undefined {
  return LEFT.get(step);
}

/** Likewise, and sees where what it prints goes, as long as it runs: a command may redirect that. */
export async function lookAtLeftRunning(step: Step): Promise<Readonly<LeftRunning> | undefined> {
  const left = LEFT.get(step);
  if (left === undefined || left.status !== undefined) return left;
  try {
    const path = await readlink(`/proc/${left.pid}/fd/2`);
    if ((await stat(path)).isFile()) left.printed = path;
  } catch {
    // It ends at this moment, or is somebody else's, or there is no /proc.
  }
  return left;
}

/** The last lines of such a file, oldest first; none where it cannot be read. */
export async function lastLinesOf(path: string): Promise<string[]> {
  try {
    await using file = await open(path);
    return await lastLines(file, (await file.stat()).size);
  } catch {
    return [];
  }
}

async function lastLines(file: FileHandle, size: number): Promise<string[]> {
  const buffer = Buffer.alloc(Math.min(size, LIMITS.stderrKeptBytes));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, size - buffer.length);
  const lines = buffer.toString("utf8", 0, bytesRead).split("\n");
  return lines.filter((line) => line.trim() !== "").slice(-LIMITS.lastWordsLines);
}

/** Its last lines, and blanks instead of them: cut short it would lose what is being printed at this moment. */
async function takeOut(file: FileHandle): Promise<string[]> {
  const { size } = await file.stat();
  const lines = await lastLines(file, size);
  const blank = Buffer.alloc(Math.min(size, LIMITS.stderrKeptBytes), " ");
  for (let at = 0; at < size; at += blank.length) await file.write(blank, 0, Math.min(blank.length, size - at), at);
  if (size > 0) await file.write("\n", size - 1);
  return lines;
}
