/**
 * DROP DATABASE does its work before it is committed: the database is marked as not to be used, and its files go. So a moment before
 * that commit may have a database that nobody can connect to. Nothing is committed in a database while it is dropped: its moment is
 * that of the last commit in it.
 */
import { Failure } from "../../base/errors.ts";
import type { Progress } from "../../base/progress.ts";
import { formatMicros } from "../../point/continuous.ts";
import type { BaseFacts } from "../../point/base-facts.ts";
import type { Leg } from "../../policy/window.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect } from "../../postgres/connect.ts";
import type { Recovered } from "../../postgres/recovery.ts";
import { openToAll } from "../../postgres/recovery-prepared.ts";
import type { WalSource } from "../../postgres/recovery-wal.ts";
import type { TransactionEnd } from "../../wal/events.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import { positionIn } from "../moment-position.ts";
import type { Continuous } from "./list.ts";
import type { MomentSource } from "./moment.ts";
import { type CommitReading, readCommits } from "./read-commits.ts";

/** What is known of the databases of a cluster, to look for one that is not there. */
export interface DatabaseTrace {
  /** The end of the base: nothing before it can be had from it. */
  readonly baseTo: Lsn;
  /** When the base was taken; undefined for one that is younger. */
  oidOf(name: string): number | undefined;
  /** Reads the log up to a position. @throws Failure of the store. */
  lastCommitIn(oid: number, before: Lsn, options: TraceOptions): Promise<DatabaseEnd>;
  /** A position of the log as POINT takes it. */
  wordOf(end: Pick<EndOfCommit, "timeline" | "lsn">): string;
}

export interface TraceOptions {
  progress: Progress;
  signal: AbortSignal;
}

interface EndOfCommit {
  readonly timeline: number;
  readonly lsn: Lsn;
  /** Microseconds since 1970. */
  readonly timeUs: bigint;
}

export interface DatabaseEnd {
  /** The last commit that wrote in the database; undefined where there is none since the base was begun. */
  readonly last: EndOfCommit | undefined;
  /** When it was dropped: microseconds since 1970; undefined where no database was dropped since, or several. */
  readonly droppedUs: bigint | undefined;
}

/** `pg_database`, which all databases share. */
const DATABASES = 1262;

function writesIn({ rows, dropped }: TransactionEnd, oid: number): boolean {
  return [...rows, ...dropped].some(({ database }) => database === oid);
}

/** How many databases of the server a transaction dropped. */
export function droppedDatabases({ rows }: Pick<TransactionEnd, "rows">): number {
  return rows
    .filter(({ database, relation }) => database === 0 && relation === DATABASES)
    .reduce((sum, { deleted }) => sum + deleted, 0);
}

/** @param reading the log that is replayed on the base, with its legs; what of it lies before a position is read. */
async function lastCommitIn(
  oid: number,
  before: Lsn,
  reading: CommitReading,
  { progress, signal }: TraceOptions,
): Promise<DatabaseEnd> {
  const legs = reading.legs
    .filter(({ from }) => from < before)
    .map((leg) => ({ ...leg, to: leg.to < before ? leg.to : before }));
  const total = legs.reduce((sum, { from, to }) => sum + Number(to - from), 0);
  progress.stage("looking for the last commit in the database", { total, unit: "bytes" });
  let last: EndOfCommit | undefined;
  let drops: bigint[] = [];
  await readCommits(
    { ...reading, legs },
    {
      onCommit: (event, { timeline }) => {
        if (writesIn(event, oid)) {
          last = { timeline, lsn: event.lsn, timeUs: event.timeUs };
          drops = [];
        } else if (droppedDatabases(event) > 0) drops.push(event.timeUs);
      },
      onBytes: (bytes) => progress.advance(bytes),
      signal,
    },
  );
  return { last, droppedUs: drops.length === 1 ? drops[0] : undefined };
}

/** Where a database went is read from the log that is replayed. */
export function traceOf(
  { base, databases }: BaseFacts,
  wal: WalSource,
  continuous: Continuous,
  legs: readonly Leg[],
): DatabaseTrace {
  const { systemId, segmentBytes, major } = base;
  const reading = { wal, major, systemId, segmentBytes, legs, histories: continuous.histories };
  return {
    baseTo: base.to,
    oidOf: (name) => databases.find((one) => one.name === name)?.oid,
    lastCommitIn: async (oid, before, options) => await lastCommitIn(oid, before, reading, options),
    wordOf: ({ timeline, lsn }) =>
      positionIn(continuous, { systemIdentifier: systemId, timeline, replayedTo: formatLsn(lsn) }),
  };
}

export interface RecoveredDatabase<T> {
  made: T;
  /** On the database. */
  address: ServerAddress;
}

/**
 * Recovers a moment; where the database was just being dropped then, once more up to the last commit in it.
 * @param options `recoverTo`: recovers with a source, whose target may be another. `addressOf`: where the database should be.
 * @throws Failure `database/unsuitable` where it is not there at that moment, with the last that has it where that is known.
 */
export async function recoverDatabase<T extends { recovered: Recovered }>(
  source: MomentSource,
  {
    recoverTo,
    addressOf,
    ...options
  }: TraceOptions & {
    recoverTo: (source: MomentSource) => Promise<T>;
    addressOf: (recovered: Recovered) => Promise<ServerAddress>;
  },
): Promise<RecoveredDatabase<T>> {
  const made = await recoverTo(source);
  const address = await orDispose(made, async () => await addressOf(made.recovered));
  const found = await orDispose(made, async () => await stateOf(made.recovered, address, options));
  if (found === "there") return { made, address };
  const { replayedTo } = made.recovered;
  await made.recovered[Symbol.asyncDispose]();
  const trace = source.trace;
  if (found === "missing") throw await notThere(address.database, replayedTo, trace, options);
  if (trace === undefined) throw beingDropped(address.database);
  const { last } = await trace.lastCommitIn(found.oid, replayedTo, options);
  const lsn = last === undefined || last.lsn < trace.baseTo ? trace.baseTo : last.lsn;
  const told = last === undefined ? `lsn:${formatLsn(lsn)}` : `${trace.wordOf(last)} of ${formatMicros(last.timeUs)}`;
  options.progress.say(
    `the database '${address.database}' was just being dropped at that moment; it is recovered up to the last commit in it, ${told}`,
  );
  const { reach: _end, ...rest } = source;
  const again = await recoverTo({ ...rest, target: { kind: "lsn", lsn } });
  const state = await orDispose(again, async () => await stateOf(again.recovered, address, options));
  if (state !== "there") {
    await again.recovered[Symbol.asyncDispose]();
    throw beingDropped(address.database);
  }
  return { made: again, address: await orDispose(again, async () => await addressOf(again.recovered)) };
}

async function orDispose<T>({ recovered }: { recovered: Recovered }, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await recovered[Symbol.asyncDispose]();
    throw error;
  }
}

/** A server before 13.12, 14.9 and 15.4 does not mark it; then its folder alone is gone, and a connection says so. */
async function stateOf(
  { address }: Recovered,
  { database }: ServerAddress,
  { signal }: TraceOptions,
): Promise<"there" | "missing" | { oid: number }> {
  await using connection = await connect(address, { signal });
  const [row] = await connection.query<{ oid: number; dropping: boolean; open: boolean }>(
    "select oid::bigint::int as oid, datconnlimit = -2 as dropping, datallowconn as open from pg_catalog.pg_database where datname = $1",
    [database],
  );
  if (row === undefined) return "missing";
  if (row.dropping) return { oid: row.oid };
  if (!row.open) await openToAll(connection, database);
  return "there";
}

async function notThere(
  database: string,
  before: Lsn,
  trace: DatabaseTrace | undefined,
  options: TraceOptions,
): Promise<Failure> {
  const oid = trace?.oidOf(database);
  const found = oid === undefined ? undefined : await trace?.lastCommitIn(oid, before, options);
  const message = `the database '${database}' is not there at that moment`;
  if (trace === undefined || found?.last === undefined) {
    return new Failure("database/unsuitable", message, {
      hint: "Somebody may have dropped it: 'chatkeep moments --limit 20' shows the last commits, go back to one of them. Or is it not the name that Chatwoot uses (POSTGRES_DATABASE, or chatwoot_production)?",
    });
  }
  const { last, droppedUs } = found;
  const when =
    droppedUs === undefined
      ? `it was dropped or renamed after ${formatMicros(last.timeUs)}`
      : `it was dropped at ${formatMicros(droppedUs)}`;
  return new Failure("database/unsuitable", `${message}: ${when}`, {
    hint: `The moment before is that of the last commit in it: 'chatkeep restore ${trace.wordOf(last)} --plan'.`,
  });
}

function beingDropped(database: string): Failure {
  return new Failure("database/unsuitable", `the database '${database}' was being dropped at that moment`, {
    hint: "'chatkeep moments --limit 20' shows the last commits: go back to one before it.",
  });
}
