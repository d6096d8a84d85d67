/** The commands that bring an installation back, and take that back again. */
import type { CommandRow } from "../command.ts";
import { AT_TIME, PARTS, POINT, REPOSITORY_EXITS } from "./shared.ts";

const RESTORE: CommandRow = {
  name: "restore",
  group: "bring back",
  args: [{ ...POINT, isOptional: true }],
  options: [
    { flag: "--to", value: "DIR", kind: "folder", help: "new or empty folder for files, configuration, code" },
    { flag: "--database-url", value: "URL", help: "new or empty database for the rows" },
    {
      flag: "--only",
      value: "PARTS",
      isRepeated: true,
      kind: PARTS,
      help: "of database, storage, config, code; parted by commas",
    },
    { flag: "--with-roles", help: "make lacking roles, give owners and grants back" },
    { flag: "--table", value: "NAME", isRepeated: true, help: "rows of this table alone, in a database of its own" },
    { flag: "--schema-only", help: "no rows; in a database of its own" },
    { flag: "--migrate", help: "run Chatwoot's migrations: its code is newer" },
    {
      flag: "--outbound",
      value: "WHAT",
      kind: ["ask", "defuse", "allow", "hold"],
      help: "messages that would go out: ask, defuse, allow, hold",
    },
    { flag: "--storage", value: "SERVICE", help: "put all uploaded files into that service of this place" },
    { flag: "--missing", help: "with '--only storage': put back only what is not there" },
    {
      flag: "--onto",
      value: "KIND",
      kind: ["linux-vm", "compose", "swarm", "kubernetes"],
      help: "a fresh Chatwoot of that kind; no configuration needed",
    },
    { flag: "--as-clone", help: "a copy that can send nothing to anybody" },
    { flag: "--frontend-url", value: "URL", help: "the address of that copy" },
    { flag: "--anonymise", help: "with stand-ins for what its people said and are" },
    { flag: "--replace", value: "NAME", help: "with --yes: the other place that is replaced" },
    { flag: "--run", help: "leave a read-only server of it running; alone: list them" },
    { flag: "--port", value: "NUMBER", help: "of 127.0.0.1, for --run; else a free one" },
    { flag: "--stop", value: "NAME", isOptional: true, help: "end such a server, and remove it" },
    { flag: "--plan", help: "show what would be done, and stop" },
    { flag: "--resume", help: "go on with the restore that is not finished" },
    { flag: "--discard-previous", help: "drop all that restores put aside, or the named one" },
    AT_TIME,
  ],
  purpose: "bring the installation, or parts of it, back",
  description: [
    "Without --to and --database-url it brings all back into Chatwoot's own place and can be undone: see 'chatkeep help restoring'. With them it fills a new folder and a new database. It shows the plan first, and asks, unless --yes is said.",
    "'--only database' alone swaps the database: loaded beside Chatwoot's own, compared, swapped. It takes its owner, and CREATEDB. Give passwords in $PGPASSWORD or .pgpass: anybody can read a command line.",
  ],
  examples: [["look first, then do it without --plan", "chatkeep restore latest --plan"]],
  exits: { 1: "failed, or something stands in the way", 3: "", ...REPOSITORY_EXITS },
  kept: "the restore point is untouched; a restore in place is gone on with by --resume or undone by rollback, a half-filled new database or folder can be removed",
  load: async () => (await import("../verbs/restore.ts")).restore,
};

const ROLLBACK: CommandRow = {
  name: "rollback",
  group: "bring back",
  args: [{ name: "DATABASE", isOptional: true, kind: "text" }],
  options: [{ flag: "--plan", help: "show what would be done, and stop" }],
  purpose: "undo a restore, or put back the database that it swapped out",
  description: [
    "Undoes the last restore into Chatwoot's own place, finished or not, step by step, the last first: what was there before is there again, and what came since is kept. Killed, it goes on when it is called again.",
    "Where the last restore was one of the database alone, or DATABASE is named, it swaps the database that Chatwoot uses with the one that was put aside: only names change. What is live now is kept in its turn, so a rollback can be undone by naming what it put aside; said twice, it goes no further back by itself. Files, configuration and code are not touched then.",
  ],
  examples: [
    ["look first", "chatkeep rollback --plan"],
    ["then do it", "chatkeep rollback"],
  ],
  exits: { 1: "failed, or there is nothing to put back", 3: "" },
  kept: "either the one or the other database is in place, and whole; 'chatkeep rollback' goes on",
  load: async () => (await import("../verbs/rollback.ts")).rollback,
};

export const BRING_BACK: readonly CommandRow[] = [RESTORE, ROLLBACK];
