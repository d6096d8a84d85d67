/**
 * Puts one database in the place of another by renaming both.
 *
 * Both renames are one transaction, so at any moment, whatever is killed, one whole database has the live name. PostgreSQL
 * renames a database only while nobody is connected to it. A connection limit does not keep superusers out, and Chatwoot's
 * role often is one; but the first rename locks the database's own entry until the transaction ends, and whoever connects
 * meanwhile waits for that lock and then learns that the name is another database's. So sessions that are there need to be
 * ended once, and nobody comes in between.
 */
import { type Clock, formatInstant, systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { readHolders } from "./holders.ts";
import { commentStatement, isNote, keptName, type KeptNote, writeNote } from "./kept-databases.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { describeUsers, terminateStatement } from "./other-sessions.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";
import { connectBeside } from "./target.ts";

export interface Swap {
  /** The name that Chatwoot uses. */
  live: string;
  /** The database that gets it. */
  fresh: string;
  /** Why the one that had it is kept. */
  why: "before" | "rolledback";
  /** The restore point that was brought back. */
  point: string;
}

/** `object_in_use`. */
const IN_USE = "55006";
const PATIENCE_MS = 60_000;
const POLL_MS = 50;
/** The first half of the key of an advisory lock; the second is the name's hash. */
const LOCK_SPACE = 0x63_68_6b_70;
/** How long a lost session is asked after. */
const OUTCOME_MS = 20_000;

export interface SwapOptions {
  clock: Clock;
  signal: AbortSignal;
  patienceMs?: number;
  /** What becomes of a restored database that is not swapped in, for the hint. */
  stays?: string;
}

/**
 * Swaps; other sessions of both databases are ended. Names and note of the one that is put aside are of the moment of the swap.
 * A reply that was lost is asked for in a new session, so when it throws, nothing was swapped, unless the failure says that this
 * is not known.
 * @returns what the one that was live is called now.
 * @throws Failure `target/unsuitable` when the role may not rename, or a session does not end; `database/unreachable`.
 */
export async function swapDatabases(
  address: ServerAddress,
  swap: Swap,
  { clock, signal, patienceMs = PATIENCE_MS, stays = staysBeside(swap.fresh) }: SwapOptions,
): Promise<string> {
  const { live, fresh } = swap;
  await using connection = await connectBeside(address, { signal });
  await using ending = await connectBeside(address, { signal });
  const begun = await readBoth(connection, swap);
  const until = systemClock.monotonic() + patienceMs;
  for (;;) {
    const stop = new AbortController();
    const ended = endSessions(ending, [live, fresh], AbortSignal.any([signal, stop.signal]));
    try {
      return await swapOnce(connection, swap, clock);
    } catch (error) {
      await connection.query("rollback").catch(() => {});
      if (!connection.isOpen) return await findOutcome(address, swap, { ...begun, cause: error });
      // Somebody was connected for all of the five seconds that PostgreSQL waits.
      if (sqlState(error) !== IN_USE || systemClock.monotonic() >= until) {
        throw await swapFailure(error, ending, { ...swap, stays }, address);
      }
    } finally {
      stop.abort();
      await ended;
    }
  }
}

interface Begun {
  /** The server's process of the session that swaps. */
  process: number;
  /** Numbers of the two databases, which stay theirs; null for one that is not there. */
  liveOid: number | null;
  freshOid: number | null;
}

function oidOf(name: string): string {
  return `(select oid from pg_catalog.pg_database where datname = ${quoteLiteral(name)})`;
}

async function readBoth(connection: Connection, { live, fresh }: Swap): Promise<Begun> {
  const [row] = await connection.query<Begun & { [key: string]: unknown }>(
    `select pg_catalog.pg_backend_pid() as process, ${oidOf(live)} as "liveOid", ${oidOf(fresh)} as "freshOid"`,
  );
  if (row === undefined) throw new TypeError("the server did not say which databases there are");
  return row;
}

async function swapOnce(connection: Connection, { live, fresh, why, point }: Swap, clock: Clock): Promise<string> {
  await connection.query("begin");
  // One after the other, so that the moments in the notes are in the order of the swaps.
  await connection.query(
    `select pg_catalog.pg_advisory_xact_lock(${LOCK_SPACE}, pg_catalog.hashtext(${quoteLiteral(live)}))`,
  );
  const databases = await connection.query<{ name: string; comment: string | null }>(
    "select datname as name, pg_catalog.shobj_description(oid, 'pg_database') as comment from pg_catalog.pg_database",
  );
  const at = formatInstant(clock.now());
  const taken = databases.map(({ name }) => name);
  const kept = keptName(live, why, at, taken);
  const note: KeptNote = { chatkeep: why, of: live, point, at };
  const comment = databases.find(({ name }) => name === live)?.comment ?? null;
  for (const statement of [
    `alter database ${quoteIdentifier(live)} rename to ${quoteIdentifier(kept)}`,
    `alter database ${quoteIdentifier(fresh)} rename to ${quoteIdentifier(live)}`,
    commentStatement(kept, writeNote(note)),
    // One that says what it was kept for is not true of what is live: somebody had given it its name back by hand.
    commentStatement(live, comment !== null && isNote(comment) ? null : comment),
    "commit",
  ]) {
    await connection.query(statement);
  }
  return kept;
}

/**
 * Which of the two has the name, when the session that swapped is gone without a word: its transaction may have been committed.
 * @returns what the one that was live is called now. @throws what was thrown before where nothing was swapped.
 */
async function findOutcome(
  address: ServerAddress,
  { live }: Swap,
  { process, liveOid, freshOid, cause }: Begun & { cause: unknown },
): Promise<string> {
  // Also after an interruption: what is true must be said.
  const signal = AbortSignal.timeout(OUTCOME_MS);
  let rows: { oid: number; name: string }[];
  try {
    await using connection = await connectBeside(address, { signal });
    // While it is there it may be at its commit.
    const isThere = `select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
      where pid = ${process} and pid <> pg_catalog.pg_backend_pid() and application_name = pg_catalog.current_setting('application_name')`;
    while ((await connection.query(isThere)).length > 0) await systemClock.sleep(POLL_MS, signal);
    rows = await connection.query(`select oid, datname as name from pg_catalog.pg_database`);
  } catch {
    throw new Failure(
      "database/unreachable",
      `the connection was lost while the databases were swapped, and it is not known which one is called '${live}' now`,
      {
        hint: "One of the two is, and it is whole. As soon as the server answers, 'chatkeep rollback --plan' says which. Nothing is to be repaired.",
        cause,
      },
    );
  }
  const previous = rows.find(({ oid }) => oid === liveOid);
  const isSwapped = freshOid !== null && rows.some(({ oid, name }) => oid === freshOid && name === live);
  if (!isSwapped || previous === undefined) throw cause;
  return previous.name;
}

/** Ends every session of the databases, again and again until told to stop. */
async function endSessions(connection: Connection, names: readonly string[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // A session of a role that we may not end is told by the rename.
    await connection.query(terminateStatement(names)).catch(() => {});
    await systemClock.sleep(POLL_MS, signal).catch(() => {});
  }
}

/** What becomes of a restored database that could not be swapped in. */
export function staysBeside(fresh: string): string {
  return `The restored database stays beside the live one as '${fresh}', to be looked at: no command swaps it in, and the next restore removes it.`;
}

async function swapFailure(
  error: unknown,
  connection: Connection,
  { live, fresh, why, stays }: Swap & { stays: string },
  { user }: ServerAddress,
): Promise<unknown> {
  const state = sqlState(error);
  if (state === IN_USE) {
    const who = await describeUsers(connection, [live, fresh]);
    const rest = why === "before" ? stays : "Then run the rollback again.";
    return new Failure(
      "target/unsuitable",
      `what uses the database does not end: ${who.join(", ") || "it has gone meanwhile"}`,
      { hint: `Stop it, or let a superuser end it (pg_terminate_backend). Nothing was swapped. ${rest}`, cause: error },
    );
  }
  if (state === SQLSTATE.denied) {
    return new Failure("target/unsuitable", `'${user}' may not rename the database`, {
      hint: `Its owner with CREATEDB may: ALTER ROLE ${quoteIdentifier(user)} CREATEDB. Nothing was swapped.`,
      cause: error,
    });
  }
  return error;
}

/**
 * Removes a database that lies beside the live one; its sessions are ended, unless that is not wanted.
 * @param options.isOwn We made it and nobody used it: its subscriptions go too, without a word to the servers they name.
 * @param options.endsSessions False: who is connected keeps it from being removed.
 * @throws Failure `target/unsuitable` when something else holds it: nothing was removed.
 */
export async function dropDatabase(
  address: ServerAddress,
  name: string,
  { isOwn = false, endsSessions = true, signal }: { isOwn?: boolean; endsSessions?: boolean; signal: AbortSignal },
): Promise<void> {
  await using connection = await connectBeside(address, { signal });
  const drop = async () => {
    if (endsSessions) await connection.query(terminateStatement([name]));
    await connection.query(`drop database if exists ${quoteIdentifier(name)}`);
  };
  try {
    try {
      await drop();
    } catch (error) {
      if (!isOwn || sqlState(error) !== IN_USE) throw error;
      await forgetSubscriptions({ ...address, database: name }, { signal });
      await drop();
    }
  } catch (error) {
    if (sqlState(error) !== IN_USE) throw error;
    const { activeSlots, enabledSubscriptions, disabledSubscriptions } = await readHolders(connection, [name]);
    const who = [
      ...activeSlots.slice(0, 3).map((slot) => `replication slot '${slot}', which is in use`),
      ...[...enabledSubscriptions, ...disabledSubscriptions].slice(0, 3).map((one) => `subscription '${one}'`),
      ...(await describeUsers(connection, [name])),
    ];
    throw new Failure(
      "target/unsuitable",
      `database '${name}' cannot be dropped: ${who.join(", ") || "it is in use"}`,
      {
        hint: "Nothing of it was removed. Stop what reads from a slot. Connected to that database: ROLLBACK PREPARED ends a prepared transaction; ALTER SUBSCRIPTION … DISABLE, … SET (slot_name = NONE) and DROP SUBSCRIPTION a subscription, whose slot on the other server is left as it is.",
        cause: error,
      },
    );
  }
}

/** A subscription that still has a slot's name would drop the slot, on the other server, with itself: others may use it. */
async function forgetSubscriptions(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<void> {
  await using connection = await connect(address, { signal });
  const { enabledSubscriptions, disabledSubscriptions } = await readHolders(connection, [address.database]);
  for (const name of [...enabledSubscriptions, ...disabledSubscriptions].map(quoteIdentifier)) {
    await connection.query(`alter subscription ${name} disable`);
    await connection.query(`alter subscription ${name} set (slot_name = none)`);
    await connection.query(`drop subscription ${name}`);
  }
}

export interface SwapRights {
  canCreate: boolean;
  /** Has the rights of the role that owns the database: it is that role, or inherits them. */
  isOwner: boolean;
  /** Is the role that owns it or a member of it, with its rights or without. */
  isMember: boolean;
  /** May make that role the owner of another database. */
  canGive: boolean;
  owner: string;
  isOwnerSuperuser: boolean;
  major: number;
}

/** Whether our role could put another database in the place of this one. Changes nothing. */
export async function swapRights(connection: Connection, name: string): Promise<SwapRights | undefined> {
  // To be a member is not enough for a rename; and since 16 what gives an owner is SET, no longer membership.
  const [row] = await connection.query<SwapRights & { [key: string]: unknown }>(
    `select (r.rolsuper or r.rolcreatedb) as "canCreate", pg_catalog.pg_has_role(d.datdba, 'USAGE') as "isOwner",
       pg_catalog.pg_has_role(d.datdba, 'MEMBER') as "isMember",
       pg_catalog.pg_has_role(d.datdba, case when s.number >= 160000 then 'SET' else 'MEMBER' end) as "canGive",
       o.rolname as owner, o.rolsuper as "isOwnerSuperuser", s.number / 10000 as major
     from pg_catalog.pg_database d join pg_catalog.pg_roles o on o.oid = d.datdba, pg_catalog.pg_roles r,
       (select pg_catalog.current_setting('server_version_num')::int as number) s
     where d.datname = ${quoteLiteral(name)} and r.rolname = current_user`,
  );
  return row;
}
