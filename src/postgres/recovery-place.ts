/**
 * Makes the files of a base a data folder that a server of ours recovers in: nothing that the cluster was told about its old
 * machine counts here, nothing of it is archived or replicated anywhere, and nobody but us gets in.
 */
import { chmod, lchown, lstat, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { formatLsn, type Lsn } from "../wal/lsn.ts";
import type { User } from "./scratch-place.ts";
import { RESTORE_COMMAND } from "./recovery-wal.ts";

/** Where replaying the log ends. */
export type RecoveryTarget =
  /** Everything that was committed until then, by the server's clock: microseconds since 1970. */
  | { kind: "time"; us: bigint }
  /** Everything that lies before a position. */
  | { kind: "lsn"; lsn: Lsn }
  /** All that there is. */
  | { kind: "end" };

const EMPTY_FOLDERS = [
  "base",
  "global",
  "pg_commit_ts",
  "pg_dynshmem",
  "pg_logical/mappings",
  "pg_logical/snapshots",
  "pg_multixact/members",
  "pg_multixact/offsets",
  "pg_notify",
  "pg_replslot",
  "pg_serial",
  "pg_snapshots",
  "pg_stat",
  "pg_stat_tmp",
  "pg_subtrans",
  "pg_tblspc",
  "pg_twophase",
  "pg_wal/archive_status",
  "pg_xact",
] as const;

/** What belongs to the old machine, or to a server that is not this one. */
const NOT_OURS = [
  "postgresql.auto.conf",
  "postmaster.pid",
  "postmaster.opts",
  "standby.signal",
  "recovery.conf",
  "current_logfiles",
  "tablespace_map",
] as const;

/**
 * @param folder holds the data folder, and is all that the server gets of this machine.
 * @param user whom the server runs as, where that is not us.
 * @throws Failure `recovery/damaged` for what is no base.
 */
export async function prepareCluster(
  { folder, data, user }: { folder: string; data: string; user: User | undefined },
  major: number,
): Promise<void> {
  const version = await readFile(join(data, "PG_VERSION"), "utf8").catch(() => undefined);
  if (version === undefined || !existsSync(join(data, "global/pg_control"))) throw notWhole("it has no control file");
  if (version.trim() !== String(major))
    throw notWhole(`it is of PostgreSQL ${version.trim().slice(0, 8)}, not ${major}`);
  // Without it, a server would begin where the control file says, and find the cluster consistent where it is not.
  if (!existsSync(join(data, "backup_label"))) throw notWhole("it has no backup_label");
  for (const name of NOT_OURS) await rm(join(data, name), { force: true });
  // Only what was handed over and checked is replayed; and slots of the old server keep nothing here.
  for (const name of ["pg_wal", "pg_replslot"]) await rm(join(data, name), { recursive: true, force: true });
  for (const name of EMPTY_FOLDERS) await mkdir(join(data, name), { recursive: true, mode: 0o700 });
  const tablespaces = join(folder, "tablespaces");
  await mkdir(tablespaces, { mode: 0o700 });
  await placeTablespaces(tablespaces, data);
  await writeFile(join(data, "postgresql.conf"), "");
  await writeFile(join(data, "pg_hba.conf"), "local all all trust\n");
  await writeFile(join(data, "pg_ident.conf"), "");
  await writeFile(join(data, "recovery.signal"), "");
  await chmod(data, 0o700);
  if (user !== undefined) for (const path of [data, tablespaces]) await giveTo(path, user);
}

function notWhole(why: string): Failure {
  return new Failure("recovery/damaged", `the base cannot be recovered from: ${why}`, {
    hint: "Take a moment that another base serves: 'chatkeep list' shows the window.",
  });
}

/** Their files lie in the base where the cluster has links. */
async function placeTablespaces(tablespaces: string, data: string): Promise<void> {
  for (const oid of await readdir(join(data, "pg_tblspc"))) {
    const link = join(data, "pg_tblspc", oid);
    if (!(await lstat(link)).isDirectory()) throw notWhole(`the files of its tablespace ${oid} are not in it`);
    const place = join(tablespaces, oid);
    await rename(link, place);
    await symlink(place, link);
  }
}

/** Gives everything below a folder to the user that the server runs as. */
async function giveTo(folder: string, { uid, gid }: User): Promise<void> {
  await lchown(folder, uid, gid);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    await lchown(join(entry.parentPath, entry.name), uid, gid);
  }
}

/** Of a server whose files are looked at again by one that only follows: that refuses a log which holds too little for it. */
export const MAY_STAY: Readonly<Record<string, string>> = { wal_level: "replica" };

/** What lets a copy of a cluster reach nobody, and run nothing but what it is asked. */
export const QUIET: Readonly<Record<string, string>> = {
  // Copied subscriptions would take from their publishers what the real one is to get.
  max_logical_replication_workers: "0",
  shared_preload_libraries: "",
  session_preload_libraries: "",
  local_preload_libraries: "",
  archive_mode: "off",
  lc_messages: "C",
};

/**
 * For the start of our sessions: what the cluster was told of its roles and databases counts more than a command line. Libraries
 * may not be here; and triggers at a login, or for what we make ourselves, belong to the real one.
 */
export function undisturbed(major: number): string {
  return Object.entries({
    session_preload_libraries: "",
    local_preload_libraries: "",
    temp_file_limit: "-1",
    session_replication_role: "replica",
    ...(major >= 17 ? { event_triggers: "off" } : {}),
  })
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(" ");
}

/** PostgreSQL's own `min_wal_size`. */
const MIN_WAL_MIB = 80;

/** More than any server follows others by: a server that knows more of them than it was told to does not start. */
const MOST_ORIGINS = "1000";

/**
 * Prepared transactions that may be open at once, at least: the server may have been given more of them after the base, and the log
 * does not say so before a recovery is at that place.
 */
const LEAST_PREPARED = 1000;
/** Sessions and processes of a server of ours, about. */
const SESSIONS = 60;
/** PostgreSQL's own bounds, and so many locks that their table takes some 200 MiB. */
const LOCKS = { least: 10, usual: 64, total: 750_000 };

/**
 * How much the server has room for. Locks of the live server's sessions are not replayed, as nobody reads before the moment is reached;
 * only those of prepared transactions are taken again. So what a large machine had is not asked of this one.
 */
function roomSettings(settings: Readonly<Record<string, string>>): Record<string, string> {
  const given = (name: string, otherwise: number) => {
    const value = settings[name];
    return value !== undefined && /^\d{1,10}$/.test(value) ? Number(value) : otherwise;
  };
  const prepared = Math.max(given("max_prepared_transactions", 0), LEAST_PREPARED);
  const most = Math.max(LOCKS.least, Math.floor(LOCKS.total / (SESSIONS + prepared)));
  return {
    max_prepared_transactions: String(prepared),
    max_locks_per_transaction: String(Math.min(given("max_locks_per_transaction", LOCKS.usual), most)),
  };
}

/** The settings of the cluster that count here. */
export function neededSettings(settings: Readonly<Record<string, string>>, major: number): Record<string, string> {
  const segmentMib = mibOf(settings["wal_segment_size"] ?? "");
  return {
    ...roomSettings(settings),
    // Where each subscription was, is in the base and in the log.
    [major >= 18 ? "max_active_replication_origins" : "max_replication_slots"]: MOST_ORIGINS,
    // With less than two of its files no server starts; its own file, which had a number that fits, does not count here.
    ...(2 * segmentMib > MIN_WAL_MIB ? { min_wal_size: `${2 * segmentMib}MB` } : {}),
  };
}

/** A size as the server writes it: `64MB`, or in bytes. */
function mibOf(text: string): number {
  const [, amount = "0", unit = ""] = /^(\d+)(MB|GB)?$/.exec(text) ?? [];
  return Number(amount) * (unit === "GB" ? 1024 : unit === "MB" ? 1 : 1 / 1024 ** 2);
}

/** What the server is told on its command line, where it counts more than anything in its files. */
export function recoverySettings(
  target: RecoveryTarget,
  {
    major,
    timeline,
    settings,
    isReadOnly,
    mayStay = false,
  }: {
    major: number;
    timeline: number;
    settings: Readonly<Record<string, string>>;
    isReadOnly: boolean;
    mayStay?: boolean;
  },
): Record<string, string> {
  return {
    ...neededSettings(settings, major),
    ...(mayStay ? MAY_STAY : {}),
    restore_command: RESTORE_COMMAND,
    recovery_target_timeline: String(timeline),
    recovery_target_action: "promote",
    ...targetSettings(target),
    // Nobody reads before the moment is reached; so nothing must be as large as it was on the old machine.
    hot_standby: "off",
    ...QUIET,
    ...(isReadOnly ? { default_transaction_read_only: "on" } : {}),
  };
}

function targetSettings(target: RecoveryTarget): Record<string, string> {
  if (target.kind === "end") return {};
  if (target.kind === "lsn") {
    return { recovery_target_lsn: formatLsn(target.lsn), recovery_target_inclusive: "off" };
  }
  return { recovery_target_time: timestampOf(target.us), recovery_target_inclusive: "on" };
}

/** As PostgreSQL reads it, to the microsecond; names of zones, `Z` too, are not known yet when it reads its command line. */
function timestampOf(us: bigint): string {
  const seconds = new Date(Number(us / 1000n)).toISOString().slice(0, -5); // oxlint-disable-line no-restricted-globals -- formats, reads no clock
  return `${seconds}.${(us % 1_000_000n).toString().padStart(6, "0")}+00`;
}
