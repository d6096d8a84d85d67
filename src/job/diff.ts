/**
 * What changed between two restore points of one installation, read from the repository alone. Lists and ids of trees say
 * what can differ, and only that is read; what is damaged is named, and the rest is compared all the same.
 */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { LARGE_OBJECTS } from "../point/layout.ts";
import type { Manifest, TableEntry } from "../point/manifest.ts";
import { diffNames, diffStorage, firstNames } from "./diff-files.ts";
import { ObjectTally } from "./diff-objects.ts";
import { changedColumns, type RowChange } from "./diff-rows.ts";
import type { ChangeKind, DiffRowIds, DiffSummary, DiffTable } from "./diff-summary.ts";
import { compareTable, entryOf, hasOtherColumns, planTables, type Side, tablesOf } from "./diff-tables.ts";
import type { PointReader } from "./point-reader.ts";

export interface DiffOptions {
  repositoryName: string;
  /** Only this table, with its rows' ids: `messages`, or with its schema in front. */
  table?: string | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** @param points in either order. */
export async function diff(points: readonly [PointReader, PointReader], options: DiffOptions): Promise<DiffSummary> {
  const started = options.clock.monotonic();
  const [first, second] = points;
  if (first.point.installationId !== second.point.installationId) {
    throw new Failure(
      "usage/invalid",
      `restore points ${shortId(first.point.id)} and ${shortId(second.point.id)} are of two installations`,
      { hint: "Compare two points of one; 'chatkeep list --all' shows which belong together." },
    );
  }
  const isSwapped = first.point.takenAtMs > second.point.takenAtMs;
  const [before, after] = await sidesOf(isSwapped ? [second, first] : points);
  const summary = newSummary(before, after, isSwapped, options);
  if (options.table === undefined) await compareAll(before, after, summary, options);
  else await compareOne(before, after, options.table, summary, options);
  summary.seconds = (options.clock.monotonic() - started) / 1000;
  return summary;
}

async function sidesOf([a, b]: readonly [PointReader, PointReader]): Promise<[Side, Side]> {
  return [
    { reader: a, manifest: await a.manifest() },
    { reader: b, manifest: await b.manifest() },
  ];
}

function place({ reader: { point } }: Side): DiffSummary["before"] {
  return { point: point.id, takenAt: point.snapshot.time };
}

/** How many migrations the one has run and the other has not. */
function migrationsBeyond(one: Manifest, other: Manifest): number {
  const known = new Set(other.chatwoot.migrations);
  return one.chatwoot.migrations.filter((migration) => !known.has(migration)).length;
}

function newSummary(before: Side, after: Side, swapped: boolean, { repositoryName }: DiffOptions): DiffSummary {
  const [a, b] = [before.manifest, after.manifest];
  return {
    type: "summary",
    verb: "diff",
    repository: repositoryName,
    installation: { id: b.installation.id, name: b.installation.name },
    before: place(before),
    after: place(after),
    swapped,
    tables: [],
    tablesCompared: 0,
    accounts: null,
    largeObjects: null,
    storage: null,
    config: null,
    code: null,
    secrets: null,
    chatwoot: { before: a.chatwoot.version, after: b.chatwoot.version },
    postgresql: { before: a.server.version, after: b.server.version },
    migrations: { added: migrationsBeyond(b, a), removed: migrationsBeyond(a, b) },
    rows: null,
    read: { ranges: 0, bytes: 0 },
    damaged: [],
    seconds: 0,
  };
}

async function compareAll(before: Side, after: Side, summary: DiffSummary, options: DiffOptions): Promise<void> {
  const { damaged } = summary;
  const objects = new ObjectTally(before, after, damaged);
  await compareTables(before, after, tablesOf(before, after), (table) => objects.watcher(table), summary, options);
  summary.accounts = await objects.finish();
  summary.largeObjects = await diffLargeObjects(before, after);
  options.progress.stage("comparing files");
  const files = { signal: options.signal, damaged };
  summary.storage = await diffStorage(before, after, files);
  summary.config = await diffNames(before, after, "config", files);
  const head = { before: before.manifest.code.head ?? null, after: after.manifest.code.head ?? null };
  summary.code = { ...(await diffNames(before, after, "code", files)), head };
  summary.secrets = diffSecrets(before.manifest, after.manifest);
}

function countOf({ manifest }: Side): number {
  return manifest.largeObjects?.objects ?? 0;
}

/** Their folders have one tree where they are the same. */
async function diffLargeObjects(before: Side, after: Side): Promise<DiffSummary["largeObjects"]> {
  const path = `database/${LARGE_OBJECTS}`;
  const [a, b] = await Promise.all([before, after].map(async ({ reader }) => await reader.folderTree(path)));
  return a === b ? null : { before: countOf(before), after: countOf(after) };
}

async function compareTables(
  before: Side,
  after: Side,
  tables: readonly { schema: string; name: string }[],
  watchers: (table: DiffTable) => ((change: RowChange) => void) | undefined,
  summary: DiffSummary,
  { progress, signal }: DiffOptions,
): Promise<void> {
  const { damaged, read } = summary;
  progress.stage("looking for what differs");
  const work = await planTables(before, after, tables, damaged);
  if (work === undefined) return;
  const bytes = work
    .flatMap(({ pairs }) => pairs.flatMap((pair) => [...pair.before, ...pair.after]))
    .reduce((sum, range) => sum + range.bytes, 0);
  progress.stage("comparing rows", { total: bytes, unit: "bytes" });
  for (const one of work) {
    signal.throwIfAborted();
    await compareTable(before, after, one, {
      watch: watchers(one.result),
      damaged,
      onDone: ({ ranges, bytes: size, isRead }) => {
        read.ranges += isRead ? ranges : 0;
        read.bytes += isRead ? size : 0;
        progress.advance(size);
      },
    });
  }
  summary.tablesCompared = tables.length;
  summary.tables = work.map(({ result }) => result).filter(isDifferent);
}

/** Rows that were only cut in another way are equal when they have been read. */
function isDifferent(table: DiffTable): boolean {
  const isNew = table.rowsBefore === null || table.rowsAfter === null;
  return isNew || table.isPartial || hasOtherColumns(table) || table.added + table.changed + table.removed > 0;
}

async function compareOne(
  before: Side,
  after: Side,
  name: string,
  summary: DiffSummary,
  options: DiffOptions,
): Promise<void> {
  const table = findTable(before, after, name);
  const entry = entryOf(after, table) ?? entryOf(before, table);
  const ids = new RowIds(`${table.schema}.${table.name}`, entry?.key ?? { kind: "none", columns: [] });
  await compareTables(before, after, [table], () => (change) => ids.take(change), summary, options);
  summary.rows = ids.listed;
}

/** @throws Failure `usage/invalid` when there is no such table, or several. */
function findTable(before: Side, after: Side, name: string): { schema: string; name: string } {
  const all = tablesOf(before, after);
  const exact = all.find((table) => `${table.schema}.${table.name}` === name);
  const named = all.filter((table) => table.name === name);
  const found = exact ?? named.find(({ schema }) => schema === "public") ?? (named.length === 1 ? named[0] : undefined);
  if (found !== undefined) return found;
  throw new Failure(
    "usage/invalid",
    named.length > 1 ? `'${name}' is in several schemas` : `neither restore point has a table '${name}'`,
    { hint: "'chatkeep ls POINT database/data' shows the tables, each with its schema in front." },
  );
}

/** The ids of the first rows that differ. */
class RowIds {
  readonly listed: DiffRowIds;
  readonly #key: readonly string[];

  constructor(table: string, key: TableEntry["key"]) {
    this.#key = key.columns;
    this.listed = { table, hasIds: key.kind !== "none", added: [], changed: [], removed: [] };
  }

  take(change: RowChange): void {
    const { hasIds, added, changed, removed } = this.listed;
    const row = change.kind === "removed" ? change.before : change.after;
    if (!hasIds || this.listed[change.kind].length >= LIMITS.diffListed) return;
    const id = this.#key.map((column) => row.value(column) ?? "").join(", ");
    if (change.kind === "added") added.push(id);
    else if (change.kind === "removed") removed.push(id);
    else changed.push({ id, columns: changedColumns(change.before, change.after) });
  }
}

/**
 * Fingerprints are made with a key of the repository in which a point was made. When not one is the same, the points were
 * most likely made in two, and nothing can be said.
 */
function diffSecrets(before: Manifest, after: Manifest): NonNullable<DiffSummary["secrets"]> {
  const old = new Map(before.secrets.map(({ name, hmac }) => [name, hmac]));
  const now = new Map(after.secrets.map(({ name, hmac }) => [name, hmac]));
  const names: Record<ChangeKind, string[]> = { added: [], changed: [], removed: [] };
  let isKnown = ![...now.keys()].some((name) => old.has(name));
  for (const [name, hmac] of now) {
    const other = old.get(name);
    if (other === undefined) names.added.push(name);
    else if (other === hmac) isKnown = true;
    else names.changed.push(name);
  }
  for (const name of old.keys()) if (!now.has(name)) names.removed.push(name);
  if (!isKnown) names.changed = [];
  return { ...firstNames(names), isKnown };
}
