/** While an upgrade under `guard` is not settled, nothing forgets the restore point that it goes back to. */
import { type Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { GuardedPoint } from "../job/guard-record.ts";
import { runHold, runReleaseHold } from "./holds.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/** The name of the hold. */
const NAME = "open-guard";
const REASON = "the way back of an upgrade under guard";

/** Where it cannot be held, the upgrade goes on, and it is told: the point is there now. */
export async function holdGuarded(globals: Globals, point: GuardedPoint, s: Surroundings): Promise<Finding[]> {
  const flags = { point: point.id, name: NAME, reason: REASON, until: undefined };
  return await telling(
    "guard-not-held",
    async () => await runHold(of(globals, point), flags, s),
    s,
    ({ message }) => ({
      message: `restore point ${shortId(point.id)} could not be held until the upgrade is settled: ${message}`,
      hint: "Let no 'chatkeep forget' run before that, or hold it from a machine that may.",
    }),
  );
}

/** Nothing is left to do: it may go when its time comes. */
export async function releaseGuarded(globals: Globals, point: GuardedPoint, s: Surroundings): Promise<Finding[]> {
  return await telling(
    "guard-still-held",
    async () => await runReleaseHold(of(globals, point), { point: point.id, name: NAME }, s),
    s,
    ({ message }) => ({
      message: `restore point ${shortId(point.id)} is still held, though nothing of the upgrade is left to do: ${message}`,
      hint: `From a machine that may delete: 'chatkeep hold --repository ${point.repository} --release ${shortId(point.id)} ${NAME}'.`,
    }),
  );
}

function of(globals: Globals, { repository }: GuardedPoint): Globals {
  return { ...globals, repository: globals.repository ?? repository };
}

async function telling(
  kind: string,
  work: () => Promise<{ findings: Finding[] }>,
  s: Surroundings,
  say: (failure: Failure) => Pick<Finding, "message"> & { hint: string },
): Promise<Finding[]> {
  try {
    return (await work()).findings;
  } catch (error) {
    s.signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    // It was never held, or somebody has released it, or forgotten the point itself.
    if (kind === "guard-still-held" && isFailure(error, "usage/invalid")) return [];
    return [{ kind, level: "warning", ...say(error) }];
  }
}
