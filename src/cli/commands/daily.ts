/** The commands for what happens every day without anybody. */
import type { CommandRow } from "../command.ts";
import { NOTHING_WRITTEN, REPOSITORY_EXITS } from "./shared.ts";

export const SCHEDULE_ACTIONS = ["show", "install", "remove"] as const;
export const MANIFESTS = ["cronjob", "compose"] as const;

export const DAILY: readonly CommandRow[] = [
  {
    name: "run",
    group: "back up",
    args: [],
    options: [
      { flag: "--when-due", help: "wait for the time of schedule.backup first; go at once if it was missed" },
      { flag: "--delay", value: "MINUTES", help: "wait up to so many minutes first, by chance" },
    ],
    purpose: "do the day's work: backup, copies, drill, retention, prune",
    description: [
      "Makes a restore point with its copies. Drills, when no point was proven for as long as schedule.drill says (weekly). Then, in each repository, forgets what 'retention' does not keep, and prunes when schedule.prune says so (weekly). When the backup or the drill failed nothing is forgotten or pruned. 'hooks' run before and after.",
      "It tells those whom 'notify' names, calls the address of 'ping', and writes status-file and metrics-file: see 'chatkeep help daily'. What cannot be told is a warning, and the next run tells it.",
      "One run at a time on this machine: a second one says which process runs since when, and ends with 11. The exit status is the worst of all stages: 130, 70, 13, 12, 10, 20, 11, 2, 1, 3, 0, in this order.",
    ],
    examples: [
      ["now", "chatkeep run"],
      ["every day", "chatkeep schedule install"],
    ],
    exits: { 1: "a stage failed; the others were done as far as they make sense", 3: "", ...REPOSITORY_EXITS },
    kept: "what is done is done, earlier restore points are untouched, and the next run goes on",
    load: async () => (await import("../verbs/run.ts")).run,
  },
  {
    name: "schedule",
    group: "set up",
    args: [{ name: "ACTION", isOptional: true, kind: SCHEDULE_ACTIONS }],
    options: [
      { flag: "--crontab", help: "a line in this user's crontab, where there is no systemd" },
      { flag: "--print", value: "KIND", kind: MANIFESTS, help: "print a Kubernetes CronJob, or a Compose service" },
      { flag: "--image", value: "NAME", help: "Chatkeep's image in what is printed" },
    ],
    purpose: "install, show or remove the daily run",
    description: [
      "'install' makes a systemd timer and its service: for the machine as root, for yourself as another user. It runs at the times of schedule.backup (default: 30 2 * * *), up to half an hour later by chance, at once after the machine slept through it, with low priority, and may write only where the configuration says. Installing again brings it up to date.",
      "Without ACTION, or with 'show', says when it ran last, how that went, and when it runs next. 'remove' takes away exactly what 'install' made. In a container's place use --print.",
    ],
    examples: [
      ["", "chatkeep schedule install"],
      ["without systemd", "chatkeep schedule install --crontab"],
      ["when did it run, and when will it", "chatkeep schedule"],
      ["for Kubernetes", "chatkeep schedule --print cronjob --image REGISTRY/chatkeep:0.1"],
    ],
    exits: {
      1: "failed; there is no systemd here, or it refused",
      3: "done, but it will not run without a further step",
    },
    kept: "'chatkeep schedule' says what is there; it can be run again",
    load: async () => (await import("../verbs/schedule.ts")).schedule,
  },
  {
    name: "notify",
    group: "set up",
    args: [],
    options: [{ flag: "--test", help: "send a trial notice to each, and call the address of 'ping'" }],
    purpose: "show who is told how the daily run went, or try it",
    description: [
      "Lists the channels of 'notify' in the configuration with what each is told, and whether notices of earlier runs await delivery. With --test a trial notice goes to every channel, whatever it is told otherwise. 'chatkeep help daily' has the configuration.",
    ],
    examples: [
      ["", "chatkeep notify"],
      ["does it arrive?", "chatkeep notify --test"],
    ],
    exits: { 1: "a trial notice was not delivered" },
    kept: NOTHING_WRITTEN,
    load: async () => (await import("../verbs/notify.ts")).notify,
  },
];
