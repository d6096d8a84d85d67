/**
 * Sessions that somebody ended, as a restore in place does when it swaps databases: the server goes on and lets in the next one, so that
 * nobody needs to be told. A server that stops ends its sessions likewise, but lets nobody in after that.
 */
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { SQLSTATE, sqlState } from "../../postgres/server-errors.ts";

/** By an administrator, after the crash of another process, with its database. */
const ENDED = new Set(["57P01", "57P02", "57P04"]);

export class EndedSessions {
  readonly #clock: Pick<Clock, "monotonic">;
  /** The first of those that are not told. */
  #firstMs: number | undefined;

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** Whether the next session is tried before anybody is told; so it is where we ended one ourselves to begin anew. @param lastedMs from when it was tried until it ended. */
  isQuiet(failure: Failure, lastedMs: number): boolean {
    if (failure.code === "run/cancelled") return true;
    if (lastedMs > LIMITS.endedSessionMs) this.#firstMs = undefined;
    const state = sqlState(failure) ?? "";
    // While databases change their names ours has none.
    const isAgain = this.#firstMs !== undefined && state === SQLSTATE.databaseMissing;
    if (!ENDED.has(state) && !isAgain) return false;
    const now = this.#clock.monotonic();
    this.#firstMs ??= now;
    return now - this.#firstMs < LIMITS.endedSessionMs;
  }
}
