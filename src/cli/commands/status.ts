import type { CommandRow } from "../command.ts";

export const STATUS_ROW: CommandRow = {
  name: "status",
  group: "look",
  args: [],
  options: [],
  purpose: "show on one screen how well everything is protected",
  description: [
    "The last backup and its age, the last proof, the last daily run, and of 'watch' whether it runs, how far it is behind, and what it found. Of each repository: whether it answers, its newest point, and the window: from when to when any moment can be brought back, why not in between, and how long bringing the newest one back takes, about.",
    "The window comes from the repositories, also where no watch runs. With --repository LOCATION no configuration is needed; then only what lies there is shown.",
  ],
  examples: [
    ["", "chatkeep status"],
    ["with no configuration", "chatkeep status --repository /mnt/backups/chatwoot"],
    ["for scripts", "chatkeep status --json"],
  ],
  exits: { 3: "something needs attention, or a repository does not answer", 10: "", 12: "", 20: "" },
  kept: "nothing was changed",
  load: async () => (await import("../verbs/status.ts")).status,
};
