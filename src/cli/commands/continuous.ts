/** The commands for continuous protection. */
import type { CommandRow } from "../command.ts";
import { NOTHING_WRITTEN, READING_EXITS, REPOSITORY_EXITS } from "./shared.ts";

export const WATCH_MANIFESTS = ["systemd", "compose", "kubernetes"] as const;

export const CONTINUOUS: readonly CommandRow[] = [
  {
    name: "watch",
    group: "back up",
    args: [],
    options: [
      {
        flag: "--mode",
        value: "MODE",
        kind: ["auto", "stream", "interval"],
        help: "auto (default), stream or interval",
      },
      {
        flag: "--flush-every",
        value: "TIME",
        help: "what was committed is safe then (in arrears 5s or more): 1s to 60s (default: 5s)",
      },
      { flag: "--interval", value: "TIME", help: "between two points of 'interval': 1m to 1h (default: 5m)" },
      { flag: "--install", help: "as a systemd service that runs for good, and start it" },
      { flag: "--remove", help: "take that away, and drop the slot at the server (asks)" },
      { flag: "--new-server", help: "the server at the address takes the old one's place (asks)" },
      {
        flag: "--print",
        value: "KIND",
        kind: WATCH_MANIFESTS,
        help: "a unit, a Compose service or a Deployment: systemd, compose, kubernetes",
      },
      { flag: "--image", value: "NAME", help: "Chatkeep's image in what is printed" },
    ],
    purpose: "protect continuously: lose seconds, not a day",
    description: [
      "Stays in the foreground until it is ended. Follows PostgreSQL's write-ahead log over the replication protocol into every repository ('stream'), takes a base of the cluster at once and every week, and so any moment since can be brought back: a POINT may be a time, '-5m' or 'now'. Nothing is installed where the database runs.",
      "Where the role may not replicate, 'auto' makes a restore point every few minutes instead ('interval'), and says why. Uploaded files are followed in both. The daily run goes on beside it.",
      "What goes wrong is tried again, and told to those whom 'notify' names; a server that is away is waited for. The server keeps no more of its log for us than max_slot_wal_keep_size and watch.max-retained say. docs/continuous.md says where it runs, docs/watch-findings.md what to do about an alarm.",
    ],
    examples: [
      ["for good, where systemd runs", "chatkeep watch --install"],
      ["back to five minutes ago", "chatkeep restore -5m --plan"],
    ],
    exits: { 1: "the database refuses, or its log where --mode stream asks for it", ...REPOSITORY_EXITS },
    kept: "what came by now is stored first, and the next watch goes on from there",
    load: async () => (await import("../verbs/watch.ts")).watch,
  },
  {
    name: "moments",
    group: "look",
    args: [],
    options: [
      { flag: "--table", value: "NAME", help: "transactions that changed this table" },
      { flag: "--deleted", value: "N", help: "that deleted at least N rows of one table, or emptied it" },
      { flag: "--updated", value: "N", help: "that changed at least N rows of one table" },
      { flag: "--inserted", value: "N", help: "that added at least N rows to one table" },
      { flag: "--since", value: "TIME", help: "from then on: 2026-11-23T11:00+01:00, or -2h" },
      { flag: "--until", value: "TIME", help: "up to then" },
      { flag: "--limit", value: "N", help: "show so many, the newest (default: 40)" },
    ],
    purpose: "find the moment before something was deleted or changed",
    description: [
      "Reads the log that 'watch' kept and lists what was committed: when, and how many rows of which tables. Each line begins with the POINT that has everything before that transaction and nothing of it: give it to 'restore', 'drill', 'dump' or 'diff'.",
      "'emptied' is a table that was cut to nothing at once, dropped or rewritten: the log does not tell TRUNCATE from VACUUM FULL. 'at least' stands where a transaction had begun before what was read.",
      "No server is needed. Tables that are younger than the newest base, as all are after a restore, are called by the live database, where it answers, or else by the number of their file.",
    ],
    examples: [
      ["who deleted the conversations", "chatkeep moments --table conversations --deleted 10"],
      ["as it was before that", "chatkeep restore lsn:0/16B3748 --plan"],
      ["the last hour", "chatkeep moments --since -1h"],
    ],
    exits: { 3: "a part of the log could not be read, or not searched for --table", ...READING_EXITS },
    kept: NOTHING_WRITTEN,
    load: async () => (await import("../verbs/moments.ts")).moments,
  },
];
