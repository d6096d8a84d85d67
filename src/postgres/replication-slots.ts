/**
 * The replication slot of an installation: by it a server keeps its log until we have it. A permanent one is made only where
 * the server bounds what it keeps for slots (`max_slot_wal_keep_size`): without a bound, a repository that cannot be
 * reached for a week would fill the disk of the database. Elsewhere the slot is temporary and goes with the session.
 */
import { createHash } from "node:crypto";
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { describeAddress, type ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { quoteIdentifier } from "./names.ts";
import type { ReplicationSession } from "./replication.ts";

export interface Slot {
  readonly name: string;
  readonly isPhysical: boolean;
  readonly isTemporary: boolean;
  /** The server's process that reads from it now. */
  readonly activePid: number | undefined;
  /** The oldest byte that the server keeps for it; undefined where it keeps none yet. */
  readonly restart: Lsn | undefined;
  /** `reserved`, `extended`: the log is there; `unreserved`: it goes at the next checkpoint; `lost`: it is gone. */
  readonly walStatus: string | undefined;
  /** How much more the server may write before the log that the slot needs goes; undefined where there is no bound. */
  readonly safeBytes: number | undefined;
}

const NAME_MOST = 63;
const PREFIX = "chatkeep_";

/** The name of an installation's slot, which PostgreSQL allows small letters, digits and `_` only, 63 of them. */
export function slotName(installation: string): string {
  const plain = installation.toLowerCase().replaceAll(/[^a-z0-9_]/g, "_");
  if (plain === installation && PREFIX.length + plain.length <= NAME_MOST) return PREFIX + plain;
  // What was replaced or cut must not make one name of two.
  const mark = createHash("sha256").update(installation).digest("hex").slice(0, 8);
  return `${PREFIX}${plain.slice(0, NAME_MOST - PREFIX.length - mark.length - 1)}_${mark}`;
}

/** Digits of a process's number, which follows in a temporary slot's name: Linux counts to four million. */
const NUMBER_MOST = 7;

/** What the names of an installation's temporary slots begin with: each process of ours has one of its own. */
function temporaryPrefix(name: string): string {
  const most = NAME_MOST - NUMBER_MOST - 1;
  // The end of a long one tells it from others.
  const plain = name.length <= most ? name : `${name.slice(0, most - 9)}${name.slice(-9)}`;
  return `${plain}_`;
}

/** @param name of the installation's permanent slot. */
export function temporarySlotName(name: string): string {
  return `${temporaryPrefix(name)}${process.pid % 10 ** NUMBER_MOST}`;
}

/**
 * The names of an installation's slots, the permanent one's and those of its temporary ones, as a regular expression of PostgreSQL's.
 * @param name of the permanent one.
 */
export function ownSlots(name: string): string {
  return `^(${name}|${temporaryPrefix(name)}[0-9]+)$`;
}

interface SlotRow {
  name: string;
  type: string;
  temporary: boolean;
  pid: number | null;
  restart: string | null;
  status: string | null;
  safe: string | null;
  [key: string]: unknown;
}

const SLOTS = `
  select slot_name as name, slot_type as type, temporary, active_pid as pid, restart_lsn::text as restart,
    wal_status as status, safe_wal_size::text as safe
  from pg_catalog.pg_replication_slots`;

/** Undefined where the server has none of that name. Every role may ask. */
export async function readSlot(connection: Pick<Connection, "query">, name: string): Promise<Slot | undefined> {
  const [row] = await connection.query<SlotRow>(`${SLOTS} where slot_name = $1`, [name]);
  if (row === undefined) return undefined;
  return {
    name: row.name,
    isPhysical: row.type === "physical",
    isTemporary: row.temporary,
    activePid: row.pid ?? undefined,
    restart: row.restart === null ? undefined : parseLsn(row.restart),
    walStatus: row.status ?? undefined,
    safeBytes: row.safe === null ? undefined : Number(row.safe),
  };
}

/**
 * From where on a server needs its log itself, to come up again after a crash: what a slot keeps from there on fills no disk.
 * @returns undefined where the role may not ask. @throws Failure of the `database/` codes.
 */
export async function redoPosition(connection: Pick<Connection, "query">): Promise<Lsn | undefined> {
  try {
    const [row] = await connection.query<{ redo: string }>(
      "select redo_lsn::text as redo from pg_catalog.pg_control_checkpoint()",
    );
    return row === undefined ? undefined : parseLsn(row.redo);
  } catch (error) {
    if (!isFailure(error, "database/denied")) throw error;
    return undefined;
  }
}

/**
 * Two watches of one installation would keep everything twice and take one another's pieces for their own; temporary slots have
 * names of their own, which keep nobody apart.
 * @param name of the installation's permanent slot. @param own the one that this session may have.
 * @throws Failure `wal/slot-in-use` where another slot of the installation is read from.
 */
export async function refuseOtherReader(
  connection: Pick<Connection, "query" | "address">,
  name: string,
  own: string | undefined,
): Promise<void> {
  const [row] = await connection.query<SlotRow>(
    `${SLOTS} where active_pid is not null and slot_name::text is distinct from $1::text and slot_name::text ~ $2`,
    [own ?? null, ownSlots(name)],
  );
  if (row === undefined) return;
  throw slotFailure(`of this installation is read from by process ${row.pid ?? "?"}`, row.name, connection.address);
}

/**
 * Makes a slot that keeps the log from now on. A temporary one is the session's own and goes with it.
 * @throws Failure `database/full` where the server has no slot left, `database/denied`, `database/failed` where the name is taken.
 */
export async function createSlot(
  session: ReplicationSession,
  name: string,
  { isTemporary }: { isTemporary: boolean },
): Promise<{ name: string; consistent: Lsn | undefined }> {
  const kind = isTemporary ? " TEMPORARY" : "";
  const [row] = await session.command(`CREATE_REPLICATION_SLOT ${quoteIdentifier(name)}${kind} PHYSICAL RESERVE_WAL`);
  const at = row?.["consistent_point"];
  return { name, consistent: typeof at === "string" && isLsn(at) && at !== "0/0" ? parseLsn(at) : undefined };
}

/**
 * The installation's permanent slot: ours from an earlier run, or a new one.
 * @throws Failure `wal/slot-in-use` where another session reads from it, or somebody else made it;
 * `wal/gone` where the server has let go of what it kept.
 */
export async function adoptSlot(
  session: ReplicationSession,
  connection: Pick<Connection, "query">,
  name: string,
): Promise<Slot> {
  const found = await readSlot(connection, name);
  if (found === undefined) {
    await createSlot(session, name, { isTemporary: false });
    const made = await readSlot(connection, name);
    if (made === undefined) throw slotFailure("was dropped as soon as it was made", name, session.address);
    return made;
  }
  if (!found.isPhysical || found.isTemporary) {
    const kind = found.isPhysical ? "a temporary one of another session" : "one for logical replication";
    throw slotFailure(`is ${kind}, which is not ours`, name, session.address);
  }
  if (found.activePid !== undefined) {
    throw slotFailure(`is read from by process ${found.activePid}`, name, session.address);
  }
  if (found.walStatus === "lost") {
    throw new Failure("wal/gone", `the server has let go of what it kept for the slot '${name}'`, {
      hint: "More was written than max_slot_wal_keep_size allows while nobody read. Drop the slot; a new base begins the next range of moments.",
    });
  }
  return found;
}

/** Nothing where there is none. @throws Failure `wal/slot-in-use` where somebody reads from it. */
export async function dropSlot(
  session: ReplicationSession,
  connection: Pick<Connection, "query">,
  name: string,
): Promise<void> {
  if ((await readSlot(connection, name)) === undefined) return;
  await session.command(`DROP_REPLICATION_SLOT ${quoteIdentifier(name)}`);
}

/** A walsender whose client is gone ends within moments. Milliseconds. */
const READER_ENDS_MS = 15_000;
const LOOK_AGAIN_MS = 250;

/**
 * Drops it by a session of statements, which is let in where one of replication is not. Who reads from it may just be ending.
 * @throws Failure `wal/slot-in-use` where somebody goes on reading; of the `database/` codes.
 */
export async function dropOwnSlot(
  connection: Connection,
  name: string,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const until = systemClock.monotonic() + READER_ENDS_MS;
  for (;;) {
    const slot = await readSlot(connection, name);
    if (slot === undefined) return;
    if (slot.activePid === undefined) break;
    if (systemClock.monotonic() >= until)
      throw slotFailure(`is read from by process ${slot.activePid}`, name, connection.address);
    await systemClock.sleep(LOOK_AGAIN_MS, signal);
  }
  await connection.query("select pg_catalog.pg_drop_replication_slot($1)", [name]);
}

function slotFailure(what: string, name: string, address: ServerAddress): Failure {
  return new Failure("wal/slot-in-use", `the replication slot '${name}' ${what} (${describeAddress(address)})`, {
    hint: "Does another 'chatkeep watch' follow this installation, on another machine? One is enough: end one of them. 'select * from pg_stat_replication' at the server says from where it reads. A session of ours that was cut is let go of within wal_sender_timeout, and then it goes on by itself.",
  });
}
