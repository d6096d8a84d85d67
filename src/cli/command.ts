/** What a command of the command line is: the rows of the one table that parser, help and completions are made from. */
import type { Clock } from "../base/clock.ts";
import type { Globals, Surroundings } from "../app/surroundings.ts";
import type { ExitStatus } from "./exits.ts";
import type { Given } from "./given.ts";
import type { Look } from "./look.ts";
import type { Printer } from "./print.ts";
import type { WatchedProgress } from "./progress.ts";
import type { Redactor } from "./redact.ts";

/** What a value is, so that a shell can complete it. */
export type ValueKind = "file" | "folder" | "point" | "text" | readonly string[];

export interface OptionRow {
  /** `--read-data`. */
  flag: string;
  short?: string;
  /** The value's name, `FILE`; none for a switch. */
  value?: string;
  /** The value may be left out. */
  isOptional?: boolean;
  /** May be given several times. */
  isRepeated?: boolean;
  kind?: ValueKind;
  help: string;
}

export interface ArgumentRow {
  /** `POINT`. */
  name: string;
  isOptional?: boolean;
  /** As many as are given; the last argument only. */
  isRepeated?: boolean;
  kind: ValueKind;
}

export interface CommandRow {
  name: string;
  group: "set up" | "back up" | "look" | "prove" | "bring back" | "keep tidy" | "try it" | "help";
  args: readonly ArgumentRow[];
  options: readonly OptionRow[];
  /** What it does: one phrase that completes "chatkeep backup: …". */
  purpose: string;
  /** Paragraphs. */
  description: readonly string[];
  examples: readonly (readonly [comment: string, command: string])[];
  /** The statuses that this command can end with, beyond 0, 1, 2, 70 and 130; a text where the general one is not enough. */
  exits: Partial<Record<ExitStatus, string>>;
  /** What holds when it is cancelled: ends the sentence "stopping; …". */
  kept: string;
  load: () => Promise<Verb>;
}

/** Everything that a command gets. */
export interface Invocation {
  readonly command: string;
  readonly given: Given;
  readonly globals: Globals;
  readonly mode: Mode;
  readonly surroundings: Surroundings;
  readonly clock: Clock;
  readonly printer: Printer;
  readonly redactor: Redactor;
  readonly look: Look;
  readonly progress: WatchedProgress;
}

export interface Mode {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly yes: boolean;
}

/** Does the work, prints the answer and gives the exit status; throws a Failure when it cannot. */
export type Verb = (invocation: Invocation) => Promise<ExitStatus>;
