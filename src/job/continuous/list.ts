/** What a repository has of an installation's continuous protection: bases, spans, followed files, and the journal. */
import { FOLLOW, type Base, BASE, baseOf, WAL, type WalSpan, walOf } from "../../point/continuous.ts";
import { installationTag, type RecordPlace } from "../../point/layout.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import { type JournalList, listJournal } from "./journal.ts";

export interface ListedBase extends ListedSnapshot {
  readonly base: Base;
}

export interface ListedSpan extends ListedSnapshot {
  readonly span: WalSpan;
}

export interface Continuous {
  /** Oldest first. */
  readonly bases: readonly ListedBase[];
  /** In the order in which they were written. */
  readonly spans: readonly ListedSpan[];
  readonly follows: readonly ListedSnapshot[];
  readonly journal: JournalList;
  /** Snapshots that say that they are one of these and do not say what: somebody changed their tags. */
  readonly odd: readonly ListedSnapshot[];
}

/** What a snapshot is to continuous protection; undefined for every other. */
export function continuousKind({ snapshot }: Pick<ListedSnapshot, "snapshot">): RecordPlace | undefined {
  return [BASE, WAL, FOLLOW].find(({ tag }) => snapshot.tags?.includes(tag));
}

/** Of snapshots that were listed already. @param installation undefined for every installation's. */
export function sortContinuous(
  snapshots: readonly ListedSnapshot[],
  installation: string | undefined,
): Omit<Continuous, "journal"> {
  const bases: ListedBase[] = [];
  const spans: ListedSpan[] = [];
  const follows: ListedSnapshot[] = [];
  const odd: ListedSnapshot[] = [];
  for (const listed of snapshots) {
    const kind = continuousKind(listed);
    const { tags } = listed.snapshot;
    if (kind === undefined) continue;
    if (installation !== undefined && tags?.includes(installationTag(installation)) !== true) continue;
    const base = baseOf(tags);
    const span = walOf(tags);
    if (kind === FOLLOW) follows.push(listed);
    else if (base !== undefined) bases.push({ ...listed, base });
    else if (span !== undefined) spans.push({ ...listed, span });
    else odd.push(listed);
  }
  return { bases, spans, follows, odd };
}

/** @throws Failure of the store. */
export async function listContinuous(
  repository: Repository,
  installation: string,
  { signal, snapshots }: { signal: AbortSignal; snapshots?: readonly ListedSnapshot[] },
): Promise<Continuous> {
  // The journal first: what is swept from it meanwhile is in a span that is listed after.
  const journal = await listJournal(repository, installation, { signal });
  const listed = snapshots ?? (await repository.listSnapshots({ signal })).snapshots;
  return { ...sortContinuous(listed, installation), journal };
}
