import type { CommandRow } from "../command.ts";
import { AT_TIME } from "./shared.ts";

export const STATS_ROW: CommandRow = {
  name: "stats",
  group: "look",
  args: [],
  options: [{ flag: "--all", help: "the points of every installation in the repository" }, AT_TIME],
  purpose: "show how large everything is, and what each backup added",
  description: [
    "What is stored and how much of it is needed, what each point restores to, what it added and what would go with it alone, and what the newest holds by storage service and table. Reads indexes, trees and one manifest; no other data.",
  ],
  examples: [
    ["", "chatkeep stats"],
    ["every number", "chatkeep stats --json"],
  ],
  exits: { 3: "something could not be read, so it is not counted", 10: "", 11: "", 12: "", 13: "", 20: "" },
  kept: "nothing was changed",
  load: async () => (await import("../verbs/stats.ts")).stats,
};
