import type { CommandRow } from "../command.ts";
import { AT_TIME, NOTHING_WRITTEN, READING_EXITS } from "./shared.ts";

export const DIFF_ROW: CommandRow = {
  name: "diff",
  group: "look",
  args: [
    { name: "A", kind: "point" },
    { name: "B", kind: "point" },
  ],
  options: [{ flag: "--table", value: "NAME", help: "only this table, with the ids of the rows that differ" }, AT_TIME],
  purpose: "show what changed between two restore points",
  description: [
    "Conversations, messages, contacts, inboxes and agents of each account that were added, changed or removed, with examples; then rows by table, uploaded files, configuration and code, and which secrets changed. Names and numbers only: no text of a message and no value of a setting is shown. A conversation or an agent that was only looked at, or who only came or went, is not counted as changed; the table is.",
    "A and B are points of one installation; the older one comes first whichever way they are given. Only what differs is read, from the repository alone: no database and no server is needed. Sequences are not compared.",
  ],
  examples: [
    ["since the last proven point", "chatkeep diff proven latest"],
    ["between two days", "chatkeep diff 2026-11-22T03:00Z 2026-11-23T03:00Z"],
    ["which conversations, by id", "chatkeep diff 4f3a91c2 latest --table conversations"],
  ],
  exits: { ...READING_EXITS, 13: "something is damaged and was not compared; the rest was" },
  kept: NOTHING_WRITTEN,
  load: async () => (await import("../verbs/diff.ts")).diff,
};
