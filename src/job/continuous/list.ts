/** What a repository has of an installation's continuous protection: bases, spans, followed files, and the journal. */
import { LIMITS } from "../../base/limits.ts";
import {
  type Base,
  baseOf,
  continuousPlace,
  FOLLOW,
  type Minimal,
  type WalSpan,
  walOf,
} from "../../point/continuous.ts";
import { installationTag } from "../../point/layout.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import { type CommitSummary, timesOf } from "../../point/wal-facts.ts";
import { type Window, type WindowBase, windowOf, type WindowPiece } from "../../policy/window.ts";
import { parseHistory, type TimelineHistory } from "../../wal/history.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { NOTHING_TWICE, type Settled, settleVersions } from "./versions.ts";
import { coverOf } from "./held-by-spans.ts";
import { type JournalList, type JournalObject, listJournal, readJournals, type RefusedObject } from "./journal.ts";

export interface ListedBase extends ListedSnapshot {
  readonly base: Base;
}

export interface ListedSpan extends ListedSnapshot {
  readonly span: WalSpan;
}

export type ClusterHistory = TimelineHistory & { readonly systemId: string };

export interface Continuous {
  /** Oldest first. */
  readonly bases: readonly ListedBase[];
  /** In the order in which they were written. */
  readonly spans: readonly ListedSpan[];
  readonly follows: readonly ListedSnapshot[];
  readonly journal: JournalList;
  /** Of timelines above the first, as spans, or objects of the journal where no span has one yet, tell. */
  readonly histories: readonly ClusterHistory[];
  /** Snapshots that say that they are one of these and do not say what: somebody changed their tags. */
  readonly odd: readonly ListedSnapshot[];
}

/** Of snapshots that were listed already. @param installation undefined for every installation's. */
export function sortContinuous(
  snapshots: readonly ListedSnapshot[],
  installation: string | undefined,
): Omit<Continuous, "journal" | "histories"> {
  const bases: ListedBase[] = [];
  const spans: ListedSpan[] = [];
  const follows: ListedSnapshot[] = [];
  const odd: ListedSnapshot[] = [];
  for (const listed of snapshots) {
    const { tags } = listed.snapshot;
    const kind = continuousPlace(tags);
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
  const found = { ...sortContinuous(listed, installation), journal };
  return { ...found, histories: await historiesOf(repository, found, { signal }) };
}

function keyOf({ systemId, timeline }: { systemId: string; timeline: number }): string {
  return `${systemId} ${timeline}`;
}

async function historiesOf(
  repository: Repository,
  { spans, journal }: Pick<Continuous, "spans" | "journal">,
  options: { signal: AbortSignal },
): Promise<ClusterHistory[]> {
  const known = new Map<string, ClusterHistory>();
  for (const { span } of spans) {
    if (span.parents === undefined) continue;
    const parents = span.parents.map((parent) => ({ ...parent, reason: "" }));
    known.set(keyOf(span), { systemId: span.systemId, timeline: span.timeline, parents });
  }
  for (const object of journal.objects) {
    if (object.timeline === 1 || known.has(keyOf(object))) continue;
    // One that cannot be used, or is gone, says nothing; the next may.
    for await (const { history } of readJournals(repository, [object], { ...options, onRefused: () => {} })) {
      const parsed = history === undefined ? undefined : parseHistory(object.timeline, history);
      if (parsed !== undefined) known.set(keyOf(object), { ...parsed, systemId: object.systemId });
    }
  }
  return [...known.values()];
}

/**
 * Which moments it makes.
 * @param read What was found in the journal: when what lies there was committed, and what cannot be used.
 */
export function windowIn(
  {
    bases,
    spans,
    journal,
    histories,
    settled = NOTHING_TWICE,
  }: Pick<Continuous, "bases" | "spans" | "journal" | "histories"> & { settled?: Settled },
  read: ReadObjects = { commits: new Map(), refused: [], settled },
): Window<ListedWindowBase> {
  const unusable = new Set(read.refused.map(({ name }) => name));
  const pieces: (WindowPiece & { readonly name: string })[] = spans.map(({ id, span }) => ({ ...span, name: id }));
  for (const object of journal.objects) {
    if (unusable.has(object.name)) continue;
    const commits = read.commits.get(object.name);
    const times = commits === undefined ? { firstCommitUs: undefined, lastCommitUs: undefined } : timesOf(commits);
    pieces.push({ ...object, ...times });
  }
  const minimal = pieces.flatMap((piece) => (piece.minimal === undefined ? [] : [{ ...piece, ...piece.minimal }]));
  return windowOf({
    bases: bases.map((listed) => ({ ...listed.base, id: listed.id, listed })),
    pieces: pieces.flatMap((piece) => withoutHoles(piece, read.settled, minimal)),
    histories,
    holes: [...read.settled.undecided, ...minimal.map((one) => ({ ...one, isMinimal: true }))],
  });
}

/** What of a piece counts. When what is left of it was committed is known of its own ends alone. */
function withoutHoles(
  piece: WindowPiece & { readonly name: string },
  { wrong, undecided }: Settled,
  minimal: readonly (WindowPiece & Minimal)[],
): WindowPiece[] {
  const isOf = ({ systemId, timeline }: WindowPiece) => systemId === piece.systemId && timeline === piece.timeline;
  const holes = [
    ...wrong.filter(({ name }) => name === piece.name).map((one) => ({ ...one, lastCommitUs: undefined })),
    ...undecided.filter(({ systemId, timeline }) => systemId === piece.systemId && timeline === piece.timeline),
    ...minimal.filter(isOf).map(({ from, to, lastUs }) => ({ from, to, lastCommitUs: lastUs })),
  ];
  let left: WindowPiece[] = [piece];
  for (const { from, to, lastCommitUs } of holes) {
    left = left.flatMap((one) => {
      if (to <= one.from || from >= one.to) return [one];
      const before = { ...one, to: from, firstCommitUs: lastCommitUs === undefined ? undefined : one.firstCommitUs };
      const behind = { ...one, from: to, firstCommitUs: undefined };
      return [...(from > one.from ? [{ ...before, lastCommitUs }] : []), ...(to < one.to ? [behind] : [])];
    });
  }
  return left;
}

export interface ReadObjects {
  /** By the objects' names; only of those that no span has. */
  readonly commits: ReadonlyMap<string, CommitSummary>;
  readonly refused: readonly RefusedObject[];
  /** Of what is there twice, what counts. */
  readonly settled: Settled;
}

/** All that a repository has of an installation, and the moments that it makes. @throws Failure of the store. */
export async function lookAtWindow(
  repository: Repository,
  installation: string,
  options: { signal: AbortSignal; snapshots?: readonly ListedSnapshot[] },
): Promise<Continuous & { readonly window: Window<ListedWindowBase>; readonly refused: readonly RefusedObject[] }> {
  const { continuous, read } = await listAndRead(repository, installation, options);
  return { ...continuous, window: windowIn(continuous, read), refused: read.refused };
}

/**
 * What a repository has, and when what lies in its journal was committed. A watch that stores a span meanwhile takes what it holds out of the
 * journal: then it is listed anew, so that what was read is what the list says.
 * @throws Failure of the store.
 */
export async function listAndRead(
  repository: Repository,
  installation: string,
  { signal, snapshots }: { signal: AbortSignal; snapshots?: readonly ListedSnapshot[] },
): Promise<{ readonly continuous: Continuous; readonly read: ReadObjects }> {
  let known = snapshots === undefined ? {} : { snapshots };
  for (let lists = 1; ; lists += 1) {
    const continuous = await listContinuous(repository, installation, { signal, ...known });
    let gone = 0;
    const read = await readJournalCommits(repository, continuous, { signal, onGone: () => (gone += 1) });
    if (gone === 0 || lists === LIMITS.journalLists) return { continuous, read };
    known = {};
  }
}

export interface ListedWindowBase extends WindowBase {
  readonly listed: ListedBase;
}

/**
 * When what lies in the journal was committed, by the objects' names: for {@link windowIn}. Only those are read that no span
 * has, which are a few minutes' worth.
 */
async function readJournalCommits(
  repository: Repository,
  { bases, spans, journal, histories }: Pick<Continuous, "bases" | "spans" | "journal" | "histories">,
  { signal, onGone }: { signal: AbortSignal; onGone: () => void },
): Promise<ReadObjects> {
  const commits = new Map<string, CommitSummary>();
  const refused: RefusedObject[] = [];
  const onRefused = (object: RefusedObject) => void refused.push(object);
  const young = objectsWithoutSpan(journal.objects, spans);
  const read = async (objects: readonly JournalObject[]) => {
    for await (const object of readJournals(repository, objects, { signal, onRefused, onGone })) {
      commits.set(object.name, object.commits);
    }
  };
  await read(young);
  const covered = coveredObjects(journal.objects, young);
  const usable = (objects: readonly JournalObject[]) => objects.filter(({ name }) => commits.has(name));
  const lists = { bases, spans, histories };
  const settled = await settleListed(repository, { ...lists, objects: usable(young), covered }, { signal });
  const doubtful = covered.filter((object) => isDoubtful(object, spans, settled));
  if (doubtful.length === 0) return { commits, refused, settled };
  await read(doubtful);
  const objects = usable([...young, ...doubtful]);
  return { commits, refused, settled: await settleListed(repository, { ...lists, objects, covered }, { signal }) };
}

/**
 * Those of which spans have all, by their names. They go when a span has their bytes, so there are few of them; where nothing can be
 * removed there are many, and none is looked at.
 */
export function coveredObjects(
  objects: readonly JournalObject[],
  young: readonly JournalObject[],
): readonly JournalObject[] {
  const own = new Set(young);
  const covered = objects.filter((object) => !own.has(object));
  return covered.length > LIMITS.coveredObjects ? [] : covered;
}

/** A span that has it is not the server's log there, or nobody can tell. */
function isDoubtful(object: JournalObject, spans: readonly ListedSpan[], { wrong, undecided }: Settled): boolean {
  const ofSpans = new Set<string>(spans.map(({ id }) => id));
  return [...wrong.filter(({ name }) => ofSpans.has(name)), ...undecided].some(
    ({ systemId, timeline, from, to }) =>
      systemId === object.systemId && timeline === object.timeline && from < object.to && to > object.from,
  );
}

/** Those of which spans do not have all. */
export function objectsWithoutSpan(
  objects: readonly JournalObject[],
  spans: readonly ListedSpan[],
): readonly JournalObject[] {
  const isCovered = coverOf(spans.map(({ span }) => span));
  return objects.filter((object) => !isCovered(object));
}

/** Of what is there twice, what counts, by the names of spans and of the objects given. */
export async function settleListed(
  repository: Repository,
  {
    bases,
    spans,
    histories,
    objects = [],
    covered = [],
  }: Pick<Continuous, "bases" | "spans" | "histories"> & {
    objects?: readonly JournalObject[];
    /** Where these lie, beginnings of segments are compared with what has more of them, too. */
    covered?: readonly JournalObject[];
  },
  { signal }: { signal: AbortSignal },
): Promise<Settled> {
  const all: Settled[] = [];
  // A cluster of which there is no base brings nothing back, whatever its log says.
  for (const [systemId, [listed]] of Map.groupBy(bases, ({ base }) => base.systemId)) {
    if (listed === undefined) continue;
    const { segmentBytes, major } = listed.base;
    const isListing = (timeline: number, start: Lsn) =>
      !covered.some(
        (one) =>
          one.systemId === systemId &&
          one.timeline === timeline &&
          one.from < start + BigInt(segmentBytes) &&
          one.to > start,
      );
    const toSettle = { systemId, segmentBytes, major, histories, spans, objects, isListing };
    all.push(await settleVersions(repository, toSettle, { signal }));
  }
  return { wrong: all.flatMap(({ wrong }) => wrong), undecided: all.flatMap(({ undecided }) => undecided) };
}
