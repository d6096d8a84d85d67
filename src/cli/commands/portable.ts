/** The commands that make a file of a restore point, and take it back. */
import { DUMP_FORMATS } from "../../job/summaries.ts";
import type { CommandRow } from "../command.ts";
import { AT_TIME, POINT, READING_EXITS, REPOSITORY_EXITS } from "./shared.ts";

export const EXPORT_ROW: CommandRow = {
  name: "export",
  group: "back up",
  args: [POINT, { name: "FILE", kind: "file" }],
  options: [
    {
      flag: "--password-file",
      value: "FILE",
      kind: "file",
      help: "the password of the exported file; if this is not there, one is made and written to it",
    },
    {
      flag: "--only",
      value: "PART",
      isRepeated: true,
      kind: ["database"],
      help: "'database': its rows and schema alone, not encrypted, for pg_restore or psql",
    },
    { flag: "--format", value: "FORMAT", kind: DUMP_FORMATS, help: "of that: custom, plain (SQL) or directory" },
    AT_TIME,
  ],
  purpose: "write a restore point, or its database, into one file",
  description: [
    "The file holds everything in the point, with keys and a password of its own: whoever gets it can open nothing else. It is a tar of a small restic repository, so 'tar x' and stock restic open it too. It is read back to the last chunk before it gets its name, and nothing that exists is written over. Without --password-file the password is asked for twice.",
    "While it works, FILE.part lies beside the file and takes as much again. Stopped, it stays, and the same command goes on with it. Proofs and holds do not go along.",
    "With '--only database --format …' FILE is what pg_dump would have written then: 'custom' and 'directory' for pg_restore of the server's version or newer, 'plain' for psql. Whoever can read it has every conversation.",
  ],
  examples: [
    ["", "chatkeep export latest acme.tar --password-file acme.password"],
    ["for pg_restore", "chatkeep export latest chatwoot.dump --only database --format custom"],
    ["what is in it; its password is in $CHATKEEP_PASSWORD_FILE", "chatkeep list --repository export:acme.tar"],
  ],
  exits: {
    ...READING_EXITS,
    3: "",
    11: "another run exports to the same file",
    20: "the repository's place cannot be reached, or the file's is full",
  },
  kept: "FILE.part keeps what was read, and the same command goes on with it",
  load: async () => (await import("../verbs/export.ts")).exportVerb,
};

export const IMPORT_ROW: CommandRow = {
  name: "import",
  group: "bring back",
  args: [{ name: "FILE", kind: "file" }],
  options: [
    {
      flag: "--to",
      value: "NAME|LOCATION",
      kind: "folder",
      help: "the repository that gets it (default: the first)",
    },
    { flag: "--password-file", value: "FILE", kind: "file", help: "the password of the exported file" },
  ],
  purpose: "take an exported file into a repository",
  description: [
    "Copies the restore points of the file into the repository, without unpacking it; each chunk is verified, and then everything is looked for in the repository. Points keep their names, so importing twice adds nothing. A tar of any restic repository (version 2) will do. Without --password-file the file's password is taken from $CHATKEEP_PASSWORD or $CHATKEEP_PASSWORD_FILE, or asked for.",
    "To restore straight from the file, on a machine without a repository: --repository export:FILE with 'list', 'show', 'ls', 'dump', 'verify' and 'restore'.",
  ],
  examples: [
    ["", "chatkeep import acme.tar --password-file acme.password"],
    [
      "without a repository; the file's password is in $CHATKEEP_PASSWORD_FILE",
      "chatkeep restore latest --repository export:acme.tar --to /srv/restored",
    ],
  ],
  exits: {
    ...REPOSITORY_EXITS,
    10: "there is no repository in the file, or at the place",
    13: "the file or the repository is damaged",
  },
  kept: "what was copied stays and is used by the next import",
  load: async () => (await import("../verbs/import.ts")).importVerb,
};
