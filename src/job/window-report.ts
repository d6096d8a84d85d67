/** The window of a repository as a value for people and scripts: what any moment can be had of, and how long that would take. */
import { formatInstant } from "../base/clock.ts";
import { tagValue } from "./records.ts";
import { formatMicros } from "../point/continuous.ts";
import { formatPosition, momentOf } from "../point/moment.ts";
import { type Gap, placeOf, type Range, serve, type Window } from "../policy/window.ts";
import type { Repository } from "../repo/repository.ts";
import type { Lsn } from "../wal/lsn.ts";
import { type ListedWindowBase, lookAtWindow } from "./continuous/list.ts";
import { type Point, type PointList, recoverSeconds } from "./points.ts";
import { paceOf, type RecoveryMeasure } from "./recovery-pace.ts";
import type { GapLine, MomentLine, RangeLine, RecoveryEstimate, WindowReport } from "./window-summary.ts";

type Looked = Awaited<ReturnType<typeof lookAtWindow>>;

/**
 * Of each installation that is protected continuously into the repository.
 * @param list of the repository's points, as they were listed just now.
 * @param installationId limits it to one.
 * @param measures of recoveries on this machine, the oldest first.
 * @throws Failure of the store.
 */
export async function reportWindows(
  repository: Repository,
  list: PointList,
  {
    installationId,
    measures = [],
    signal,
  }: { installationId: string | undefined; measures?: readonly RecoveryMeasure[] | undefined; signal: AbortSignal },
): Promise<WindowReport[]> {
  const ids = new Set(list.continuous.flatMap(({ snapshot }) => tagValue(snapshot, "installation") ?? []));
  const reports: WindowReport[] = [];
  for (const id of ids) {
    if (installationId !== undefined && id !== installationId) continue;
    // Listed anew, after the journal: what was swept from it since would be missing from an earlier list.
    reports.push(windowReport(id, await lookAtWindow(repository, id, { signal }), { ...list, measures }));
  }
  return reports;
}

export function windowReport(
  installation: string,
  looked: Looked,
  list: Pick<PointList, "points" | "moments"> & { measures: readonly RecoveryMeasure[] },
): WindowReport {
  const { window, bases, odd, refused } = looked;
  const isOwn = (point: Point) => point.installationId === installation;
  const base = bases.at(-1)?.base;
  return {
    installation,
    ranges: window.ranges.map((range) => rangeLine(range, window)),
    gaps: window.gaps.map(gapLine),
    lastBase: base === undefined ? null : { at: formatMicros(base.endedUs ?? base.beganUs), bytes: base.bytes },
    moments: list.moments.filter(isOwn).flatMap(momentLine),
    recovery: estimate(looked, [...list.points, ...list.moments].filter(isOwn), list.measures) ?? null,
    unusable: odd.length + refused.length,
  };
}

function rangeLine(range: Range, window: Window): RangeLine {
  const { fromUs, toUs, timeline, legs, systemId, bases } = range;
  const isLeft = window.ranges.some((one) => {
    if (one.systemId !== systemId || one.timeline <= timeline) return false;
    return one.legs.some((leg) => leg.timeline === timeline && leg.to <= range.from);
  });
  const wordOf = (lsn: Lsn) => formatPosition(placeOf(window, { systemId, timeline, lsn }));
  return {
    left: isLeft ? { from: wordOf(range.from), to: wordOf(range.to) } : null,
    from: formatMicros(fromUs),
    to: toUs === undefined || toUs < fromUs ? null : formatMicros(toUs),
    timeline,
    timelines: legs.map((leg) => leg.timeline),
    systemId,
    bases: bases.length,
  };
}

function gapLine({ reason, fromUs, toUs, timeline, systemId }: Gap): GapLine {
  const [from, to] = [fromUs, toUs].map((us) => (us === undefined ? null : formatMicros(us)));
  return { reason, from: from ?? null, to: to ?? null, timeline, systemId };
}

function momentLine({ id, snapshot, proof }: Point): MomentLine[] {
  const facts = momentOf(snapshot.tags);
  if (facts === undefined) return [];
  return [
    {
      point: id,
      moment: formatMicros(facts.us),
      timeline: facts.timeline,
      madeAt: formatInstant(facts.madeMs),
      provenAt: proof?.proven === true ? proof.at : null,
    },
  ];
}

/** A rate is assumed where none was measured; loading is what the newest drill that could tell says. */
function estimate(
  { window }: Pick<Looked, "window">,
  points: readonly Point[],
  measures: readonly RecoveryMeasure[],
): RecoveryEstimate | undefined {
  const served = serve<ListedWindowBase>(window, "now");
  if (served === undefined) return undefined;
  const base = served.base.listed.base.bytes;
  const log = Number(served.legs.reduce((sum, { from, to }) => sum + (to > from ? to - from : 0n), 0n));
  const drilled = points
    .filter((point) => recoverSeconds(point) !== null)
    .toSorted((a, b) => ((a.proof?.at ?? "") < (b.proof?.at ?? "") ? 1 : -1));
  const loadSeconds = drilled[0] === undefined ? null : recoverSeconds(drilled[0]);
  const { saveSeconds, ...rates } = paceOf(measures);
  const replaySeconds = base / rates.base.bytesPerSecond + log / rates.log.bytesPerSecond;
  return {
    seconds: Math.round(replaySeconds + (saveSeconds ?? 0) + (loadSeconds ?? 0)),
    bytes: { base, log },
    rates,
    saveSeconds,
    loadSeconds,
  };
}
