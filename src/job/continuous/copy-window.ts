/**
 * What a copy of a repository still lacks of an installation's continuous protection: what the window of the source needs, and
 * no other base, span or row of followed files of the copy has. A copy that follows the log itself has spans of its own, which
 * begin and end elsewhere; so it is asked what they hold, not what they are called. What is older than the window does not come
 * back.
 */
import type { Base, WalSpan } from "../../point/continuous.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { planOf, type WindowRules } from "./forget-window.ts";
import { followsOf } from "./followed-files.ts";
import { listContinuous, sortContinuous } from "./list.ts";

/** @returns snapshots of the source, oldest first. */
export async function windowLacking(
  source: Repository,
  {
    installation,
    snapshots,
    there,
  }: { installation: string; snapshots: readonly ListedSnapshot[]; there: readonly ListedSnapshot[] },
  rules: Omit<WindowRules, "pointsMs"> & { signal: AbortSignal },
): Promise<ListedSnapshot[]> {
  const plan = planOf(await listContinuous(source, installation, { signal: rules.signal, snapshots }), rules);
  const known = sortContinuous(there, installation);
  const wanted = new Set<string>();
  for (const { listed } of plan.keepBases) {
    if (!known.bases.some(({ base }) => isSameBase(base, listed.base))) wanted.add(listed.id);
  }
  const spans = known.spans.map(({ span }) => span);
  for (const { listed } of plan.keepSpans) if (!isCovered(listed.span, spans)) wanted.add(listed.id);
  const rows = followsOf(there, installation);
  const seen = new Set<number>();
  for (const { follow, listed } of followsOf(snapshots, installation)) {
    const isThere = rows.some((row) => row.follow.beganMs === follow.beganMs && row.follow.files >= follow.files);
    if (!seen.has(follow.beganMs) && !isThere) wanted.add(listed.id);
    seen.add(follow.beganMs);
  }
  return snapshots.filter(({ id }) => wanted.has(id));
}

function isSameBase(a: Base, b: Base): boolean {
  return a.systemId === b.systemId && a.timeline === b.timeline && a.from === b.from && a.beganUs === b.beganUs;
}

/** Whether others together have every byte of it. */
function isCovered(span: WalSpan, others: readonly WalSpan[]): boolean {
  let at: Lsn = span.from;
  const own = others
    .filter(({ systemId, timeline }) => systemId === span.systemId && timeline === span.timeline)
    .toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
  for (const { from, to } of own) if (from <= at && to > at) at = to;
  return at >= span.to;
}
