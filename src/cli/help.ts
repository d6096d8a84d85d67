/** The pages of the help, made from the table of commands: at most 80 columns, one screen each. */
import { readLicences } from "../app/program.ts";
import { REPOSITORY_EXITS } from "./commands/shared.ts";
import type { ArgumentRow, CommandRow, OptionRow } from "./command.ts";
import { COMMANDS, findCommand } from "./commands.ts";
import { EXITS } from "./exits.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";
import { padEnd, padStart, wrap } from "./look.ts";
import { TOPICS } from "./topics.ts";

const WIDTH = 80;
const GROUPS: readonly CommandRow["group"][] = [
  "set up",
  "back up",
  "look",
  "prove",
  "bring back",
  "keep tidy",
  "try it",
  "help",
];

/** `name  text`, the text wrapped below itself. */
function entry(name: string, text: string, column: number): string[] {
  const head = padEnd(`  ${name}`, column);
  const indent = " ".repeat(column);
  const [first = "", ...rest] = wrap(text, WIDTH, indent);
  return head.length > column ? [head, first, ...rest] : [head + first.slice(column), ...rest];
}

function argumentText({ name, isOptional, isRepeated }: ArgumentRow): string {
  return `${isOptional ? `[${name}]` : name}${isRepeated ? "…" : ""}`;
}

function optionText(option: OptionRow): string {
  const value = option.value === undefined ? "" : option.isOptional ? `[=${option.value}]` : ` ${option.value}`;
  return `${option.short === undefined ? "" : `${option.short}, `}${option.flag}${value}`;
}

function optionLines(options: readonly OptionRow[]): string[] {
  const column = Math.min(24, Math.max(...options.map((option) => optionText(option).length)) + 4);
  return options.flatMap((option) => entry(optionText(option), option.help, column));
}

function exitLines(exits: readonly (readonly [number, string])[]): string[] {
  return exits.flatMap(([status, text]) => entry(padStart(String(status), 3), text, 7));
}

export function formatOverview(): string[] {
  const groups = GROUPS.flatMap((group) => [
    "",
    group,
    ...COMMANDS.filter((command) => command.group === group).flatMap((command) =>
      entry(command.name, command.purpose, 14),
    ),
  ]);
  return [
    "Chatkeep keeps a self-hosted Chatwoot recoverable: database, uploaded files,",
    "configuration and code in one encrypted restore point that is proven to restore.",
    "",
    "usage: chatkeep COMMAND [OPTIONS]",
    ...groups,
    "",
    "options that every command takes",
    ...optionLines(GLOBAL_OPTIONS),
    "",
    "'chatkeep help COMMAND' explains one. New here? Try 'chatkeep demo'.",
  ];
}

/** A page is one screen: of a command with so many options, what every other page spells out is said in short. */
const MANY_OPTIONS = 14;

function isLong({ options }: CommandRow): boolean {
  return options.length > MANY_OPTIONS;
}

function usageLine(command: CommandRow): string[] {
  if (isLong(command)) return [`usage: chatkeep ${command.name} ${command.args.map(argumentText).join(" ")} [OPTIONS]`];
  const words = command.options.map((option) => {
    const text = optionText({ ...option, help: "" });
    return `[${text}]${option.isRepeated ? "…" : ""}`;
  });
  const head = `usage: chatkeep ${command.name}`;
  const indent = " ".repeat(head.length + 1);
  const lines: string[] = [];
  let line = head;
  for (const word of [...command.args.map(argumentText), ...words]) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = indent + word;
    } else line += ` ${word}`;
  }
  return [...lines, line];
}

function formatCommand(command: CommandRow): string[] {
  const page = [`chatkeep ${command.name}: ${command.purpose}`].flatMap((line) => wrap(line, WIDTH));
  page.push("", ...usageLine(command));
  for (const paragraph of command.description) page.push("", ...wrap(paragraph, WIDTH));
  if (command.options.length > 0) page.push("", "options", ...optionLines(command.options));
  page.push("", "examples");
  for (const [comment, text] of command.examples) {
    if (comment !== "") page.push(`  # ${comment}`);
    page.push(...continued(text));
  }
  const exits = { 0: "", 1: "", 2: "", ...command.exits };
  if (Object.keys(command.exits).length > 0) {
    const own = exitNumbers(exits).filter((status) => !isLong(command) || !(status in REPOSITORY_EXITS));
    page.push("", "exit statuses");
    page.push(...exitLines(own.map((status) => [status, exits[status] || EXITS[status]])));
    if (isLong(command)) page.push(...entry(" 10…", "the repository, or its place: see 'chatkeep help exits'", 7));
  }
  if (command.args.some(({ kind }) => kind === "point")) {
    page.push("", "POINT is a name, 'latest', 'proven' or a time: see 'chatkeep help points'.");
  }
  return page;
}

/** A long command goes on in a second line, as one would type it. */
function continued(text: string): string[] {
  if (text.length + 2 <= WIDTH) return [`  ${text}`];
  const lines = wrap(text, WIDTH - 2, "    ");
  return lines.map((line, index) => {
    const shown = index === 0 ? `  ${line.trimStart()}` : line;
    return index < lines.length - 1 ? `${shown} \\` : shown;
  });
}

type Exits = { [status in keyof typeof EXITS]?: string };

function exitNumbers(exits: Exits): (keyof typeof EXITS)[] {
  return Object.keys(exits).map((text) => Number(text) as keyof typeof EXITS);
}

function formatExits(): string[] {
  return [
    "exit statuses of every command",
    "",
    ...exitLines(exitNumbers(EXITS).map((status) => [status, EXITS[status]])),
    "",
    ...wrap(
      "With --json the last line on stdout says the same: a summary, or an error with code, message and hint.",
      WIDTH,
    ),
  ];
}

/** The page of that name, or undefined. */
export function formatPage(topic: string): string[] | undefined {
  const command = findCommand(topic);
  if (command !== undefined) return formatCommand(command);
  if (topic === "exits" || topic === "exit") return formatExits();
  if (topic === "licences" || topic === "licenses") return ["licences", "", ...readLicences()];
  const found = TOPICS.find(({ name }) => name === topic || name === `${topic}s`);
  return found === undefined ? undefined : [found.title, "", ...found.lines];
}

export function pageNames(): string[] {
  return [...COMMANDS.map(({ name }) => name), ...TOPICS.map(({ name }) => name), "exits", "licences"];
}
