/** What there is to restore, repository by repository. */
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { isFailure, messageOf } from "../base/errors.ts";
import type { Point } from "../job/points.ts";
import { isImported, listPoints, pointsAhead } from "../job/points.ts";
import type { RepositoryState } from "../job/run-summary.ts";
import type { Config } from "./config.ts";
import { openChosenRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

/** Looks at each; where one cannot be looked at, what was known before stays. */
export async function surveyRepositories(
  names: readonly string[],
  before: readonly RepositoryState[],
  { globals, config }: { globals: Globals; config: Config },
  s: Surroundings,
): Promise<RepositoryState[]> {
  const states: RepositoryState[] = [];
  for (const name of names) {
    const known = before.find((state) => state.name === name);
    const nothing: RepositoryState = { name, trouble: null, newest: null, proven: null, prunedAt: null };
    try {
      const { repository } = await openChosenRepository({ ...globals, repository: name }, s);
      const { points } = await listPoints(repository, { signal: s.signal });
      const mine = points.filter(({ installationId }) => installationId === config.installation.id);
      states.push({ ...(known ?? nothing), ...stateOf(mine, s.clock.now()), trouble: null });
    } catch (error) {
      if (s.signal.aborted || !isFailure(error) || error.code === "internal/bug") throw error;
      states.push({ ...(known ?? nothing), trouble: messageOf(error) });
    }
  }
  return states;
}

function stateOf(points: readonly Point[], nowMs: number): Pick<RepositoryState, "newest" | "proven"> {
  const ahead = pointsAhead(points, nowMs);
  // Neither one from a clock that was ahead nor an imported dump must hide that no backup was made since.
  const newest = points.find((point) => !ahead.includes(point) && !isImported(point));
  const proven = points
    .flatMap(({ id, proof }) => (proof?.proven === true ? [{ point: id, atMs: parseZonedInstant(proof.at) ?? 0 }] : []))
    .toSorted((a, b) => b.atMs - a.atMs)
    .at(0);
  return {
    newest: newest === undefined ? null : { point: newest.id, at: formatInstant(newest.takenAtMs) },
    proven: proven === undefined ? null : { point: proven.point, at: formatInstant(proven.atMs) },
  };
}
