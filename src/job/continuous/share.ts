/** Brings what one repository has of continuous protection into another: a base that was taken once, spans that one of them missed. */
import type { Clock } from "../../base/clock.ts";
import type { SnapshotId } from "../../base/ids.ts";
import { Copying, copiedSnapshot, isCopyOf } from "../../repo/copy.ts";
import { WATCH_USERNAME } from "../../repo/lock.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import { lockToRead, lockToWrite } from "../lock.ts";
import type { ListedSpan } from "./list.ts";

export interface ShareOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Copies snapshots with all that they need; what the other has is not sent again.
 * @throws Failure `repo/locked`, `repo/damaged`, of the stores. Those that were copied by then stay.
 */
export async function copySnapshots(
  from: Repository,
  to: Repository,
  snapshots: readonly ListedSnapshot[],
  { clock, signal: asked }: ShareOptions,
): Promise<SnapshotId[]> {
  if (snapshots.length === 0) return [];
  const [source, target] = [from.anew(), to.anew()];
  await Promise.all([source, target].map(async (one) => await one.expectSame({ signal: asked })));
  await using sourceLock = await lockToRead(source, { clock, signal: asked, lockedAs: WATCH_USERNAME });
  await using lock = await lockToWrite(target, { clock, signal: asked, lockedAs: WATCH_USERNAME });
  const signal = AbortSignal.any([asked, sourceLock.signal, lock.signal]);
  await using copying = await Copying.open(source, target, { signal, lock });
  for (const { snapshot } of snapshots) await copying.copyTree(snapshot.tree);
  await copying.finish();
  await lock.confirm({ signal });
  const copied: SnapshotId[] = [];
  for (const one of snapshots) copied.push(await target.saveSnapshot(copiedSnapshot(one), { signal }));
  return copied;
}

/** Spans of one repository of which another lacks something, in the log's order. */
export function spansLacking(theirs: readonly ListedSpan[], ours: readonly ListedSpan[]): ListedSpan[] {
  return theirs.filter((one) => !isCovered(one, ours) && !ours.some((own) => isCopyOf(one, own)));
}

function isCovered({ span }: ListedSpan, others: readonly ListedSpan[]): boolean {
  const own = others
    .map((other) => other.span)
    .filter(({ systemId, timeline }) => systemId === span.systemId && timeline === span.timeline)
    .toSorted((a, b) => (a.from < b.from ? -1 : 1));
  let at = span.from;
  for (const { from, to } of own) if (from <= at && to > at) at = to;
  return at >= span.to;
}
