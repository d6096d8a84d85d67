/** Options that every command takes, before or after its name. */
import type { OptionRow } from "./command.ts";

export const GLOBAL_OPTIONS: readonly OptionRow[] = [
  {
    flag: "--config",
    value: "FILE",
    kind: "file",
    help: "the configuration file ('chatkeep help config')",
  },
  {
    flag: "--repository",
    value: "WHERE",
    kind: "folder",
    help: "the name of a configured repository, or any location",
  },
  { flag: "--limit-upload", value: "KIB", help: "to each remote repository at most so many KiB a second" },
  {
    flag: "--limit-download",
    value: "KIB",
    help: "from each remote place at most so many KiB a second",
  },
  { flag: "--no-cache", help: "keep nothing of a remote repository on this machine" },
  { flag: "--json", help: "one JSON object a line; the last is the summary" },
  { flag: "--quiet", short: "-q", help: "only answers, findings and errors" },
  { flag: "--no-color", help: "no colours (or set $NO_COLOR)" },
  { flag: "--yes", short: "-y", help: "ask nothing, go ahead" },
];
