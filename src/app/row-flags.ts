/** Which rows `restore` was asked for. */
import { Failure } from "../base/errors.ts";
import type { Part } from "../job/restore.ts";
import { ALL_ROWS, type RowChoice } from "../job/row-choice.ts";

export interface RowFlags {
  databaseUrl?: string | undefined;
  /** Tables whose rows are restored, and no others. */
  tables?: readonly string[] | undefined;
  /** No rows at all. */
  schemaOnly?: boolean | undefined;
}

/** @throws Failure `usage/invalid` where anything but a database of its own would get a part of the rows. */
export function rowChoice({ tables, schemaOnly, databaseUrl }: RowFlags, parts: readonly Part[]): RowChoice {
  if (tables === undefined && schemaOnly !== true) return ALL_ROWS;
  const flag = tables === undefined ? "--schema-only" : "--table";
  if (tables !== undefined && schemaOnly === true) {
    throw new Failure("usage/invalid", "--schema-only and --table exclude each other", {
      hint: "--table brings all tables, and the rows of those that are named; --schema-only no rows.",
    });
  }
  if (databaseUrl === undefined || parts.join() !== "database") {
    throw new Failure("usage/invalid", `${flag} goes into a database of its own, for looking at old data`, {
      hint: "Name a new or empty one with --database-url, and nothing else to restore: Chatwoot's own is never put back by half.",
    });
  }
  return tables === undefined ? { kind: "none" } : { kind: "tables", names: tables };
}
