/**
 * What cannot go on is thrown as a {@link Failure}: one class, one table of codes.
 *
 * A message is lower case, has no full stop and names the thing; the hint is a sentence that says what to do.
 * Neither ever holds a secret. Only `cli/` turns a failure into an exit status and prints it.
 */

/** Every code a failure can have, its exit status, and whether the same call may succeed when tried again. */
export const ERRORS = {
  "internal/bug": { exit: 70, retry: false },
  "usage/invalid": { exit: 2, retry: false },
  "config/missing": { exit: 2, retry: false },
  "config/invalid": { exit: 2, retry: false },
  "installation/not-found": { exit: 2, retry: false },
  "installation/several": { exit: 2, retry: false },
  "installation/invalid": { exit: 1, retry: false },
  "program/missing": { exit: 1, retry: false },
  "program/failed": { exit: 1, retry: false },
  "database/unreachable": { exit: 1, retry: true },
  "database/full": { exit: 1, retry: true },
  "database/no-space": { exit: 1, retry: false },
  "database/denied": { exit: 1, retry: false },
  "database/unsuitable": { exit: 1, retry: false },
  "database/changed": { exit: 1, retry: true },
  "database/conflict": { exit: 1, retry: true },
  "database/unreadable": { exit: 1, retry: false },
  "database/failed": { exit: 1, retry: false },
  "wal/gone": { exit: 1, retry: false },
  "wal/slot-in-use": { exit: 1, retry: true },
  "wal/other-cluster": { exit: 1, retry: false },
  "redis/unreachable": { exit: 1, retry: true },
  "redis/denied": { exit: 1, retry: false },
  "redis/failed": { exit: 1, retry: false },
  "source/unreadable": { exit: 1, retry: false },
  "target/not-empty": { exit: 1, retry: false },
  "target/unsuitable": { exit: 1, retry: false },
  "point/not-found": { exit: 1, retry: false },
  "point/invalid": { exit: 13, retry: false },
  "dump/unsuitable": { exit: 1, retry: false },
  "dump/damaged": { exit: 13, retry: false },
  "drill/not-proven": { exit: 1, retry: false },
  "restore/unfinished": { exit: 1, retry: false },
  "restore/record": { exit: 1, retry: false },
  "restore/in-use": { exit: 1, retry: true },
  "restore/not-well": { exit: 1, retry: true },
  "restore/not-migrated": { exit: 1, retry: false },
  "restore/disk": { exit: 1, retry: false },
  "moment/outside": { exit: 1, retry: false },
  "recovery/failed": { exit: 1, retry: false },
  "recovery/damaged": { exit: 13, retry: false },
  "wal/damaged": { exit: 1, retry: true },
  "wal/given-up": { exit: 1, retry: true },
  "repo/missing": { exit: 10, retry: false },
  "repo/exists": { exit: 1, retry: false },
  "repo/unsupported": { exit: 1, retry: false },
  "repo/locked": { exit: 11, retry: true },
  "repo/wrong-password": { exit: 12, retry: false },
  "repo/damaged": { exit: 13, retry: false },
  "store/not-found": { exit: 13, retry: false },
  "store/denied": { exit: 20, retry: false },
  "store/full": { exit: 20, retry: false },
  "store/exists": { exit: 1, retry: false },
  "store/unreachable": { exit: 20, retry: true },
  "notice/failed": { exit: 1, retry: true },
  "notice/refused": { exit: 1, retry: false },
  "hook/failed": { exit: 1, retry: false },
  "schedule/unsuitable": { exit: 1, retry: false },
  "guard/unfinished": { exit: 1, retry: false },
  "run/locked": { exit: 11, retry: true },
  "run/cancelled": { exit: 130, retry: false },
} as const satisfies Record<string, { exit: number; retry: boolean }>;

export type ErrorCode = keyof typeof ERRORS;

export interface FailureOptions {
  /** What to do about it: one sentence, or the question an expert would ask. */
  hint?: string;
  cause?: unknown;
  /** What the other side asked for: not to be tried again sooner. With a code that needs somebody: this time it may pass by itself. */
  retryAfterMs?: number | undefined;
}

export class Failure extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Failure";
    this.code = code;
    this.hint = options.hint;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** True for a {@link Failure}, of the given code when one is named. */
export function isFailure(error: unknown, code?: ErrorCode): error is Failure {
  return error instanceof Failure && (code === undefined || error.code === code);
}

/** Says that our own code is wrong: never for a user's mistake. */
export function bug(message: string, cause?: unknown): Failure {
  return new Failure("internal/bug", message, {
    hint: "This is a fault in Chatkeep itself; nothing you saved before is affected. Please report it with this line.",
    ...(cause === undefined ? {} : { cause }),
  });
}

const FULL = new Set(["ENOSPC", "EDQUOT"]);

/**
 * What an error that reached the end of a run says: a failure itself, a full disk, or a fault of ours. Whatever writes
 * to a repository or a target names the place itself, so a full disk that nobody explained is the temporary files'.
 */
export function failureOf(error: unknown): Failure {
  if (isFailure(error)) return error;
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code !== "string" || !FULL.has(code)) return bug(messageOf(error), error);
  return new Failure("store/full", "no space left on the disk that holds temporary files", {
    hint: "Free some space there, or set TMPDIR to a folder on a larger disk; what was saved before is intact.",
    cause: error,
  });
}

/** Throws {@link bug} unless the condition holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw bug(message);
}

/** The text of anything thrown, without its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
