/**
 * Takes a restore point. In order: new files first, then everything in one database snapshot, then the files that
 * came in between; packs, index, and last of all the snapshot that makes the point exist.
 */
import { userInfo } from "node:os";
import type { AccountCounts } from "../base/account-counts.ts";
import { type Clock, formatInstant } from "../base/clock.ts";
import { assert } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { Line } from "../base/line.ts";
import type { Progress } from "../base/progress.ts";
import { formatGoTime } from "../format/go-time.ts";
import type { Installation } from "../installation/installation.ts";
import {
  importedTag,
  installationTag,
  instantTag,
  POINT_TAG,
  SNAPSHOT_PATH,
  tornTag,
  versionTag,
} from "../point/layout.ts";
import { type ImportedEntry, type Manifest, missingFiles, tablesLackingRows } from "../point/manifest.ts";
import { beginningOf } from "../point/ranges.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { Connection } from "../postgres/connect.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import type { FallLimits } from "../policy/shrinkage.ts";
import type { ServerFacts } from "../postgres/server-facts.ts";
import { retrying } from "../postgres/standby.ts";
import { readWhileSettling } from "../repo/lock.ts";
import type { Repository } from "../repo/repository.ts";
import { acksElsewhere, acksOf, awaitingAck, type KnownAcks, type ListedElsewhere, readAck, SHRUNK } from "./acks.ts";
import { storePoint } from "./build-point.ts";
import { captureDatabase, type ComparedTables, type DatabaseCapture } from "./capture-database.ts";
import { type ElseCapture, Gathering, judgeElse, readSnapshotFacts, type SnapshotFacts } from "./capture-else.ts";
import { captureStorage, type StorageCapture, type StoragePorts } from "./capture-storage.ts";
import { type ComparedStorage, countStorage, listStorageAtOnce, type StorageListing } from "./list-storage.ts";
import { lossFindings, storageFindings } from "./findings.ts";
import { beginToWrite } from "./lock.ts";
import { awaitLateFiles } from "./late-files.ts";
import { buildManifest } from "./manifest.ts";
import { findParent, type Parent } from "./parent.ts";
import { followedFiles, installationThen, type MomentParts, storedElse } from "./moment-parts.ts";
import { listPoints, type PointList } from "./points.ts";
import { ParentRanges } from "./reuse.ts";
import { isAckable, quietKnown, quietTold } from "./quiet.ts";
import { Sealing, SealingThreads } from "./sealing.ts";
import { judgeShrinkage, type Shrinkage } from "./shrinkage.ts";
import { Sources, type StorageSettings } from "./sources.ts";
import { SourceDatabase } from "./source-database.ts";
import { noStandbyFinding } from "./standby-findings.ts";
import type { StorageState } from "./storage-state.ts";
import type { BackupSummary } from "./summaries.ts";

export interface BackupOptions {
  repository: Repository;
  /** The repository's name in the configuration, or its location. */
  repositoryName: string;
  installation: Installation;
  identity: { id: string; name: string };
  address: ServerAddress;
  /** `address` is meant to be a standby's. */
  fromStandby?: boolean;
  /** What discovery found worth telling. */
  findings: readonly Finding[];
  tags: readonly string[];
  /** Reads every row and every file again, even those that the parent has. */
  full: boolean;
  /** Every row is read at least this often, in milliseconds. */
  fullEveryMs: number;
  /** How much accounts may lose without an alarm. */
  fallLimits: FallLimits;
  /** The other repositories that answer: asked for only when something is loud that may be acknowledged there. */
  others?: (() => Promise<ListedElsewhere[]>) | undefined;
  /** The database is read no faster, in bytes a second. */
  maxRate?: number | undefined;
  /** Chatkeep's own configuration file, to be saved too. */
  ownConfig: string | undefined;
  /** The database is an old dump, which was loaded for this: the point is of the dump's own time, and built upon nothing. */
  imported?: ImportedEntry | undefined;
  /** The database was recovered as it was at a moment: the point is of that moment, and what is no row comes from other points. */
  moment?: MomentParts | undefined;
  /** What the configuration says of storage services. */
  storageSettings?: StorageSettings | undefined;
  /** Sealing threads, each with a connection to the database. */
  workers: number | undefined;
  /** Name and version of this program, for the manifest. */
  program: string;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/**
 * Makes one restore point.
 * @throws Failure when no complete point could be made; what was stored so far is used by the next run.
 */
export async function backup(options: BackupOptions): Promise<BackupSummary> {
  const { repository, clock } = options;
  const startedMs = clock.monotonic();
  const startedAt =
    options.imported?.madeAt ?? options.moment?.startedAt ?? formatGoTime(BigInt(clock.now()) * 1_000_000n);
  const lockLost = new AbortController();
  const signal = AbortSignal.any([options.signal, lockLost.signal]);
  const run: Run = { ...options, signal, startedAt };
  // A lock must settle before it counts: meanwhile everything begins that changes nothing.
  await using gathering = run.moment?.other === undefined ? new Gathering(run) : undefined;
  await using threads = new SealingThreads({ repository, signal, ...workersOf(options) });
  await using source = new SourceDatabase(run);
  await using lock = await beginToWrite(repository, options);
  lock.signal.addEventListener("abort", () => lockLost.abort(lock.signal.reason));
  lock.signal.throwIfAborted();
  const { distrusted, indexFiles, parent, list, ...found } = await readWhileSettling(
    lock,
    async () => await lookAtRepository(run),
  );
  const { connection, server, programs, expectedChunks, findings: aboutDatabase } = await source.opened;
  const counted = await countStorage(retrying(connection), run.full ? new Map() : (parent?.storage ?? new Map()));
  await using sealing = await Sealing.open({
    repository,
    lock,
    address: options.address,
    // Every uploaded file is a chunk or more.
    expectedChunks: expectedChunks + counted.folders.reduce((sum, { count }) => sum + count, 0),
    isPrepared: true,
    threads,
    signal,
  });
  const tools = { sealing, indexFiles, gathering, connection, counted, server, programs, parent, list };
  const captured = await capture(run, tools);
  const { database, storage, looks, other } = captured;
  const told = [
    ...options.findings,
    ...aboutDatabase,
    ...(options.fromStandby === true && !server.isStandby ? [noStandbyFinding(options.address)] : []),
    ...database.findings,
    ...captured.aboutStorage,
    ...found.findings,
    ...lossFindings({ packs: distrusted, chunks: repository.unreadable, files: filesLost(looks) }),
    ...other.findings,
  ];
  const files = countFiles(storage);
  const { shrinkage, findings } = await judge(run, { list, parent, accounts: database.accounts, files, told });
  const manifest = buildManifest({
    ...options,
    imported: options.imported,
    moment: options.moment?.entry,
    startedAt,
    endedAt: formatInstant(clock.now()),
    parent: parent?.point.id ?? null,
    server,
    programs,
    ...captured,
    indexFiles: indexFiles.map(beginningOf),
    shrinkage,
    findings,
  });
  run.progress.stage("writing the restore point");
  const tree = await storePoint(
    { manifest, database, storage, config: other.config, code: other.code, parent },
    sealing,
  );
  await sealing.finish();
  await lock.confirm({ signal });
  const tagged = { ...run, tags: [...run.tags, ...shrinkage.tags] };
  const point = await saveSnapshot(tagged, manifest, tree, parent);
  const seconds = (clock.monotonic() - startedMs) / 1000;
  return summarize(run, manifest, { point, parent, database, added: sealing.added, seconds });
}

type Run = BackupOptions & { startedAt: string };

/** The index, made fit for a backup, and the parent. */
async function lookAtRepository(run: Run) {
  const { repository, signal } = run;
  // Asked for beside the index: a remote place is far away.
  const listing = listPoints(repository, { signal });
  listing.catch(() => {});
  const prepared = await repository.prepareToWrite({ signal });
  const found = run.moment ?? (run.imported === undefined ? await findParent({ ...run, list: listing }) : NO_PARENT);
  return { ...prepared, indexFiles: repository.indexFiles, list: await listing, ...found };
}

const NO_PARENT: { parent?: Parent; findings: Finding[] } = { findings: [] };

interface Judged {
  list: PointList;
  parent: Parent | undefined;
  accounts: readonly AccountCounts[];
  files: number;
  /** What else there is to tell. */
  told: readonly Finding[];
}

/**
 * Whether accounts shrank, and what is to be told when what is known is quiet. Where something would be loud that somebody may have
 * acknowledged in another repository, while this one did not answer, that one is asked too.
 */
async function judge(run: Run, judged: Judged): Promise<{ shrinkage: Shrinkage; findings: Finding[] }> {
  const { repository, identity, signal, others } = run;
  const { list } = judged;
  const here: KnownAcks = {
    acks: acksOf(list, identity.id),
    read: async (record) => await readAck(repository, record, { signal }),
  };
  const first = await judgeBy([here], run, judged);
  if (others === undefined || !first.findings.some(awaitsAck)) return first;
  const elsewhere = await acksElsewhere(await others(), list, identity.id, { signal });
  return elsewhere.length === 0 ? first : await judgeBy([here, ...elsewhere], run, judged);
}

function awaitsAck({ kind, level }: Finding): boolean {
  return level !== "note" && (kind === SHRUNK || isAckable(kind));
}

async function judgeBy(
  known: readonly KnownAcks[],
  { identity, fallLimits: limits, moment }: Run,
  { list, parent, accounts, files, told }: Judged,
): Promise<{ shrinkage: Shrinkage; findings: Finding[] }> {
  const records = known.flatMap(({ acks }) => acks);
  const awaiting = awaitingAck({ points: list.points, records }, identity.id);
  const points = new Set(list.points.map(({ id }) => id));
  // What is of a moment was less than it is now in everything: it is compared with nothing.
  const before = moment === undefined ? parent : undefined;
  const shrinkage = await judgeShrinkage(accounts, files, { parent: before, known, awaiting, points, limits });
  const quiet = await quietKnown([...told, ...shrinkage.findings], known);
  return { shrinkage, findings: sortFindings(quietTold(quiet, parent?.manifest.findings ?? [])) };
}

function countFiles(storage: StorageState): number {
  const folders = [...storage.values()].flatMap((service) => [...service.folders.values()]);
  return folders.reduce((sum, folder) => sum + folder.count, 0);
}

function filesLost(looks: readonly StorageCapture[]): number {
  return looks.reduce((sum, look) => sum + look.lost, 0);
}

function workersOf({ workers }: BackupOptions): { workers?: number } {
  return workers === undefined ? {} : { workers };
}

function paceOf({ maxRate, clock }: BackupOptions): Line | undefined {
  if (maxRate === undefined) return undefined;
  return new Line(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT), 0, maxRate, clock);
}

interface Tools {
  sealing: Sealing;
  /** Of the repository, before anything was added. */
  indexFiles: readonly string[];
  gathering: Gathering | undefined;
  connection: Connection;
  /** What the database listed at the beginning, counted. */
  counted: StorageListing;
  server: ServerFacts;
  programs: ClientPrograms;
  parent: Parent | undefined;
  list: PointList;
}

interface Captured {
  database: DatabaseCapture;
  storage: StorageState;
  looks: StorageCapture[];
  purged: number;
  aboutStorage: Finding[];
  other: ElseCapture;
}

async function capture(run: Run, tools: Tools): Promise<Captured> {
  const { sealing, connection, counted, server, programs, parent } = tools;
  const saved = run.moment?.saved ?? run.installation;
  const rows = parent?.rows;
  await using sources = new Sources({ ...run, settings: run.storageSettings });
  const ports = await storagePorts(run, { ...tools, sources }, async (blob) => (await rows?.has(blob)) === true);
  run.progress.stage("saving new files", { unit: "files" });
  // A file that is read again and found lost is still taken over from the parent, so the parent is always known.
  const before = parent?.storage ?? new Map();
  const index = await run.repository.loadIndex({ signal: run.signal });
  const isIndexKept = keepsIndex(parent?.manifest.indexFiles, tools.indexFiles);
  const isKept = (tree: ChunkId) => isIndexKept && index.has("tree", tree);
  const first = await captureStorage({ ...ports, isKept, settles: true, rereadAll: run.full }, counted, before);
  // What was read longest must not wait for a database that may be locked, nor the database for a line that may be slow.
  await sealing.send();
  let listing: StorageListing | undefined;
  let facts: SnapshotFacts | undefined;
  const isStored = (id: ChunkId) => index.has("data", id);
  // A parent that was restored and found to be other than it should be hands nothing on that can be read.
  const isDoubtful = parent?.point.proof?.proven === false;
  const database = await captureDatabase({
    address: run.address,
    connection,
    server,
    programs,
    readers: run.workers ?? LIMITS.sealingWorkers,
    leaveDatabase: async () => await sealing.leaveDatabase(),
    parentRanges: parent === undefined ? undefined : new ParentRanges(parent.reader, parent.manifest, isStored),
    // A server that was recovered for a moment can never say what changed since the parent, and nobody need hear that.
    readsAll: run.full || isDoubtful || run.moment !== undefined,
    isDoubtful,
    startedAt: run.startedAt,
    fullEveryMs: run.fullEveryMs,
    pace: paceOf(run),
    readRange: (snapshotId, table, range, sessions) => sealing.readRange(snapshotId, table, range, sessions),
    parent: parent?.manifest,
    async alsoIn(snapshot, compared) {
      facts = await readSnapshotFacts(snapshot, saved);
      const rowsOfBlobs = comparedBlobs(await compared, parent);
      listing = await snapshot.lookAt(
        [BLOBS],
        async (inside) => await listStorageAtOnce(inside, first.state, rowsOfBlobs),
      );
    },
    progress: run.progress,
    signal: run.signal,
  });
  assert(listing !== undefined && facts !== undefined, "the database was captured without its list of files");
  // The second look takes over from the first, so the first one's trees must be readable.
  await sealing.flush();
  run.progress.stage("saving files that came meanwhile", { unit: "files" });
  const look = await captureStorage(ports, listing, first.state);
  const second =
    run.moment !== undefined
      ? { look, purged: 0 }
      : await awaitLateFiles(
          {
            ...run,
            storage: ports,
            database: retrying(connection),
            isStandby: database.standby !== undefined,
            flush: () => sealing.flush(),
          },
          listing,
          look,
        );
  // Stored only now, so that a database that cannot be read leaves nothing new in the repository.
  const storeContent = (bytes: Buffer) => sealing.storeContent(bytes);
  const stored = await storedElse(run, tools.gathering, { ...run, storeFiles: ports.storeFiles, storeContent });
  const installation = installationThen(run, facts);
  const other = await judgeElse(stored, { installation, facts, keys: run.repository.keys });
  const storage = second.look.state;
  const aboutStorage = storageFindings(storage, parent?.storage, (name) => sources.outageOf(name));
  return { database, storage, looks: [first, second.look], purged: second.purged, aboutStorage, other };
}

const BLOBS = { schema: "public", name: "active_storage_blobs" };

function comparedBlobs(tables: ComparedTables, parent: Parent | undefined): ComparedStorage | undefined {
  const found = [...tables].find(([{ schema, name }]) => schema === BLOBS.schema && name === BLOBS.name);
  return found === undefined || parent === undefined ? undefined : { compared: found[1], parent: parent.storage };
}

/**
 * True when the index still holds all that it held when the parent was begun. Index files are never changed: whatever
 * takes something out of the index writes other ones.
 */
function keepsIndex(before: readonly string[] | undefined, now: readonly string[]): boolean {
  const names = new Set(now.map(beginningOf));
  return before !== undefined && before.length > 0 && before.every((name) => names.has(name));
}

async function storagePorts(
  run: Run,
  { sealing, sources, list }: Pick<Tools, "sealing" | "list"> & { sources: Sources },
  isKnownRow: StoragePorts["isKnownRow"],
): Promise<StoragePorts> {
  const index = await run.repository.loadIndex({ signal: run.signal });
  const followed = followedFiles({ ...run, snapshots: list.continuous, installationId: run.identity.id });
  return {
    sources,
    storeFiles: (files) => sealing.storeFiles(files),
    storeObjects: (task) => sealing.storeObjects(task),
    storeTree: (bytes) => sealing.storeTree(bytes),
    isStored: (id) => index.has("data", id),
    trusted: new Set(),
    isKnownRow,
    ...(run.moment === undefined ? { followed } : { elsewhere: run.moment.elsewhere }),
    isKept: () => false,
    settles: false,
    readTree: (id) => run.repository.readTree(id, { signal: run.signal }),
    onFile: () => run.progress.advance(1),
    rereadAll: false,
    signal: run.signal,
    startedAt: run.startedAt,
  };
}

async function saveSnapshot(run: Run, manifest: Manifest, tree: ChunkId, parent: Parent | undefined): Promise<string> {
  const tags = [POINT_TAG, installationTag(run.identity.id), instantTag(manifest.startedAt), ...run.tags];
  if (manifest.chatwoot.version !== null) tags.push(versionTag(manifest.chatwoot.version));
  if (run.moment !== undefined) tags.push(...run.moment.tags);
  if (manifest.imported !== undefined) tags.push(importedTag(manifest.imported.clientVersion));
  const torn = tablesLackingRows(manifest).length;
  if (torn > 0) tags.push(tornTag(torn));
  return await run.repository.saveSnapshot(
    {
      time: manifest.startedAt,
      ...(parent === undefined ? {} : { parent: parent.point.snapshotId }),
      tree,
      paths: [SNAPSHOT_PATH],
      hostname: run.identity.name,
      username: userInfo().username,
      tags,
      programVersion: run.program,
    },
    { signal: run.signal },
  );
}

interface Outcome {
  point: string;
  database: DatabaseCapture;
  parent: Parent | undefined;
  added: { bytes: number; packs: number };
  seconds: number;
}

function summarize(run: Run, manifest: Manifest, { point, parent, database, added, seconds }: Outcome): BackupSummary {
  const sum = (pick: (table: Manifest["tables"][number]) => number) =>
    manifest.tables.reduce((n, table) => n + pick(table), 0);
  return {
    type: "summary",
    verb: "backup",
    point,
    parent: parent?.point.id ?? null,
    seconds,
    database: {
      tables: manifest.tables.length,
      rows: sum((table) => table.rows),
      ranges: sum((table) => table.ranges),
      rangesRead: manifest.read.rangesRead,
      rangesReused: manifest.read.rangesReused,
      bytesRead: database.bytesRead,
      snapshotSeconds: database.snapshotSeconds,
      ...(manifest.server.standby === undefined ? {} : { standby: manifest.server.standby }),
    },
    storage: {
      blobs: manifest.storage.reduce((n, service) => n + service.blobs, 0),
      bytes: manifest.storage.reduce((n, service) => n + service.bytes, 0),
      copied: manifest.read.blobsCopied,
      reused: manifest.read.blobsReused,
      missing: missingFiles(manifest.storage),
      purged: manifest.read.purged,
    },
    added,
    repository: run.repositoryName,
    copies: [],
    findings: manifest.findings,
  };
}
