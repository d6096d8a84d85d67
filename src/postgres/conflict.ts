/**
 * A standby applies the log of its primary while others read. Where the log removes rows that a reader's snapshot still
 * sees, or locks a table that a reader holds, the standby waits for a while (`max_standby_streaming_delay`) and then ends
 * the reader. That is no fault of anybody's: what was read is read again.
 */
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";

/** What a standby says when it ends a statement, or a session, to go on with its primary's log. */
export const CONFLICT = /conflict with recovery/;

/** What keeps a standby from ending its readers, and what that costs. */
export const CONFLICT_HINT =
  "Raise max_standby_streaming_delay at the standby above the time that a backup takes, or set hot_standby_feedback = on there: then the primary keeps rows that died while a backup reads, as if the backup ran on it.";

/** The failure of a statement or a program that a standby ended. */
export function conflictFailure(cause?: unknown): Failure {
  return new Failure("database/conflict", "the standby ended what we read, to go on with its primary's log", {
    hint: CONFLICT_HINT,
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Runs `attempt` again when a standby ended it. Only for what may be begun again: statements outside a transaction, or
 * all of a transaction in a snapshot that others hold.
 * @throws Failure `database/conflict` when it was ended `LIMITS.conflictRetries` times.
 */
export async function withConflictRetries<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!isFailure(error, "database/conflict") || tries >= LIMITS.conflictRetries) throw error;
    }
  }
}
