/** What rows of the table of commands have in common. */
import type { Part } from "../../job/restore.ts";
import type { ArgumentRow, OptionRow } from "../command.ts";

export const PARTS = ["database", "storage", "config", "code"] as const satisfies readonly Part[];

export const POINT: ArgumentRow = { name: "POINT", kind: "point" };
/** For what only reads. */
export const AT_TIME: OptionRow = {
  flag: "--at-time",
  value: "TIME",
  help: "read the bucket as it was then, if it keeps versions",
};
export const NOTHING_WRITTEN = "nothing was changed";

/** What a command that opens a repository can end with. */
export const REPOSITORY_EXITS = { 10: "", 11: "", 12: "", 13: "", 20: "" } as const;
export const READING_EXITS = { 10: "", 12: "", 13: "", 20: "" } as const;
