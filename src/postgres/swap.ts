/**
 * Puts one database in the place of another by renaming both, and finds what earlier swaps kept.
 *
 * Both renames are one transaction, so at any moment, whatever is killed, one whole database has the live name. PostgreSQL
 * renames a database only while nobody is connected to it. A connection limit does not keep superusers out, and Chatwoot's
 * role often is one; but the first rename locks the database's own entry until the transaction ends, and whoever connects
 * meanwhile waits for that lock and then learns that the name is another database's. So sessions that are there need to be
 * ended once, and nobody comes in between.
 */
import { systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { readHolders } from "./holders.ts";
import { quoteIdentifier, quoteLiteral } from "./names.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";
import { connectBeside } from "./target.ts";

/** Why a database lies beside the live one. */
export type KeptKind = "before" | "rolledback" | "restoring";

/** What the comment of a database that we made or put aside says. */
export interface KeptNote {
  chatkeep: KeptKind;
  /** The live name that it had, or is to have. */
  of: string;
  /** The restore point that was brought back. */
  point: string;
  /** RFC 3339: when it was put aside, or begun. */
  at: string;
}

export interface KeptDatabase extends KeptNote {
  name: string;
  bytes: number;
  /** Sessions that use it now. */
  sessions: number;
}

const NAME_BYTES = 63;

/** `chatwoot_production_before_20260301T020304`, no longer than PostgreSQL's names can be. */
export function keptName(live: string, kind: KeptKind, at: string): string {
  const end = `_${kind}_${at.replaceAll(/[-:]/g, "").slice(0, 15)}`;
  const room = NAME_BYTES - end.length;
  let base = live;
  while (Buffer.byteLength(base) > room) base = base.slice(0, -1);
  return `${base}${end}`;
}

/** Those of a live name that earlier restores put aside or left behind, the newest first. Changes nothing. */
export async function listKept(address: ServerAddress, { signal }: { signal: AbortSignal }): Promise<KeptDatabase[]> {
  await using connection = await connectBeside(address, { signal });
  const rows = await connection.query<{ name: string; note: string | null; bytes: string; sessions: number }>(
    `select d.datname as name, pg_catalog.shobj_description(d.oid, 'pg_database') as note,
       case when pg_catalog.has_database_privilege(d.oid, 'connect') then pg_catalog.pg_database_size(d.oid) else 0 end::text as bytes,
       (select count(*)::int from pg_catalog.pg_stat_activity a where a.datid = d.oid) as sessions
     from pg_catalog.pg_database d
     where pg_catalog.shobj_description(d.oid, 'pg_database') like '{"chatkeep":%' or d.datname ~ '_restoring_[0-9]{8}T[0-9]{6}$'`,
  );
  return rows
    .flatMap(({ name, note, bytes, sessions }) => {
      const read = note === null ? readName(name, address.database) : readNote(note);
      return read?.of === address.database ? [{ ...read, name, bytes: Number(bytes), sessions }] : [];
    })
    .toSorted((a, b) => (a.at < b.at ? 1 : -1));
}

/** Begins with the word by which databases of ours are found. */
function writeNote({ chatkeep, of, point, at }: KeptNote): string {
  return JSON.stringify({ chatkeep, of, point, at });
}

function readNote(text: string): KeptNote | undefined {
  try {
    const note = JSON.parse(text) as Partial<KeptNote>;
    const { chatkeep, of, point, at } = note;
    const isKind = chatkeep === "before" || chatkeep === "rolledback" || chatkeep === "restoring";
    if (!isKind || typeof of !== "string" || typeof point !== "string" || typeof at !== "string") return undefined;
    return { chatkeep, of, point, at };
  } catch {
    return undefined;
  }
}

/** A run that was killed before it said what its database is has at least given it its name. */
function readName(name: string, live: string): KeptNote | undefined {
  const [, year, month, day, hour, minute, second] =
    /_restoring_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)$/.exec(name) ?? [];
  const at = `${year}-${month}-${day}T${hour}:${minute}:${second}Z`;
  if (year === undefined || keptName(live, "restoring", at) !== name) return undefined;
  return { chatkeep: "restoring", of: live, point: "", at };
}

/** Says in a database's comment what it is, so that the next run knows it. */
export async function noteDatabase(connection: Connection, name: string, note: KeptNote): Promise<void> {
  await connection.query(commentStatement(name, writeNote(note)));
}

function commentStatement(name: string, text: string | null): string {
  return `comment on database ${quoteIdentifier(name)} is ${text === null ? "null" : quoteLiteral(text)}`;
}

export interface Swap {
  /** The name that Chatwoot uses. */
  live: string;
  /** The database that gets it. */
  fresh: string;
  /** What the one that had it is called from now on, and why. */
  kept: string;
  note: KeptNote;
}

/** `object_in_use`. */
const IN_USE = "55006";
const PATIENCE_MS = 60_000;
const POLL_MS = 50;

/**
 * Swaps; other sessions of both databases are ended. When it throws, nothing was swapped.
 * @throws Failure `target/unsuitable` when the role may not rename, or a session does not end.
 */
export async function swapDatabases(
  address: ServerAddress,
  swap: Swap,
  { signal, patienceMs = PATIENCE_MS }: { signal: AbortSignal; patienceMs?: number },
): Promise<void> {
  const { live, fresh, kept, note } = swap;
  await using connection = await connectBeside(address, { signal });
  await using ending = await connectBeside(address, { signal });
  const until = systemClock.monotonic() + patienceMs;
  const [row] = await connection.query<{ comment: string | null }>(
    `select pg_catalog.shobj_description(oid, 'pg_database') as comment from pg_catalog.pg_database where datname = ${quoteLiteral(live)}`,
  );
  const statements = [
    "begin",
    `alter database ${quoteIdentifier(live)} rename to ${quoteIdentifier(kept)}`,
    `alter database ${quoteIdentifier(fresh)} rename to ${quoteIdentifier(live)}`,
    commentStatement(kept, writeNote(note)),
    commentStatement(live, row?.comment ?? null),
    "commit",
  ];
  for (;;) {
    const stop = new AbortController();
    const ended = endSessions(ending, [live, fresh], AbortSignal.any([signal, stop.signal]));
    try {
      for (const statement of statements) await connection.query(statement);
      return;
    } catch (error) {
      await connection.query("rollback").catch(() => {});
      // Somebody was connected for all of the five seconds that PostgreSQL waits.
      if (sqlState(error) !== IN_USE || systemClock.monotonic() >= until) {
        throw await swapFailure(error, ending, swap, address);
      }
    } finally {
      stop.abort();
      await ended;
    }
  }
}

/** Ends the sessions that our role may end. */
function terminateStatement(names: readonly string[]): string {
  return `select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
    where datname in (${names.map(quoteLiteral).join(", ")}) and pid <> pg_catalog.pg_backend_pid() and backend_type = 'client backend'
      and ((select rolsuper from pg_catalog.pg_roles where rolname = current_user) or pg_catalog.pg_has_role(usesysid, 'MEMBER')
        or (pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')
          and not coalesce((select rolsuper from pg_catalog.pg_roles where oid = usesysid), true)))`;
}

/** Ends every session of the databases, again and again until told to stop. */
async function endSessions(connection: Connection, names: readonly string[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // A session of a role that we may not end is told by the rename.
    await connection.query(terminateStatement(names)).catch(() => {});
    await systemClock.sleep(POLL_MS, signal).catch(() => {});
  }
}

async function swapFailure(
  error: unknown,
  connection: Connection,
  { live, fresh, note }: Swap,
  { user }: ServerAddress,
): Promise<unknown> {
  const state = sqlState(error);
  if (state === IN_USE) {
    const who = await describeUsers(connection, [live, fresh]);
    const rest =
      note.chatkeep === "before"
        ? `The restored database stays beside the live one as '${fresh}', to be looked at: no command swaps it in, and the next restore removes it.`
        : "Then run the rollback again.";
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

/** Sessions, and what has none: at most three of each. */
async function describeUsers(connection: Connection, databases: readonly string[]): Promise<string[]> {
  const sessions = await connection.query<{ pid: number; role: string | null; program: string; type: string }>(
    `select pid, usename as role, application_name as program, backend_type as type from pg_catalog.pg_stat_activity
     where datname in (${databases.map(quoteLiteral).join(", ")}) order by pid limit 3`,
  );
  const { prepared } = await readHolders(connection, databases);
  return [
    ...sessions.map(({ pid, role, program, type }) => {
      const of = role === null ? type : `role '${role}'`;
      return `process ${pid} of ${of} (${program || "no name"})`;
    }),
    ...prepared.slice(0, 3).map((name) => `prepared transaction '${name}' (COMMIT PREPARED or ROLLBACK PREPARED)`),
  ];
}

/**
 * Gives a new database what belongs to a database's entry and not to its content: the owner, settings (for all roles and
 * for single ones), connection limit and rights of the one whose place it takes.
 * @returns the settings that our role may not give it, as `name = value`.
 */
export async function copyDatabaseEntry(
  connection: Connection,
  { from, to }: { from: string; to: string },
): Promise<string[]> {
  const lacking: string[] = [];
  const target = quoteIdentifier(to);
  const [entry] = await connection.query<{ owner: string; connections: number; acl: boolean }>(
    `select pg_catalog.pg_get_userbyid(datdba) as owner, datconnlimit as connections, datacl is not null as acl
     from pg_catalog.pg_database where datname = ${quoteLiteral(from)}`,
  );
  if (entry === undefined) return lacking;
  const settings = await connection.query<{ role: string | null; name: string; value: string }>(
    `select case when s.setrole = 0 then null else pg_catalog.pg_get_userbyid(s.setrole) end as role,
       pg_catalog.split_part(c, '=', 1) as name, pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) as value
     from pg_catalog.pg_db_role_setting s join pg_catalog.pg_database d on d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) c
     where d.datname = ${quoteLiteral(from)} order by 1 nulls first, 2`,
  );
  const grants = await connection.query<{ role: string; right: string; grantable: boolean }>(
    `select case when a.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end as role,
       a.privilege_type as right, a.is_grantable as grantable
     from pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a where d.datname = ${quoteLiteral(from)}`,
  );
  await connection.query("begin");
  try {
    for (const { role, name, value } of settings) {
      const whose = role === null ? `database ${target}` : `role ${quoteIdentifier(role)} in database ${target}`;
      const parameter = name.split(".").map(quoteIdentifier).join(".");
      await connection.query("savepoint setting");
      try {
        // What is in force in our session is written as the server itself would: some settings are lists.
        await connection.query(
          `select pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, true); alter ${whose} set ${parameter} from current`,
        );
        await connection.query("release savepoint setting");
      } catch (error) {
        if (sqlState(error) !== SQLSTATE.denied) throw error;
        await connection.query("rollback to savepoint setting");
        lacking.push(`${name} = ${value}${role === null ? "" : ` (role ${role})`}`);
      }
    }
    if (entry.connections >= 0)
      await connection.query(`alter database ${target} connection limit ${entry.connections}`);
    if (entry.acl) {
      await connection.query(`revoke all on database ${target} from public`);
      for (const { role, right, grantable } of grants) {
        await connection.query(
          `grant ${right} on database ${target} to ${role}${grantable ? " with grant option" : ""}`,
        );
      }
    }
    await connection.query(`alter database ${target} owner to ${quoteIdentifier(entry.owner)}`);
    await connection.query("commit");
    return lacking;
  } catch (error) {
    await connection.query("rollback").catch(() => {});
    throw error;
  }
}

/**
 * Removes a database that lies beside the live one; its sessions are ended.
 * @param options.isOwn We made it and nobody used it: its subscriptions go too, without a word to the servers they name.
 * @throws Failure `target/unsuitable` when something else holds it: nothing was removed.
 */
export async function dropDatabase(
  address: ServerAddress,
  name: string,
  { isOwn = false, signal }: { isOwn?: boolean; signal: AbortSignal },
): Promise<void> {
  await using connection = await connectBeside(address, { signal });
  const drop = async () => {
    await connection.query(terminateStatement([name]));
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
  /** Owner of the database, or a member of the role that owns it. */
  isOwner: boolean;
  owner: string;
}

/** Whether our role could put another database in the place of this one. Changes nothing. */
export async function swapRights(connection: Connection, name: string): Promise<SwapRights | undefined> {
  const [row] = await connection.query<{
    create: boolean;
    owns: boolean;
    owner: string;
  }>(
    `select (r.rolsuper or r.rolcreatedb) as create, (r.rolsuper or pg_catalog.pg_has_role(d.datdba, 'MEMBER')) as owns,
       pg_catalog.pg_get_userbyid(d.datdba) as owner
     from pg_catalog.pg_database d, pg_catalog.pg_roles r where d.datname = ${quoteLiteral(name)} and r.rolname = current_user`,
  );
  if (row === undefined) return undefined;
  return { canCreate: row.create, isOwner: row.owns, owner: row.owner };
}
