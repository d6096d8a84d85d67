/**
 * Searches the log of a window for transactions by what they did: the DELETE that should not have been. The log is read once from
 * the first byte to the last, a segment at a time, and of what is found only so many are kept: memory does not grow with it.
 */
import { join } from "node:path";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import { formatMicros } from "../../point/continuous.ts";
import { formatPosition } from "../../point/moment.ts";
import { type Leg, placeOf, type Range } from "../../policy/window.ts";
import { SETTLES_US } from "../../policy/set-back.ts";
import type { Repository } from "../../repo/repository.ts";
import { openTemporaryFolder } from "../../system/temporary.ts";
import type { TransactionEnd } from "../../wal/events.ts";
import type { Lsn } from "../../wal/lsn.ts";
import {
  DATABASES,
  type FoundCommit,
  type SearchedRange,
  type TableChange,
  type UnnamedCommits,
} from "../commits-summary.ts";
import { droppedDatabases } from "./dropped-database.ts";
import type { Continuous, ListedWindowBase } from "./list.ts";
import { readCommits } from "./read-commits.ts";
import { openWal } from "./read-wal.ts";
import { nameOfFile, TableNames } from "./table-names.ts";

/** A transaction is wanted that did so much to one table. */
export interface WantedChange {
  readonly table: string | undefined;
  /** At least so many; a table that was emptied at once has lost more than any number. */
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

export interface CommitSearch {
  repository: Repository;
  installationId: string;
  continuous: Continuous;
  ranges: readonly Range<ListedWindowBase>[];
  names: ReadonlyMap<Range<ListedWindowBase>, TableNames>;
  wanted: WantedChange;
  /** Microseconds since 1970, by the server's clock. */
  sinceUs: bigint | undefined;
  untilUs: bigint | undefined;
  /** So many of the newest are kept. */
  limit: number;
  progress: Progress;
  signal: AbortSignal;
}

export interface FoundCommits {
  searched: SearchedRange[];
  commits: number;
  matching: number;
  found: FoundCommit[];
  unnamed: UnnamedCommits | null;
  unread: string[];
}

/** @throws Failure of the store, `moment/outside` where the log is not what its list says. */
export async function searchCommits(search: CommitSearch): Promise<FoundCommits> {
  const found: Finds = { searched: [], commits: 0, matching: 0, kept: [], unnamed: undefined, unread: [] };
  const stretches = search.ranges.flatMap((range) => stretchOf(range, search) ?? []);
  const [newest] = search.ranges.toReversed();
  if (stretches.length === 0 && newest !== undefined && isBehindAll(newest, search)) {
    const end = formatPosition(placeOf(search, { ...newest, lsn: newest.to }));
    found.searched.push({ from: end, to: end, bytes: 0 });
  }
  const total = stretches.reduce((sum, { legs }) => sum + bytesOf(legs), 0);
  search.progress.stage("reading the log", { total, unit: "bytes" });
  for (const stretch of stretches) await searchStretch(stretch, search, found);
  const { kept, unnamed, ...rest } = found;
  return {
    ...rest,
    found: kept.map((commit) => toldOf(commit, search)),
    unnamed: toldUnnamed(unnamed, newest?.systemId),
  };
}

/** While it is searched: words are made of what is kept in the end alone. */
type Finds = Omit<FoundCommits, "found" | "unnamed"> & {
  kept: KeptCommit[];
  unnamed: { commits: number; firstUs: bigint; lastUs: bigint; clusters: Set<string> } | undefined;
};

type KeptCommit = Pick<TransactionEnd, "timeUs" | "startLsn" | "lsn" | "xid" | "isWhole"> & {
  readonly systemId: string;
  readonly timeline: number;
  readonly tables: TableChange[];
};

function toldOf(
  { systemId, timeline, tables, timeUs, startLsn, lsn, xid, isWhole }: KeptCommit,
  search: CommitSearch,
): FoundCommit {
  const wordOf = (at: Lsn) => formatPosition(placeOf(search, { systemId, timeline, lsn: at }));
  return {
    at: formatMicros(timeUs),
    before: wordOf(startLsn),
    after: wordOf(lsn),
    xid,
    timeline,
    tables,
    whole: isWhole,
  };
}

/** @param followed The cluster that is followed now: of another one no base comes any more. */
function toldUnnamed(unnamed: Finds["unnamed"], followed: string | undefined): UnnamedCommits | null {
  if (unnamed === undefined) return null;
  const { commits, firstUs, lastUs, clusters } = unnamed;
  const baseComes = followed !== undefined && clusters.has(followed);
  return { commits, from: formatMicros(firstUs), to: formatMicros(lastUs), baseComes };
}

interface Stretch<R = Range<ListedWindowBase>> {
  readonly range: R;
  readonly legs: readonly Leg[];
}

function bytesOf(legs: readonly Leg[]): number {
  return legs.reduce((sum, { from, to }) => sum + Number(to - from), 0);
}

/** What of a range may hold what is asked for; undefined where nothing does. */
export function stretchOf<R extends Range>(
  range: R,
  { sinceUs, untilUs }: Pick<CommitSearch, "sinceUs" | "untilUs">,
): Stretch<R> | undefined {
  const from = max(range.from, sinceUs === undefined ? range.from : beginFor(range, sinceUs));
  const to = untilUs === undefined ? range.to : endFor(range, untilUs);
  const legs = range.legs
    .filter((leg) => leg.to > from && leg.from < to)
    .map((leg) => ({ ...leg, from: max(leg.from, from), to: leg.to < to ? leg.to : to }))
    .filter((leg) => leg.from < leg.to);
  return legs.length === 0 ? undefined : { range, legs };
}

function max(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}

/** Nothing was committed since then, as far as the log reaches. */
function isBehindAll(range: Range, { sinceUs }: Pick<CommitSearch, "sinceUs">): boolean {
  return sinceUs !== undefined && beginFor(range, sinceUs) >= range.to;
}

/** What a transaction did is looked for from so long before on: bulk work takes minutes, and young pieces of the log have seconds. */
const TRANSACTION_US = BigInt(LIMITS.spanMs) * 1000n;

/**
 * Earlier than need be: transactions take a while. Behind the last commit there is nothing. What was committed after a clock was set back
 * has earlier times, and what was before it counts, too.
 */
function beginFor({ samples, from, to }: Range, sinceUs: bigint): Lsn {
  if (!samples.some(({ us }) => us >= sinceUs - SETTLES_US)) return to;
  const at = samples.findIndex(({ us }) => us >= sinceUs - TRANSACTION_US);
  const first = samples[at]?.from ?? from;
  return samples.slice(0, at).findLast((sample) => sample.from < first)?.from ?? from;
}

/** One piece later than need be: of one that begins within another not all times are known. */
function endFor({ samples, from, to }: Range, untilUs: bigint): Lsn {
  const last = samples.findLast(({ us }) => us <= untilUs + SETTLES_US);
  if (last === undefined) return from;
  return samples.find((sample) => sample.to > last.to)?.to ?? to;
}

async function searchStretch({ range, legs }: Stretch, search: CommitSearch, found: Finds): Promise<void> {
  const { repository, installationId, continuous, signal } = search;
  const [served] = range.bases;
  if (served === undefined) return;
  const { systemId, segmentBytes, listed } = served.base;
  const { spans, journal, histories } = continuous;
  const names = search.names.get(range) ?? new TableNames();
  const log = { spans, journal: journal.objects, major: listed.base.major, histories };
  await using folder = await openTemporaryFolder("chatkeep-search");
  const wanted = { installation: installationId, systemId, segmentBytes, legs, ...log };
  await using wal = await openWal(repository, wanted, join(folder.path, "put-together"), { signal });
  const reading = { wal, legs, major: listed.base.major, systemId, segmentBytes, histories };
  const unread = await readCommits(reading, {
    onCommit: (event, leg) => consider(event, { timeline: leg.timeline, names, systemId }, search, found),
    onBytes: (bytes) => search.progress.advance(bytes),
    signal,
  });
  found.unread.push(...unread);
  const [first, last] = [legs[0], legs.at(-1)];
  if (first === undefined || last === undefined) return;
  found.searched.push({
    from: formatPosition(placeOf(search, { systemId, timeline: first.timeline, lsn: first.from })),
    to: formatPosition(placeOf(search, { systemId, timeline: last.timeline, lsn: last.to })),
    bytes: bytesOf(legs),
  });
}

function consider(
  event: TransactionEnd,
  { timeline, names, systemId }: { timeline: number; names: TableNames; systemId: string },
  search: CommitSearch,
  found: Finds,
): void {
  const { sinceUs, untilUs, limit } = search;
  if (sinceUs !== undefined && event.timeUs < sinceUs) return;
  if (untilUs !== undefined && event.timeUs > untilUs) return;
  found.commits += 1;
  if (event.dropped.some((file) => names.isUnknown(file)) || event.rows.some((file) => names.isUnknown(file))) {
    countUnnamed(found, event.timeUs, systemId);
  }
  const tables = changesOf(event, names);
  if (!tables.some((change) => isWanted(change, search.wanted))) return;
  found.matching += 1;
  const { timeUs, startLsn, lsn, xid, isWhole } = event;
  keepNewest(found.kept, { timeUs, startLsn, lsn, xid, isWhole, systemId, timeline, tables }, limit);
}

function countUnnamed(found: Finds, timeUs: bigint, systemId: string): void {
  const none = { commits: 0, firstUs: timeUs, lastUs: timeUs, clusters: new Set<string>() };
  const { commits, firstUs, lastUs, clusters } = found.unnamed ?? none;
  found.unnamed = {
    clusters: clusters.add(systemId),
    commits: commits + 1,
    firstUs: timeUs < firstUs ? timeUs : firstUs,
    lastUs: timeUs > lastUs ? timeUs : lastUs,
  };
}

/**
 * The newest by their times: of timelines that servers wrote at the same time one is read after the other. Oldest first; those of the same
 * time as they came.
 */
export function keepNewest<T extends { readonly timeUs: bigint }>(kept: T[], commit: T, limit: number): void {
  const at = kept.findLastIndex(({ timeUs }) => timeUs <= commit.timeUs) + 1;
  kept.splice(at, 0, commit);
  if (kept.length > limit) kept.shift();
}

function isWanted(change: TableChange, { table, inserted, updated, deleted }: WantedChange): boolean {
  if (table !== undefined && change.table !== table) return false;
  // A database that was dropped lost more than any number of rows.
  if (change.table === DATABASES) return inserted === 0 && updated === 0;
  return change.inserted >= inserted && change.updated >= updated && (change.replaced || change.deleted >= deleted);
}

/** By table: a table may have had two files in one transaction, and rows of TOAST tables are no rows that anybody wrote. */
function changesOf(event: TransactionEnd, names: TableNames): TableChange[] {
  const { rows, dropped, truncated } = event;
  const changes = new Map<string, TableChange>();
  const of = (table: string): TableChange => {
    const known = changes.get(table) ?? { table, inserted: 0, updated: 0, deleted: 0, replaced: false };
    changes.set(table, known);
    return known;
  };
  for (const counts of rows) {
    const name = names.isUnknown(counts) ? nameOfFile(counts) : names.covers(counts) ? names.nameOf(counts) : undefined;
    if (name === undefined || counts.inserted + counts.updated + counts.deleted === 0) continue;
    const change = of(name);
    change.inserted += counts.inserted;
    change.updated += counts.updated;
    change.deleted += counts.deleted;
  }
  const databases = droppedDatabases(event);
  if (databases > 0) of(DATABASES).deleted += databases;
  for (const file of dropped) {
    const name = names.isUnknown(file) ? nameOfFile(file) : names.covers(file) ? names.knownNameOf(file) : undefined;
    if (name !== undefined) of(name).replaced = true;
  }
  for (const oid of truncated) {
    const name = names.nameOfOid(oid);
    if (name !== undefined) of(name).replaced = true;
  }
  return [...changes.values()].toSorted((a, b) => weight(b) - weight(a) || (a.table < b.table ? -1 : 1));
}

function weight({ inserted, updated, deleted, replaced }: TableChange): number {
  return replaced ? Infinity : inserted + updated + deleted;
}
