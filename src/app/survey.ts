/** What there is to restore, repository by repository. */
import { formatInstant } from "../base/clock.ts";
import { isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { isFollowed } from "../job/moment-point.ts";
import type { Point, PointList } from "../job/points.ts";
import { isImported, listPoints, pointsAhead, provenMs } from "../job/points.ts";
import type { RepositoryState } from "../job/run-summary.ts";
import { windowFindings } from "../job/watch-findings.ts";
import { reportWindows } from "../job/window-report.ts";
import type { WatchState, WindowReport } from "../job/window-summary.ts";
import type { Config } from "./config.ts";
import { objectivesOf } from "./objectives.ts";
import { openChosenRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { windowMsOf } from "./watched.ts";

/** What is there to restore, and what of a watch's work does not reach what is wanted. */
export interface Survey {
  readonly states: RepositoryState[];
  readonly findings: Finding[];
}

/** Looks at each; where one cannot be looked at, what was known before stays. */
export async function surveyRepositories(
  names: readonly string[],
  before: readonly RepositoryState[],
  { globals, config, watch }: { globals: Globals; config: Config; watch: () => Promise<WatchState> },
  s: Surroundings,
): Promise<Survey> {
  const states: RepositoryState[] = [];
  const findings: Finding[] = [];
  for (const name of names) {
    const known = before.find((state) => state.name === name);
    const nothing: RepositoryState = { name, trouble: null, newest: null, proven: null, prunedAt: null };
    try {
      const { repository } = await openChosenRepository({ ...globals, repository: name }, s);
      const list = await listPoints(repository, { signal: s.signal });
      const { id: installationId } = config.installation;
      const mine = list.points.filter((point) => point.installationId === installationId);
      const [window] = await reportWindows(repository, list, { installationId, signal: s.signal });
      const nowMs = s.clock.now();
      const asked = { objectives: objectivesOf(config), windowMs: windowMsOf(config), nowMs };
      findings.push(
        ...windowFindings(name, { window, watch: await watch() }, asked).filter(({ level }) => level !== "note"),
      );
      const { window: _before, moments: _proven, ...rest } = known ?? nothing;
      states.push({
        ...rest,
        ...stateOf(mine, nowMs),
        ...windowState(window),
        ...momentsOf(list, config, nowMs),
        trouble: null,
      });
    } catch (error) {
      if (s.signal.aborted || !isFailure(error) || error.code === "internal/bug") throw error;
      states.push({ ...(known ?? nothing), trouble: messageOf(error) });
    }
  }
  return { states, findings };
}

/** The range that goes on. */
function windowState(window: WindowReport | undefined): Pick<RepositoryState, "window"> {
  const last = window?.ranges.at(-1);
  return last === undefined ? {} : { window: { from: last.from, to: last.to ?? last.from } };
}

/** Nothing where the log was never followed. */
function momentsOf(list: PointList, { installation: { id } }: Config, nowMs: number): Pick<RepositoryState, "moments"> {
  if (!isFollowed(list, id)) return {};
  const own = list.moments.filter(({ installationId }) => installationId === id);
  const proven = newestProof(own, nowMs);
  return { moments: { proven } };
}

function stateOf(points: readonly Point[], nowMs: number): Pick<RepositoryState, "newest" | "proven"> {
  const ahead = pointsAhead(points, nowMs);
  // Neither one from a clock that was ahead nor an imported dump must hide that no backup was made since.
  const newest = points.find((point) => !ahead.includes(point) && !isImported(point));
  return {
    newest: newest === undefined ? null : { point: newest.id, at: formatInstant(newest.takenAtMs) },
    proven: newestProof(points, nowMs),
  };
}

function newestProof(points: readonly Point[], nowMs: number): RepositoryState["proven"] {
  const proven = points
    .flatMap((point) => {
      const atMs = provenMs(point, nowMs);
      return atMs === undefined ? [] : [{ point: point.id, atMs }];
    })
    .toSorted((a, b) => b.atMs - a.atMs)
    .at(0);
  return proven === undefined ? null : { point: proven.point, at: formatInstant(proven.atMs) };
}
