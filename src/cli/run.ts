/**
 * Where a command line becomes a run, and a failure becomes text and an exit status: nowhere else. Knows no process:
 * `main.ts` gives it the one that it is in.
 */
import type { Writable } from "node:stream";
import { PROGRAM } from "../app/program.ts";
import { systemClock } from "../base/clock.ts";
import { ERRORS, type Failure, failureOf, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { secretsInCommand } from "../base/redact.ts";
import type { CommandRow, Invocation } from "./command.ts";
import type { ExitStatus } from "./exits.ts";
import { formatFindings } from "./findings.ts";
import { formatOverview } from "./help.ts";
import { colouredLook, hintWidth, type Look, plainLook, wrap } from "./look.ts";
import { type Call, hasSwitch, namedCommand, parseCall } from "./parse.ts";
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
import { Redactor, secretsOfEnvironment } from "./redact.ts";
import type { RawInput } from "./secret-line.ts";
import { pageOf } from "./verbs/help.ts";

/** What is needed of `process.stdout` and `process.stderr`. */
export type Output = Writable & { isTTY?: boolean; columns?: number };

export interface CommandLine {
  /** Without the program. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: RawInput & { isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  /** What is printed is kept in a service's journal. */
  readonly isJournal: boolean;
}

/** Some terminals do not know their width and say 0. */
function columnsOf({ columns }: { columns?: number }): number {
  return columns === undefined || columns < 1 ? 80 : columns;
}

/** One run of the command line. */
export class Run {
  readonly #line: CommandLine;
  readonly #controller = new AbortController();
  readonly #over = new AbortController();
  readonly #redactor = new Redactor();
  readonly #printer: Printer;
  /** What lets go of the places that were opened. */
  readonly #ends: (() => Promise<void>)[] = [];
  #running: CommandRow | undefined;
  /** Who has the signals while the run does not. */
  #taker: ((signal: NodeJS.Signals) => void) | undefined;
  /** Questions come before the first change. */
  #isAsking = false;

  constructor(line: CommandLine) {
    const { argv, env, stdout, stderr } = line;
    this.#line = line;
    this.#redactor.hide([...secretsOfEnvironment(env), ...secretsInCommand(argv)]);
    this.#printer = new Printer({ stdout, stderr, redactor: this.#redactor });
  }

  /** What holds when the run is stopped now; ends a sentence. */
  get kept(): string {
    return this.#isAsking || this.#running === undefined ? "nothing was changed" : this.#running.kept;
  }

  /** Gives a signal to who has taken them; false where nobody has, and the run is to stop. */
  handOver(signal: NodeJS.Signals): boolean {
    this.#taker?.(signal);
    return this.#taker !== undefined;
  }

  #takeSignals(taker: (signal: NodeJS.Signals) => void): () => void {
    this.#taker = taker;
    return () => {
      this.#taker = undefined;
    };
  }

  /** Stops it cleanly. */
  abort(reason: Failure): void {
    this.#controller.abort(reason);
  }

  /** A line for the person. */
  tell(line: string): void {
    this.#printer.note(line);
  }

  /** Tells of an error that nobody waits for; undefined where it is a loose end of a run that is over or being stopped. */
  async reportLoose(error: unknown): Promise<number | undefined> {
    // What letting go tears says nothing about the run, and one that is being stopped says itself how it ended.
    if (this.#over.signal.aborted) return undefined;
    const { aborted, reason } = this.#controller.signal;
    if (aborted && (error === reason || isFailure(error, "run/cancelled"))) return undefined;
    const status = this.#report(error);
    await this.#printer.flush();
    return status;
  }

  /** Does what the command line says, lets go of everything, and gives the exit status. Never rejects. */
  async toItsEnd(): Promise<number> {
    let status: number;
    try {
      status = await this.#run();
    } catch (error) {
      status = this.#report(error);
    }
    await this.#printer.flush();
    if (status === 0 && this.#printer.failure !== undefined) status = this.#report(this.#printer.failure);
    await this.#printer.flush();
    await this.#letGo();
    return status;
  }

  async #run(): Promise<ExitStatus> {
    const { argv } = this.#line;
    if (hasSwitch(argv, "--version", "-V")) {
      this.#printer.out(PROGRAM);
      return 0;
    }
    if (hasSwitch(argv, "--help", "-h")) {
      const topic = namedCommand(argv);
      this.#printer.out(topic === undefined ? formatOverview() : pageOf(topic));
      return 0;
    }
    if (argv.length === 0) {
      // A cron line that lost its command must not look like a backup that went well.
      this.#printer.note(formatOverview());
      return 2;
    }
    const call = parseCall(argv);
    this.#running = call.command;
    const verb = await call.command.load();
    return await verb(this.#invocationOf(call));
  }

  #lookAt(stream: Output): Look {
    const { argv, env } = this.#line;
    const isPlain =
      stream.isTTY !== true ||
      hasSwitch(argv, "--no-color") ||
      (env["NO_COLOR"] ?? "") !== "" ||
      env["TERM"] === "dumb";
    const width = stream.isTTY === true ? columnsOf(stream) : undefined;
    return isPlain ? plainLook(systemClock.now(), width) : colouredLook(systemClock.now(), width);
  }

  /** Tells what went wrong, on stderr for a person and with `--json` on stdout for a program; gives the exit status. */
  #report(error: unknown): number {
    const { argv, env, stderr } = this.#line;
    const { signal } = this.#controller;
    // Children get Ctrl-C from the terminal too and fail for it: whatever came of it, the run was cancelled.
    const failure = failureOf(signal.aborted ? signal.reason : error);
    const { exit } = ERRORS[failure.code];
    const look = this.#lookAt(stderr);
    const message = failure.message.split("\n")[0] ?? "";
    this.#printer.live("");
    this.#printer.note(`${look.paint("red", "error:")} ${message}`);
    if (failure.hint !== undefined) {
      const hint = this.#redactor.redact(failure.hint).replaceAll(/\s*\n\s*/g, " / ");
      this.#printer.note(wrap(`${look.paint("cyan", "hint:")} ${hint}`, hintWidth(look)));
    }
    if (env["CHATKEEP_DEBUG"] === "1") this.#printer.note(traceOf(error));
    if (hasSwitch(argv, "--json")) {
      this.#printer.json({ type: "error", code: failure.code, message, hint: failure.hint ?? null, exit });
    }
    return exit;
  }

  #openProgress({ command, mode }: Call): WatchedProgress {
    const { stderr, isJournal } = this.#line;
    const isTerminal = stderr.isTTY === true;
    if (mode.json)
      return isJournal ? journalProgress(this.#printer, systemClock) : jsonProgress(this.#printer, systemClock);
    // The demo tells its stages itself.
    if (mode.quiet || (command.name === "demo" && !isTerminal)) return silentProgress;
    return isTerminal
      ? terminalProgress(this.#printer, systemClock, () => columnsOf(stderr))
      : lineProgress(this.#printer);
  }

  #warn(what: Finding | string): void {
    const isLine = typeof what === "string";
    this.#printer.note(
      isLine ? what : formatFindings([this.#redactor.redactDeep(what)], this.#lookAt(this.#line.stderr)),
    );
  }

  #onAsking(now: boolean, progress: WatchedProgress): void {
    this.#isAsking = now;
    if (now) progress.end();
  }

  #invocationOf(call: Call): Invocation {
    const { argv, env, cwd, stdin, stdout, stderr } = this.#line;
    const progress = this.#openProgress(call);
    const { signal } = this.#controller;
    const isAttended = stdin.isTTY === true && stderr.isTTY === true && !call.mode.yes;
    void keepTicking(progress, systemClock, AbortSignal.any([signal, this.#over.signal]));
    return {
      command: call.command.name,
      given: call.given,
      globals: call.globals,
      mode: call.mode,
      clock: systemClock,
      printer: this.#printer,
      redactor: this.#redactor,
      progress,
      look: this.#lookAt(stdout),
      surroundings: {
        signal,
        progress,
        env,
        cwd,
        clock: systemClock,
        rates: call.rates,
        atMs: call.atMs,
        warn: (what) => this.#warn(what),
        takeSignals: (taker) => this.#takeSignals(taker),
        isCached: !hasSwitch(argv, "--no-cache"),
        atEnd: (letGo) => this.#ends.push(letGo),
        hide: (secrets) => this.#redactor.hide(secrets),
        redact: (value) => this.#redactor.redactDeep(value),
        person: isAttended
          ? createPerson({ input: stdin, output: stderr, onAsking: (now) => this.#onAsking(now, progress), signal })
          : undefined,
      },
    };
  }

  /** Connections and programs that we started end by themselves rather than by our death, where that takes no time. */
  async #letGo(): Promise<void> {
    this.#over.abort();
    const late = new AbortController();
    const all = Promise.all(this.#ends.map(async (end) => await end()));
    await Promise.race([all, systemClock.sleep(LIMITS.letGoMs, late.signal)]).catch(() => {});
    late.abort();
  }
}

function traceOf(error: unknown): string {
  const lines: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) lines.push(at.stack ?? at.message);
  return lines.join("\ncaused by: ");
}
