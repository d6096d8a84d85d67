/** From the words of a command line to the command that was meant, by the table of commands. */
import { Command, CommanderError, Option } from "commander";
import type { Globals, Rates } from "../app/surroundings.ts";
import { parseZonedInstant } from "../base/clock.ts";
import { bug, Failure } from "../base/errors.ts";
import type { CommandRow, Mode, OptionRow } from "./command.ts";
import { isTimeAgo } from "../point/moment.ts";
import { COMMANDS, findCommand } from "./commands.ts";
import { Given } from "./given.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";

export interface Call {
  command: CommandRow;
  given: Given;
  globals: Globals;
  rates: Rates;
  /** `--at-time`, in milliseconds since 1970. */
  atMs: number | undefined;
  mode: Mode;
}

/** The words before `--`: what could be an option. */
function optionWords(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf("--");
  return end < 0 ? argv : argv.slice(0, end);
}

/** True when the switch stands anywhere, even on a command line that makes no sense otherwise. */
export function hasSwitch(argv: readonly string[], ...flags: string[]): boolean {
  return optionWords(argv).some((word) => flags.includes(word));
}

/** The command whose help is asked for by `--help`; undefined for the overview. */
export function namedCommand(argv: readonly string[]): string | undefined {
  return optionWords(argv).find((word) => findCommand(word) !== undefined);
}

/** @throws Failure `usage/invalid`, with a "did you mean" where something is near. */
export function parseCall(argv: readonly string[]): Call {
  let call: Call | undefined;
  const program = newCommand("chatkeep");
  for (const option of GLOBAL_OPTIONS) program.addOption(toOption(option));
  for (const row of COMMANDS) {
    const command = newCommand(row.name);
    for (const { name, isOptional, isRepeated } of row.args) {
      const shown = isRepeated ? `${name}...` : name;
      command.argument(isOptional ? `[${shown}]` : `<${shown}>`);
    }
    for (const option of row.options) command.addOption(toOption(option));
    command.action((...values: unknown[]) => {
      const args = values.slice(0, row.args.length) as (string | string[] | undefined)[];
      call = toCall(row, new Given(args.flat().map(unguarded), mapValues(command.opts(), unguarded)), program.opts());
    });
    program.addCommand(command);
  }
  try {
    program.parse(guarded(argv), { from: "user" });
  } catch (error) {
    throw error instanceof CommanderError ? usageFailure(error, namedCommand(argv)) : error;
  }
  if (call === undefined) throw bug("the command line named no command");
  refuseEmpty(call, program.opts());
  checkChoices(call);
  return call;
}

/** Nobody types it. */
const GUARD = "\u0001";

/** `-5m` is a moment, and no option is called so. */
function guarded(argv: readonly string[]): string[] {
  const options = optionWords(argv).length;
  return argv.map((word, at) => (at < options && isTimeAgo(word) ? `${GUARD}${word}` : word));
}

function unguarded<T>(given: T): T | string {
  return typeof given === "string" && given.startsWith(GUARD) ? given.slice(GUARD.length) : given;
}

function mapValues(record: Record<string, unknown>, map: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}

function newCommand(name: string): Command {
  return new Command(name)
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .helpOption(false)
    .helpCommand(false);
}

function toOption(row: OptionRow): Option {
  const value = row.value === undefined ? "" : row.isOptional ? ` [${row.value}]` : ` <${row.value}>`;
  const short = row.short === undefined ? "" : `${row.short}, `;
  const option = new Option(`${short}${row.flag}${value}`);
  if (row.isRepeated) {
    option.argParser((given: string, before: string[] | undefined) => [...(before ?? []), given]);
  }
  return option;
}

function toCall(command: CommandRow, given: Given, globals: Record<string, unknown>): Call {
  const text = (name: string) => (typeof globals[name] === "string" ? globals[name] : undefined);
  return {
    command,
    given,
    globals: { config: text("config"), repository: text("repository") },
    rates: {
      upload: rateOf("--limit-upload", text("limitUpload")),
      download: rateOf("--limit-download", text("limitDownload")),
    },
    atMs: momentOf(given.text("atTime")),
    mode: { json: globals["json"] === true, quiet: globals["quiet"] === true, yes: globals["yes"] === true },
  };
}

/** Bytes a second, from KiB a second. */
function rateOf(flag: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const kib = /^\d{1,9}$/.test(given) ? Number(given) : 0;
  if (kib > 0) return kib * 1024;
  throw new Failure("usage/invalid", `${flag} cannot be '${given}'`, {
    hint: "It is a whole number of KiB a second, above 0.",
  });
}

function momentOf(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const ms = parseZonedInstant(given);
  if (ms !== undefined) return ms;
  throw new Failure("usage/invalid", `--at-time cannot be '${given}'`, {
    hint: "It is a time with its zone, as in 2026-11-23T16:58:50Z or 2026-11-23T17:58+01:00.",
  });
}

function usageFailure(error: CommanderError, command: string | undefined): Failure {
  const [first = "", suggestion] = error.message.replace(/^error: /, "").split("\n");
  const page = command === undefined ? "'chatkeep help' lists the commands." : `See 'chatkeep help ${command}'.`;
  const message = first.replace(/\.$/, "").replace(/\. Expected (\d+) arguments? but got \d+$/, ", it takes $1");
  return new Failure("usage/invalid", message, {
    hint: suggestion === undefined ? page : `${suggestion.replace(/^\(|\)$/g, "")} ${page}`,
  });
}

/** An empty word is a variable that was not set: as a path it would mean the folder that one happens to be in. */
function refuseEmpty({ command, given }: Call, globals: Readonly<Record<string, unknown>>): void {
  const names = [
    ...command.args.filter((_arg, index) => given.optionalArgument(index) === "").map(({ name }) => name),
    ...command.options.filter(({ flag }) => given.isEmpty(nameOf(flag))).map(({ flag }) => flag),
    ...GLOBAL_OPTIONS.filter(({ flag }) => globals[nameOf(flag)] === "").map(({ flag }) => flag),
  ];
  const [first] = names;
  if (first === undefined) return;
  throw new Failure("usage/invalid", `${first} is empty`, {
    hint: "Give it a value, or leave it out. Is a variable of the shell not set?",
  });
}

/** As commander calls it: `--to-folder` is `toFolder`. */
function nameOf(flag: string): string {
  return flag.slice(2).replaceAll(/-([a-z])/g, (_dash, letter: string) => letter.toUpperCase());
}

function checkChoices({ command, given }: Call): void {
  for (const [index, { name, kind }] of command.args.entries()) {
    const value = given.optionalArgument(index);
    if (value !== undefined) checkChoice(name, kind, [value]);
  }
  for (const { flag, kind } of command.options) {
    const value = given.text(nameOf(flag));
    checkChoice(flag, kind, value === undefined ? given.list(nameOf(flag)) : [value]);
  }
}

function checkChoice(name: string, kind: OptionRow["kind"], values: readonly string[]): void {
  if (typeof kind !== "object") return;
  const wrong = values.find((value) => !kind.includes(value));
  if (wrong === undefined) return;
  throw new Failure("usage/invalid", `${name} cannot be '${wrong}'`, {
    hint: `It can be ${kind.length < 2 ? "" : `${kind.slice(0, -1).join(", ")} or `}${kind.at(-1) ?? ""}.`,
  });
}
