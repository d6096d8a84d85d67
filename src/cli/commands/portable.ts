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
    { flag: "--plain", help: "a folder for Chatwoot's own way of restoring" },
    AT_TIME,
  ],
  purpose: "write a restore point, or its database, into one file",
  description: [
    "The file holds everything in the point, with keys and a password of its own: whoever gets it can open nothing else. It is a tar of a small restic repository, so 'tar x' and stock restic open it too. It is read back to the last chunk before it gets its name, and nothing that exists is written over. Without --password-file the password is asked for twice.",
    "While it works, FILE.part lies beside it and takes as much again; stopped, the same command goes on with it. Proofs and holds do not go along.",
    "With '--only database --format …' FILE is what pg_dump would have written then, for pg_restore of the server's version or newer, or for psql ('plain').",
    "With --plain FILE is a new folder: chatwoot.dump, storage/, .env, code/, and a README.txt with steps that need nothing of Chatkeep. Neither is encrypted.",
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
  args: [{ name: "FILE", kind: "file", isOptional: true }],
  options: [
    {
      flag: "--to",
      value: "NAME|LOCATION",
      kind: "folder",
      help: "the repository that gets it (default: the first)",
    },
    { flag: "--password-file", value: "FILE", kind: "file", help: "the password of the exported file" },
    { flag: "--database", value: "DUMP", kind: "file", help: "a dump of pg_dump or pg_dumpall, in place of FILE" },
    { flag: "--storage", value: "DIR|TAR", kind: "file", help: "its uploaded files: a folder, or a tar of one" },
    { flag: "--env", value: "FILE", kind: "file", help: "its .env" },
    { flag: "--made-at", value: "TIME", help: "when the dump was made, if it is wrong about that" },
    { flag: "--name", value: "NAME", help: "whose it is, if no configuration says it" },
  ],
  purpose: "take an exported file, or an old dump, into a repository",
  description: [
    "FILE: copies its restore points into the repository, without unpacking it; each chunk is verified. Points keep their names, so importing twice adds nothing. A tar of any restic repository (version 2) will do. Without --password-file its password is taken from $CHATKEEP_PASSWORD or $CHATKEEP_PASSWORD_FILE, or asked for. To restore straight from the file: --repository export:FILE with 'list', 'show', 'verify' and 'restore'.",
    "--database: makes a restore point of a dump in any format (custom, tar, directory, SQL; also gzip, zstd), dated as it was made. It is loaded into a scratch server without a network, by a role that may do nothing else, and checked as a backup is: what is missing is told, and 'drill' says whether it is any good. docs/import.md says more.",
  ],
  examples: [
    ["", "chatkeep import acme.tar --password-file acme.password"],
    ["what you have today", "chatkeep import --database chatwoot.dump --storage storage --env .env"],
  ],
  exits: {
    ...REPOSITORY_EXITS,
    3: "",
    10: "there is no repository in the file, or at the place",
    13: "the file, the dump or the repository is damaged",
  },
  kept: "what was stored stays and is used by the next import",
  load: async () => (await import("../verbs/import.ts")).importVerb,
};
