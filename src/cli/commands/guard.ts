import type { CommandRow } from "../command.ts";
import { REPOSITORY_EXITS } from "./shared.ts";

export const ON_FAILURE = ["ask", "rollback", "leave"] as const;

export const OUTBOUND = ["ask", "defuse", "allow", "hold"] as const;

export const GUARD_ROW: CommandRow = {
  name: "guard",
  group: "bring back",
  args: [{ name: "COMMAND", isOptional: true, isRepeated: true, kind: "text" }],
  options: [
    { flag: "--on-failure", value: "WHAT", kind: ON_FAILURE, help: "ask (at a terminal), rollback, or leave (else)" },
    { flag: "--outbound", value: "WHAT", kind: OUTBOUND, help: "going back: as in 'chatkeep restore'" },
    { flag: "--wait", value: "MINUTES", help: "how long Chatwoot may take to be well (default: 10)" },
    { flag: "--point", value: "POINT", kind: "point", help: "take this restore point, and make none" },
    { flag: "--in-place-server", help: "as in 'chatkeep drill'" },
    { flag: "--check", help: "look again at what the last guard left" },
    { flag: "--back", help: "put everything back as it was before the last guard" },
    { flag: "--forget", help: "nothing is left to do about the last guard" },
  ],
  purpose: "run an upgrade with a proven way back",
  description: [
    "Makes a restore point and its proof, and only then runs COMMAND, with your terminal. Afterwards: is the web process well, did the migrations of the code run, are accounts, contacts, conversations and messages there, do the keys open the secrets. If so, it says what changed. If not, it asks once, and puts back database, code or images, and environment.",
    "Where nobody is asked, all is left as it is, with status 1, until '--check' finds it well or '--back' is called; so it is after a guard that was killed. --back works after a good end, too. Rows written since the point are kept, in the database that is put aside. With --json, what COMMAND prints goes to stderr. docs/upgrading.md has each kind of installation.",
  ],
  examples: [
    ["Chatwoot's own script", "chatkeep guard -- cwctl --upgrade"],
    ["a line for the shell", "chatkeep guard -- 'docker compose pull && docker compose up -d'"],
    ["at night, alone", "chatkeep guard --on-failure rollback -- /usr/local/sbin/upgrade"],
  ],
  exits: {
    0: "Chatwoot is well after the command",
    1: "it is not, or was put back, or the command was not begun: the message says",
    3: "",
    ...REPOSITORY_EXITS,
  },
  kept: "what COMMAND did stays: 'chatkeep guard --check' looks at it, '--back' undoes it",
  load: async () => (await import("../verbs/guard.ts")).guard,
};
