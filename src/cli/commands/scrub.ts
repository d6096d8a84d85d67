import type { CommandRow } from "../command.ts";
import { NOTHING_WRITTEN } from "./shared.ts";

export const SCRUB_ROW: CommandRow = {
  name: "scrub",
  group: "prove",
  args: [],
  options: [{ flag: "--all", help: "read every uploaded file (default: 500 of each storage service, by chance)" }],
  purpose: "read live uploaded files again, and find what was lost in silence",
  description: [
    "Reads files where Chatwoot has them, in folders and buckets, and compares size and MD5 with the database. A backup reads a file once, when it is new; what the disk or somebody does to it later, this finds, while a restore point still has the good copy.",
    "What the newest restore point knows already is a note, with its date; anything else is an alarm. --json names every file, and where the newest point has it: 'chatkeep dump latest PATH' brings that one back. Without a repository, or one that answers, it reads all the same and compares with none. A provider may charge for what is read.",
  ],
  examples: [
    ["every week", "chatkeep scrub"],
    ["before old restore points are forgotten", "chatkeep scrub --all"],
    ["for a script", "chatkeep scrub --all --json"],
  ],
  exits: { 3: "something is lost or altered that no restore point has told of, or cannot be read" },
  kept: NOTHING_WRITTEN,
  load: async () => (await import("../verbs/scrub.ts")).scrub,
};
