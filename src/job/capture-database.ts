/**
 * Saves the database as it was at one exported snapshot: the schema by pg_dump, every range of every table by COPY
 * over several connections, sequences. Ranges that did not change are taken over from the parent. A table that is
 * truncated or rewritten meanwhile makes the whole look start over, because a snapshot does not protect against that.
 */
import type { AccountCounts } from "../base/account-counts.ts";
import { EarlyWork, together } from "../base/concurrent.ts";
import { systemClock } from "../base/clock.ts";
import { bug, Failure, isFailure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Line } from "../base/line.ts";
import type { Progress } from "../base/progress.ts";
import type { Manifest, SequenceEntry, TableEntry, UnreadableEntry } from "../point/manifest.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { readTables, type TableFacts } from "../postgres/catalogue.ts";
import { CONFLICT_HINT, withConflictRetries } from "../postgres/conflict.ts";
import type { Connection } from "../postgres/connect.ts";
import { shownName } from "../postgres/names.ts";
import type { ClientPrograms } from "../postgres/programs.ts";
import { type LargeObjectsPlan, planLargeObjects } from "../postgres/large-objects.ts";
import { planAround } from "../postgres/damaged-plan.ts";
import { type EarlierCut, isOutgrown, planNothing, type RangePlan, type TablePlan } from "../postgres/range-plan.ts";
import type { RowsPlan } from "../postgres/range-reader.ts";
import { dumpSchema, type SchemaDump } from "../postgres/schema-dump.ts";
import { furthest, readSequences } from "../postgres/sequences.ts";
import { readServerState, type ServerFacts } from "../postgres/server-facts.ts";
import { beginSnapshot, type DatabaseSnapshot, waitUntilDurable } from "../postgres/snapshot.ts";
import { countSpareSessions } from "../postgres/spare-sessions.ts";
import { readStandbyState, type StandbyState } from "../postgres/standby.ts";
import { readTextDigest, STAMPS_SINCE } from "../postgres/stamps.ts";
import { readTimeouts } from "../postgres/timeouts.ts";
import { readFilledViews, type ViewName } from "../postgres/views.ts";
import { countAccounts, countedBy } from "./count-accounts.ts";
import { sequenceFindings } from "./check-triggers.ts";
import { addGrants, readRights, type SavedRights } from "./rights.ts";
import { captureLargeObjects, type SavedLargeObjects } from "./large-objects.ts";
import { planSessions, type SessionPlan, type SpareSessions } from "./plan-sessions.ts";
import {
  type PlannedTable,
  readRows,
  type Reuse,
  type RowsCompared,
  type RowsRead,
  type SavedTable,
  StaleRange,
} from "./read-rows.ts";
import { unreadableFindings } from "./unreadable.ts";
import { isSameState, keyEntry, type ParentRanges, STAMPS_VERSION, whyIncomparable, whyReadAll } from "./reuse.ts";
import type { RangeResult } from "./sealing-tasks.ts";
import { lagFindings, unloggedFindings, unloggedOf } from "./standby-findings.ts";

export interface DatabaseCapture {
  tables: SavedTable[];
  sequences: SequenceEntry[];
  rights: SavedRights;
  /** Undefined: there are none that our role may read. */
  largeObjects: SavedLargeObjects | undefined;
  filledViews: ViewName[];
  schema: SchemaDump;
  lsn: string;
  /** How long the snapshot was held: so long nothing that died meanwhile could be cleaned away. */
  snapshotSeconds: number;
  /** What the server was when the snapshot was taken; undefined for one that is no standby. */
  standby: StandbyState | undefined;
  /** What a later point needs to take ranges over; undefined where the server cannot tell what changed. */
  stamps: Manifest["stamps"];
  rangesReused: number;
  /** Of rows that were read, as text. */
  bytesRead: number;
  /** How much each account has. */
  accounts: AccountCounts[];
  findings: Finding[];
}

export interface DatabasePorts {
  address: ServerAddress;
  /** Outside a transaction: holds the snapshot, and is there for whoever had it before when all is read. */
  connection: Connection;
  server: ServerFacts;
  programs: ClientPrograms;
  /** Sessions that ranges are read over at once, where the server has so many. */
  readers: number;
  readRange(snapshotId: string, table: RowsPlan, range: RangePlan, sessions: number): Promise<RangeResult>;
  /** Ends the sessions that ranges were read over. */
  leaveDatabase(): Promise<void>;
  /** How the parent cut its tables, so that ranges stay where they are, and what it was read from. */
  parent: Manifest | undefined;
  /** What the parent has. */
  parentRanges: ParentRanges | undefined;
  /** Every row is read; of the parent is taken only what the server cannot give any more. */
  readsAll: boolean;
  /** The parent was restored and found to be other than it should be. */
  isDoubtful: boolean;
  /** RFC 3339: the start of the backup. */
  startedAt: string;
  /** Every row is read at least this often, in milliseconds. */
  fullEveryMs: number;
  /** Smaller tables are read without being looked through; otherwise `LIMITS.stampedTableBytes`. */
  stampedTableBytes?: number;
  /** How fast it may be read. */
  pace?: Line | undefined;
  /** What else is to be read in the same snapshot. What changed in which tables is known some time after it began. */
  alsoIn(snapshot: DatabaseSnapshot, compared: Promise<ComparedTables>): Promise<void>;
  progress: Progress;
  signal: AbortSignal;
}

/** Of the tables that were looked through. */
export type ComparedTables = ReadonlyMap<TableFacts, RowsCompared>;

const ATTEMPTS = 3;

/**
 * @throws Failure `database/changed` when tables were rewritten during each of three attempts; `database/conflict` when a
 * standby ended what read it in each of `LIMITS.conflictAttempts`; `database/full` when the server does not even have the
 * two sessions that it takes.
 */
export async function captureDatabase(ports: DatabasePorts): Promise<DatabaseCapture> {
  let { parentRanges } = ports;
  let spare = await countSpareSessions(ports.connection);
  let isTold = false;
  const tell = (line: string) => {
    if (!isTold) ports.progress.say(line);
    isTold = true;
  };
  const findings: Finding[] = [];
  // Begun again as a whole: what was stored of a range that was ended is stored already.
  const readRange: DatabasePorts["readRange"] = async (...range) =>
    await withConflictRetries(async () => await ports.readRange(...range));
  const tries = { changed: 0, ended: 0 };
  for (;;) {
    try {
      const capture = await captureOnce({ ...ports, readRange, parentRanges, spare, tellSpare: tell });
      await ports.leaveDatabase();
      return { ...capture, findings: [...findings, ...capture.findings] };
    } catch (error) {
      const isFull = isFailure(error, "database/full") && spare > 1;
      const isStale = error instanceof StaleRange;
      if (!isFull && !isStale) countTry(error, tries);
      await ports.leaveDatabase();
      if (isFull) {
        spare = 1;
        isTold = true;
        ports.progress.say(`${error.message}; starting over with two sessions`);
        continue;
      }
      if (isStale) {
        const finding = staleFinding(error);
        findings.push(finding);
        ports.progress.say(`${finding.message}; reading everything with a new snapshot`);
        parentRanges = undefined;
        continue;
      }
      await ports.connection.reopen();
      ports.progress.say(`${messageOf(error)}; starting over with a new snapshot`);
    }
  }
}

/** Throws what is no reason for beginning again, or was one too often. */
function countTry(error: unknown, tries: { changed: number; ended: number }): void {
  const isChanged = isFailure(error, "database/changed");
  if (!isChanged && !isFailure(error, "database/conflict")) throw error;
  const count = isChanged ? (tries.changed += 1) : (tries.ended += 1);
  const most = isChanged ? ATTEMPTS : LIMITS.conflictAttempts;
  if (count < most) return;
  const advice = isChanged ? "Is a migration running? Run the backup again when it has ended." : CONFLICT_HINT;
  throw new Failure(error.code, `${error.message}, in each of ${most} attempts`, {
    hint: `No restore point was made. ${advice}`,
    cause: error,
  });
}

/** No stamp of the parent's can be trusted any more. */
function staleFinding({ table, bucket }: StaleRange): Finding {
  return {
    kind: "stale-range",
    level: "alarm",
    message: `range ${bucket} of table ${shownName(table)} holds other rows than the last restore point, although the server says that nothing in it changed`,
    hint: "This point is whole: every row was read for it. Earlier ones may hold old rows in place of newer ones. Was the server's disk put back to an earlier state while it ran? If not, please report it.",
  };
}

type Attempt = DatabasePorts & SpareSessions;

async function captureOnce(ports: Attempt): Promise<DatabaseCapture> {
  const { connection, signal } = ports;
  const text = await readTextDigest(connection);
  let capture: DatabaseCapture;
  try {
    capture = await captureInSnapshot(ports, text);
  } catch (error) {
    // A label that was renamed meanwhile is no stale range.
    if (error instanceof StaleRange) await assertSameText(connection, text);
    // Where a standby ended the session that held the snapshot, the others only say that it is gone.
    if (isFailure(error, "database/unreachable")) await assertNotEnded(connection);
    throw error;
  }
  await assertSameText(connection, text);
  await waitUntilDurable(connection, capture.lsn, { signal });
  return capture;
}

/** @throws Failure `database/conflict` when a standby ended the session. */
async function assertNotEnded(connection: Connection): Promise<void> {
  try {
    await connection.query("select");
  } catch (error) {
    if (isFailure(error, "database/conflict")) throw error;
  }
}

async function captureInSnapshot(ports: Attempt, text: string): Promise<DatabaseCapture> {
  const { address, connection, progress } = ports;
  const timeouts = await readTimeouts(connection);
  await using snapshot = await beginSnapshot(connection);
  const heldSince = systemClock.monotonic();
  const standby = await readStandbyState(connection);
  // The schema is dumped beside everything else: all see the snapshot, and none waits for another.
  const { id: snapshotId } = snapshot;
  await using schema = new EarlyWork(
    async (stop) => await dumpSchema(address, ports.programs, { snapshotId, timeouts, signal: stop }),
    ports,
  );
  const { tables, problems } = await readTables(connection);
  const sessions = planSessions(tables, ports);
  if (sessions.atOnce < sessions.needed) await schema.result;
  const sequencesBefore = await readSequences(connection);
  const reuse = await planReuse(ports, snapshot, text);
  const planned: PlannedTable[] = [];
  for (const facts of tables) {
    const before = ports.parent?.tables.find((table) => table.schema === facts.schema && table.name === facts.name);
    const isThere = standby === undefined || !facts.isUnlogged;
    const { plan, unreadable } = isThere
      ? await planAround(connection, facts, before && earlierCut(before, reuse))
      : { plan: planNothing(facts), unreadable: [] };
    const saved: SavedTable = { entry: tableEntry(facts, plan), ranges: [] };
    if (unreadable.length > 0) saved.unreadable = new Map([["-", unreadable]]);
    planned.push({ facts, plan, saved, ...countedBy(facts) });
  }
  const objects = await planLargeObjects(connection, ports.parent?.largeObjects);
  const rights = await readRights(connection);
  const total = tables.reduce((sum, table) => sum + table.bytes, objects.bytes);
  progress.stage("reading the database", { total, unit: "bytes" });
  await using grants = new EarlyWork(
    async (stop) => await addGrants(rights, await schema.result, { ...ports, signal: stop }),
    ports,
  );
  const read = await readAllOf(ports, { snapshot, sessions, planned, reuse, objects, schema: grants.result });
  for (const table of planned) addUp(table.saved);
  const { largeObjects, counts, ...rows } = read;
  const sequences = await furthest(connection, sequencesBefore, await readSequences(connection));
  const filledViews = await readFilledViews(connection);
  const accounts = await countAccounts(snapshot, planned, counts);
  const dump = await schema.result;
  return {
    tables: planned.map(({ saved }) => saved),
    sequences,
    largeObjects,
    filledViews,
    schema: dump,
    rights: await grants.result,
    lsn: snapshot.lsn,
    snapshotSeconds: (systemClock.monotonic() - heldSince) / 1000,
    standby,
    stamps: reuse.stamps,
    accounts,
    ...rows,
    findings: [
      ...unreadableFindings(planned),
      ...problems,
      ...sequenceFindings(accounts, sequences, dump.sql),
      ...(standby === undefined ? [] : [...lagFindings(standby), ...unloggedFindings(unloggedOf(tables), "standby")]),
    ],
  };
}

interface ToRead {
  snapshot: DatabaseSnapshot;
  sessions: SessionPlan;
  planned: readonly PlannedTable[];
  reuse: Reuse;
  objects: LargeObjectsPlan;
  /** All that pg_dump and pg_restore are asked. */
  schema: Promise<unknown>;
}

/** The rows, the schema and what else is asked of the snapshot, all at once. */
async function readAllOf(
  ports: Attempt,
  { snapshot, sessions, planned, reuse, objects, schema }: ToRead,
): Promise<RowsRead & Pick<DatabaseCapture, "largeObjects">> {
  let read: RowsRead | undefined;
  let largeObjects: SavedLargeObjects | undefined;
  const { atOnce, needed } = sessions;
  const sharing = {
    isAllAtOnce: atOnce >= needed,
    scanners: Math.min(LIMITS.scanConnections, atOnce),
    readers: Math.min(ports.readers, atOnce),
  };
  const readObjects = async (signal: AbortSignal) => {
    largeObjects = await captureLargeObjects({ ...ports, ...sharing, signal }, snapshot.id, objects);
  };
  const compared = Promise.withResolvers<ComparedTables>();
  const works = [
    async () => void (await schema),
    async () => await ports.alsoIn(snapshot, compared.promise),
    async (signal: AbortSignal) => {
      // Whoever waits for it need not wait for what failed.
      using _ = { [Symbol.dispose]: () => compared.resolve(new Map()) };
      const rowPorts = { ...ports, ...sharing, onCompared: compared.resolve, signal };
      read = await readRows(rowPorts, snapshot.id, planned, reuse);
      if (!sharing.isAllAtOnce) await readObjects(signal);
    },
    ...(sharing.isAllAtOnce ? [readObjects] : []),
  ];
  await together(works, ports);
  if (read === undefined) throw bug("rows were neither read nor refused");
  return { ...read, largeObjects };
}

/**
 * Labels of enums are written as they are now, whatever the snapshot sees. So they must not have changed since before it was
 * taken: rows would hold labels that the schema does not have. The session must be outside the snapshot.
 */
async function assertSameText(connection: Connection, text: string): Promise<void> {
  if ((await readTextDigest(connection)) === text) return;
  throw new Failure("database/changed", "the labels of a type were changed while rows were being saved", {
    hint: "Is a migration running? Try again when it has ended.",
  });
}

async function planReuse(ports: Attempt, { connection, lsn }: DatabaseSnapshot, text: string): Promise<Reuse> {
  const { parent, parentRanges, isDoubtful, server, startedAt, fullEveryMs } = ports;
  // What was asked of the server at first must be true of the one that holds this snapshot.
  const isSame = isSameState(await readServerState(connection), server);
  const present = { server, lsn, text, startedAt, fullEveryMs };
  const why = isSame ? whyReadAll(parent, present) : "the server is not what it was when the backup began";
  const isMeant = parentRanges === undefined || ports.readsAll;
  if (why !== undefined && !isMeant) ports.progress.say(`reading every row: ${why}`);
  const isFull = isMeant || why !== undefined;
  if (server.major < STAMPS_SINCE || !isSame || lsn === "")
    return { text, stamps: undefined, ranges: undefined, isFull: true, isDoubtful };
  const fullReadAt = isFull ? startedAt : (parent?.stamps?.fullReadAt ?? startedAt);
  const stamps = { version: STAMPS_VERSION, text, fullReadAt, turn: (parent?.stamps?.turn ?? 0) + 1 };
  const ranges = whyIncomparable(parent, present) === undefined ? parentRanges : undefined;
  return { text, stamps, ranges, isFull, isDoubtful };
}

/** Only where every row is read anyway: ranges that are cut otherwise are all new. What the server cannot give is taken by them. */
function earlierCut({ k, j, bytes, ranges, unreadable }: TableEntry, { isFull }: Reuse): EarlierCut {
  return { k, j, isOutgrown: isFull && unreadable === undefined && isOutgrown({ bytes, ranges }) };
}

function addUp({ entry, ranges, unreadable }: SavedTable): void {
  if (unreadable !== undefined) entry.unreadable = [...unreadable.values()].flat().toSorted(compareEntries);
  ranges.sort((a, b) => compareBuckets(a.bucket, b.bucket));
  entry.ranges = ranges.length;
  entry.rows = ranges.reduce((sum, range) => sum + range.rows, 0);
  entry.bytes = ranges.reduce((sum, range) => sum + range.bytes, 0);
}

function compareEntries({ from: a }: UnreadableEntry, { from: b }: UnreadableEntry): number {
  return compareBuckets(a ?? "", b ?? "");
}

/** Buckets are decimal numbers of any size, or the one word for a whole table. */
function compareBuckets(a: string, b: string): number {
  if (!/^-?\d+$/.test(a) || !/^-?\d+$/.test(b)) return a < b ? -1 : 1;
  const difference = BigInt(a) - BigInt(b);
  if (difference === 0n) return 0;
  return difference < 0n ? -1 : 1;
}

function tableEntry(facts: TableFacts, plan: TablePlan): TableEntry {
  return {
    schema: facts.schema,
    name: facts.name,
    key: keyEntry(facts.key),
    columns: [...plan.columns],
    k: plan.k,
    j: plan.j,
    rows: 0,
    bytes: 0,
    ranges: 0,
  };
}
