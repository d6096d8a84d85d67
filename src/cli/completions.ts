/** Completions for bash, zsh and fish, made from the table of commands. */
import type { CommandRow, OptionRow, ValueKind } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";
import { pageNames } from "./help.ts";

export type Shell = "bash" | "zsh" | "fish";

export function formatCompletions(shell: Shell): string[] {
  return { bash: formatBash, zsh: formatZsh, fish: formatFish }[shell]();
}

const POINT_WORDS = ["latest", "proven"];

function words(kind: ValueKind | undefined): readonly string[] {
  if (kind === "point") return POINT_WORDS;
  return typeof kind === "object" ? kind : [];
}

function argumentWords(command: CommandRow): readonly string[] {
  return command.name === "help" ? pageNames() : command.args.flatMap(({ kind }) => words(kind));
}

/** Some place of the command takes a file of the disk. */
function takesFile({ args }: CommandRow): boolean {
  return args.some(({ kind }) => kind === "file");
}

function flags(options: readonly OptionRow[]): string[] {
  return options.flatMap(({ flag, short }) => (short === undefined ? [flag] : [short, flag]));
}

function bashValue({ kind }: OptionRow): string {
  if (kind === "file") return 'compgen -f -- "$word"';
  if (kind === "folder") return 'compgen -d -- "$word"';
  return `compgen -W '${words(kind).join(" ")}' -- "$word"`;
}

function formatBash(): string[] {
  const options = [...GLOBAL_OPTIONS, ...COMMANDS.flatMap((command) => command.options)];
  const withValue = [...new Map(options.filter(needsValue).map((option) => [option.flag, option])).values()];
  return [
    "# bash completion for chatkeep",
    "_chatkeep() {",
    "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb= choices= files= i",
    "  COMPREPLY=()",
    "  case $before in",
    ...withValue.map((option) => `    ${option.flag}) mapfile -t COMPREPLY < <(${bashValue(option)}); return ;;`),
    "  esac",
    "  for ((i = 1; i < COMP_CWORD; i++)); do",
    `    case \${COMP_WORDS[i]} in ${COMMANDS.map(({ name }) => name).join("|")}) verb=\${COMP_WORDS[i]}; break ;; esac`,
    "  done",
    "  case $verb in",
    `    "") choices='${COMMANDS.map(({ name }) => name).join(" ")} --version' ;;`,
    ...COMMANDS.map((command) => {
      const choices = [...argumentWords(command), ...flags(command.options)];
      return `    ${command.name}) choices='${choices.join(" ")}'${takesFile(command) ? " files=-f" : ""} ;;`;
    }),
    "  esac",
    `  mapfile -t COMPREPLY < <(compgen $files -W "$choices ${flags(GLOBAL_OPTIONS).join(" ")} --help" -- "$word")`,
    "}",
    "complete -F _chatkeep chatkeep",
  ];
}

function needsValue({ value, isOptional }: OptionRow): boolean {
  return value !== undefined && isOptional !== true;
}

/** For zsh's `_arguments` and `_describe`: quotes, brackets and colons have a meaning there. */
function zshText(text: string): string {
  return text.replaceAll("'", "'\\''").replaceAll(/[[\]:]/g, "\\$&");
}

function zshValue({ value, kind, isOptional }: OptionRow): string {
  if (value === undefined) return "";
  const action =
    kind === "file"
      ? "_files"
      : kind === "folder"
        ? "_files -/"
        : words(kind).length > 0
          ? `(${words(kind).join(" ")})`
          : "";
  return `${isOptional ? "::" : ":"}${zshText(value)}:${action}`;
}

function zshOption(option: OptionRow): string {
  const repeat = option.isRepeated ? "*" : "";
  const assigned = option.value === undefined ? "" : option.isOptional ? "=-" : "=";
  return `'${repeat}${option.flag}${assigned}[${zshText(option.help)}]${zshValue(option)}'`;
}

function formatZsh(): string[] {
  return [
    "#compdef chatkeep",
    "_chatkeep() {",
    "  local -a globals verbs",
    `  globals=(${["", ...GLOBAL_OPTIONS.map(zshOption), "'--help[explain]'"].join("\n    ")})`,
    `  verbs=(${["", ...COMMANDS.map(({ name, purpose }) => `'${name}:${zshText(purpose)}'`)].join("\n    ")})`,
    "  local state line",
    "  _arguments -C $globals '1:command:->verb' '*::argument:->rest'",
    "  case $state in",
    "    verb) _describe command verbs ;;",
    "    rest)",
    "      case $line[1] in",
    ...COMMANDS.map((command) => {
      const args = command.args.map(({ name, isOptional, isRepeated, kind }, index) => {
        const choices = index === 0 ? argumentWords(command) : [];
        const place = isRepeated ? "*:" : `${index + 1}${isOptional ? "::" : ":"}`;
        const action = choices.length > 0 ? `(${choices.join(" ")})` : kind === "file" ? "_files" : "";
        return `'${place}${name}:${action}'`;
      });
      return `        ${command.name}) _arguments $globals ${[...args, ...command.options.map(zshOption)].join(" ")} ;;`;
    }),
    "      esac ;;",
    "  esac",
    "}",
    'if [ "$funcstack[1]" = _chatkeep ]; then _chatkeep "$@"; else compdef _chatkeep chatkeep; fi',
  ];
}

function fishText(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function fishOption(option: OptionRow, condition: string): string {
  const value = !needsValue(option) ? "" : option.kind === "file" ? " -r" : " -x";
  const source =
    option.kind === "file"
      ? " -F"
      : option.kind === "folder"
        ? " -a '(__fish_complete_directories)'"
        : words(option.kind).length > 0
          ? ` -a '${words(option.kind).join(" ")}'`
          : "";
  const short = option.short === undefined ? "" : ` -s ${option.short.slice(1)}`;
  return `complete -c chatkeep${condition}${short} -l ${option.flag.slice(2)}${value}${source} -d ${fishText(option.help)}`;
}

/** The condition under which a command's own words are offered. */
function inside(name: string): string {
  return ` -n '__fish_seen_subcommand_from ${name}'`;
}

function formatFish(): string[] {
  return [
    "# fish completion for chatkeep",
    "complete -c chatkeep -f",
    ...GLOBAL_OPTIONS.map((option) => fishOption(option, "")),
    ...COMMANDS.flatMap((command) => [
      `complete -c chatkeep -n __fish_use_subcommand -a ${command.name} -d ${fishText(command.purpose)}`,
      ...(argumentWords(command).length === 0
        ? []
        : [`complete -c chatkeep${inside(command.name)} -a '${argumentWords(command).join(" ")}'`]),
      ...(takesFile(command) ? [`complete -c chatkeep${inside(command.name)} -F`] : []),
      ...command.options.map((option) => fishOption(option, inside(command.name))),
    ]),
  ];
}
