/** The commands that keep a repository tidy. */
import type { CommandRow } from "../command.ts";
import { POINT, REPOSITORY_EXITS } from "./shared.ts";

const DENIED = "the repository's place cannot be reached, or lets nothing be deleted";

export const TIDY: readonly CommandRow[] = [
  {
    name: "forget",
    group: "keep tidy",
    args: [{ ...POINT, isOptional: true, isRepeated: true }],
    options: [
      { flag: "--keep-last", value: "N", help: "the newest N" },
      { flag: "--keep-hourly", value: "N", help: "the newest of each of the last N hours that have one" },
      { flag: "--keep-daily", value: "N", help: "the same of days," },
      { flag: "--keep-weekly", value: "N", help: "of ISO weeks," },
      { flag: "--keep-monthly", value: "N", help: "of months," },
      { flag: "--keep-yearly", value: "N", help: "of years" },
      { flag: "--keep-window", value: "SPAN", help: "of 'watch' any moment of the last 7d or 36h" },
      { flag: "--keep-within", value: "SPAN", help: "all of the last 1y6m, 30d or 2d12h before the newest" },
      { flag: "--keep-tag", value: "TAG", isRepeated: true, help: "all that carry the tag" },
      { flag: "--installation", value: "NAME", help: "the points of another installation, by name or id" },
      { flag: "--all", help: "those of every installation, each by itself" },
      { flag: "--prune", help: "then free the space, as 'chatkeep prune' does" },
      { flag: "--dry-run", help: "show what would go, and why the rest stays" },
    ],
    purpose: "remove restore points that are no longer to be kept",
    description: [
      "Keeps what 'retention' in the configuration says; an option takes that rule's place. The newest, the newest proven, held points and those in the future stay in any case. With POINT, removes just those, once confirmed (--yes).",
    ],
    examples: [
      ["look first", "chatkeep forget --dry-run"],
      ["", "chatkeep forget --keep-daily 14 --keep-weekly 8 --keep-monthly 12"],
    ],
    exits: { 3: "done; points in the future, or files that cannot be read", ...REPOSITORY_EXITS, 20: DENIED },
    kept: "what is gone is gone, the oldest first; the rest is whole, and the next run goes on",
    load: async () => (await import("../verbs/forget.ts")).forget,
  },
  {
    name: "hold",
    group: "keep tidy",
    args: [
      { ...POINT, isOptional: true },
      { name: "NAME", isOptional: true, kind: "text" },
    ],
    options: [
      { flag: "--name", value: "NAME", help: "what the hold is called, as in 'audit'" },
      { flag: "--reason", value: "TEXT", help: "why, for whoever finds it" },
      {
        flag: "--until",
        value: "DATE",
        help: "the last day (2027-01-31), or an instant; default: until it is released",
      },
      { flag: "--release", help: "take the hold NAME off the point" },
      { flag: "--all", help: "list those of every installation" },
    ],
    purpose: "keep a restore point whatever the retention says",
    description: [
      "A held point is never forgotten, by policy or by name. It is held, and released, in every configured repository that answers; the next backup does it in the others. 'list' and 'show' tell of holds, and copies bring them along. Without POINT, lists the holds.",
    ],
    examples: [
      ["", "chatkeep hold latest --name audit --until 2027-01-31"],
      ["which are there", "chatkeep hold"],
      ["let it go", "chatkeep hold --release 4f3a91c2 audit"],
    ],
    exits: { 3: "done, but not in every repository", ...REPOSITORY_EXITS, 20: DENIED },
    kept: "the hold is there, or it is not; nothing between",
    load: async () => (await import("../verbs/hold.ts")).hold,
  },
  {
    name: "ack",
    group: "keep tidy",
    args: [{ name: "FINDING|POINT", isOptional: true, kind: "point" }],
    options: [{ flag: "--reason", value: "TEXT", help: "why, for whoever finds it" }],
    purpose: "say that a finding is known, and is as it should be",
    description: [
      "When an account has far fewer conversations, messages, contacts or uploaded files than it had, or is gone, each backup raises the alarm 'shrunk', and 'forget' removes none of the installation's points, until somebody acknowledges it. 'ack shrunk' does for the newest point that says so and all before it, 'ack POINT' up to that point. It is kept, with who and when, in every configured repository that answers; the next backup does it in the others. From then on the account is compared with what it has now.",
      "'ack KIND' makes another finding that stands for long (files that may not be read, a storage service that is not saved, what only 'doctor' finds) a note until it changes. Damage, keys and lost files are never quiet. Without FINDING or POINT, lists what awaits it, and what was acknowledged. What counts as far fewer is said by 'alarms' in the configuration.",
    ],
    examples: [
      ["what awaits it", "chatkeep ack"],
      ["", 'chatkeep ack shrunk --reason "old account closed"'],
    ],
    exits: { 3: "done, but not in every repository", ...REPOSITORY_EXITS },
    kept: "it is acknowledged, or it is not; nothing between",
    load: async () => (await import("../verbs/ack.ts")).ack,
  },
  {
    name: "unlock",
    group: "keep tidy",
    args: [],
    options: [{ flag: "--remove-all", help: "every lock, once you have seen whose they are" }],
    purpose: "remove locks that runs which died left behind",
    description: [
      "A lock is stale when it was not refreshed for half an hour, or its process was of this machine and is gone. Removing the lock of a run that still goes on can cost restore points when that run, or another, deletes: see that nobody uses the repository before you say --remove-all.",
    ],
    examples: [
      ["", "chatkeep unlock"],
      ["look, confirm, remove", "chatkeep unlock --remove-all"],
    ],
    exits: { 10: "", 12: "", 13: "", 20: DENIED },
    kept: "some locks may be gone",
    load: async () => (await import("../verbs/unlock.ts")).unlock,
  },
];
