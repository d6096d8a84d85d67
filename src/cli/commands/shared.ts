/** What rows of the table of commands have in common. */
import type { ArgumentRow } from "../command.ts";

export const POINT: ArgumentRow = { name: "POINT", kind: "point" };
export const NOTHING_WRITTEN = "nothing was changed";

/** What a command that opens a repository can end with. */
export const REPOSITORY_EXITS = { 10: "", 11: "", 12: "", 13: "", 20: "" } as const;
export const READING_EXITS = { 10: "", 12: "", 13: "", 20: "" } as const;
