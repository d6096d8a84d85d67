/**
 * Where a command line becomes a run, and a failure becomes text and an exit status: nowhere else. Importing this file
 * runs it; `bin/chatkeep.js` does.
 */
import { fstatSync } from "node:fs";
import process from "node:process";
import { PROGRAM } from "../app/program.ts";
import { systemClock } from "../base/clock.ts";
import { ERRORS, failureOf, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { CommandRow, Invocation } from "./command.ts";
import type { ExitStatus } from "./exits.ts";
import { formatOverview } from "./help.ts";
import { colouredLook, plainLook, hintWidth, wrap, type Look } from "./look.ts";
import { hasSwitch, namedCommand, parseCall, type Call } from "./parse.ts";
import { createPerson } from "./person.ts";
import { Printer } from "./print.ts";
import {
  journalProgress,
  jsonProgress,
  keepTicking,
  lineProgress,
  silentProgress,
  terminalProgress,
  type WatchedProgress,
} from "./progress.ts";
import { passwordsIn, Redactor, secretsOfEnvironment } from "./redact.ts";
import { createInterrupter } from "./signals.ts";
import { pageOf } from "./verbs/help.ts";

const { stdout, stderr, stdin, env } = process;
const argv = process.argv.slice(2);
const controller = new AbortController();
const redactor = new Redactor();
redactor.hide([...secretsOfEnvironment(env), ...passwordsIn(argv)]);
const printer = new Printer({ stdout, stderr, redactor });
const wantsJson = hasSwitch(argv, "--json");
let running: CommandRow | undefined;
/** What lets go of the places that were opened. */
const ends: (() => Promise<void>)[] = [];
let isOver = false;
/** Questions come before the first change. */
let isAsking = false;

function onAsking(now: boolean, progress: WatchedProgress): void {
  isAsking = now;
  if (now) progress.end();
}

/** Some terminals do not know their width and say 0. */
function columnsOf({ columns }: { columns?: number }): number {
  return columns === undefined || columns < 1 ? 80 : columns;
}

function lookAt(stream: { isTTY?: boolean; columns?: number }): Look {
  const isPlain =
    stream.isTTY !== true || hasSwitch(argv, "--no-color") || (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb";
  const width = stream.isTTY === true ? columnsOf(stream) : undefined;
  return isPlain ? plainLook(systemClock.now(), width) : colouredLook(systemClock.now(), width);
}

/** Tells what went wrong, on stderr for a person and with `--json` on stdout for a program; gives the exit status. */
function report(error: unknown): number {
  // Children get Ctrl-C from the terminal too and fail for it: whatever came of it, the run was cancelled.
  const failure = failureOf(controller.signal.aborted ? controller.signal.reason : error);
  const { exit } = ERRORS[failure.code];
  const look = lookAt(stderr);
  const message = failure.message.split("\n")[0] ?? "";
  printer.live("");
  printer.note(`${look.paint("red", "error:")} ${message}`);
  if (failure.hint !== undefined) {
    printer.note(
      wrap(
        `${look.paint("cyan", "hint:")} ${redactor.redact(failure.hint).replaceAll(/\s*\n\s*/g, " / ")}`,
        hintWidth(look),
      ),
    );
  }
  if (env["CHATKEEP_DEBUG"] === "1") printer.note(traceOf(error));
  if (wantsJson) {
    printer.json({ type: "error", code: failure.code, message, hint: failure.hint ?? null, exit });
  }
  return exit;
}

function traceOf(error: unknown): string {
  const lines: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) lines.push(at.stack ?? at.message);
  return lines.join("\ncaused by: ");
}

/** systemd.exec(5): a service's JOURNAL_STREAM is device and inode of the journal's end; a terminal may have inherited one. */
function isJournal({ JOURNAL_STREAM: stream }: NodeJS.ProcessEnv): boolean {
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(stdout.fd);
  return stream === `${dev}:${ino}`;
}

function openProgress({ command, mode }: Call): WatchedProgress {
  if (mode.json) return isJournal(env) ? journalProgress(printer, systemClock) : jsonProgress(printer, systemClock);
  // The demo tells its stages itself.
  if (mode.quiet || (command.name === "demo" && !stderr.isTTY)) return silentProgress;
  return stderr.isTTY ? terminalProgress(printer, systemClock, () => columnsOf(stderr)) : lineProgress(printer);
}

function invocationOf(call: Call): Invocation {
  const progress = openProgress(call);
  const { signal } = controller;
  const isAttended = stdin.isTTY && stderr.isTTY && !call.mode.yes;
  void keepTicking(progress, systemClock, signal);
  return {
    command: call.command.name,
    given: call.given,
    globals: call.globals,
    mode: call.mode,
    clock: systemClock,
    printer,
    redactor,
    progress,
    look: lookAt(stdout),
    surroundings: {
      signal,
      progress,
      env,
      cwd: process.cwd(),
      clock: systemClock,
      rates: call.rates,
      atMs: call.atMs,
      isCached: !hasSwitch(argv, "--no-cache"),
      atEnd: (letGo) => ends.push(letGo),
      hide: (secrets) => redactor.hide(secrets),
      redact: (value) => redactor.redactDeep(value),
      person: isAttended
        ? createPerson({ input: stdin, output: stderr, onAsking: (now) => onAsking(now, progress), signal })
        : undefined,
    },
  };
}

async function run(): Promise<number> {
  if (hasSwitch(argv, "--version", "-V")) {
    printer.out(PROGRAM);
    return 0;
  }
  if (hasSwitch(argv, "--help", "-h")) {
    const topic = namedCommand(argv);
    printer.out(topic === undefined ? formatOverview() : pageOf(topic));
    return 0;
  }
  if (argv.length === 0) {
    // A cron line that lost its command must not look like a backup that went well.
    printer.note(formatOverview());
    return 2;
  }
  const call = parseCall(argv);
  running = call.command;
  const verb = await call.command.load();
  const status: ExitStatus = await verb(invocationOf(call));
  return status;
}

const interrupt = createInterrupter({
  clock: systemClock,
  kept: () => (isAsking || running === undefined ? "nothing was changed" : running.kept),
  abort: (reason) => controller.abort(reason),
  tell: (line) => printer.note(line),
  exitNow: (status) => process.exit(status),
});
process.on("SIGINT", interrupt);
process.on("SIGTERM", interrupt);

process.on("uncaughtException", (error: unknown) => {
  // A loose end of the run that is being stopped; the run itself says how it ended.
  // What letting go tears says nothing about the run.
  if (isOver) return;
  if (controller.signal.aborted && (error === controller.signal.reason || isFailure(error, "run/cancelled"))) return;
  const status = report(error);
  void printer.flush().then(() => process.exit(status));
});

/** Connections and programs that we started end by themselves rather than by our death, where that takes no time. */
async function letGo(): Promise<void> {
  isOver = true;
  const late = new AbortController();
  const all = Promise.all(ends.map(async (end) => await end()));
  await Promise.race([all, systemClock.sleep(LIMITS.letGoMs, late.signal)]).catch(() => {});
  late.abort();
}

async function main(): Promise<void> {
  let status: number;
  try {
    status = await run();
  } catch (error) {
    status = report(error);
  }
  await printer.flush();
  if (status === 0 && printer.failure !== undefined) status = report(printer.failure);
  await printer.flush();
  await letGo();
  process.exit(status);
}

void main();
