/** What of a restore could not be undone, and what Chatwoot does not wait for. */
import { type Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import type { StageName } from "./stage.ts";

/**
 * Whether the rest can be undone all the same. A fault of ours is none of these, nor is a journal that cannot be written: nothing goes
 * on without it. Pure.
 */
export function mayBeTold(error: unknown, { signal }: { signal: AbortSignal }): error is Failure {
  return isFailure(error) && !signal.aborted && error.code !== "internal/bug" && error.code !== "restore/record";
}

/** That something of a stage was not undone. @param failure With a hint that says what to do about it. */
export function leftFinding(name: StageName, { message, hint = "Look what of it is still there." }: Failure): Finding {
  return {
    kind: "rollback-left",
    level: "warning",
    subject: name,
    message: `'${name}' could not be undone as a whole, and Chatwoot did not wait for it: ${message}`,
    hint,
  };
}
