/** Changes at a server that let its log be followed. Each is small, can be undone, and is told with how. */
import { readFile } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";
import { lookAtFile } from "../system/keep-file.ts";
import { takePlace } from "../system/replace-file.ts";
import type { Connection } from "./connect.ts";
import { quoteIdentifier } from "./names.ts";
import { isWithoutEntry, saidBy } from "./replication-look.ts";

/** A change that was made. */
export interface Changed {
  /** What takes it back: a statement for a superuser, or a command. */
  readonly undo: string;
}

interface Call {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** How long a server may take to read its files again, and how often that is looked at. Milliseconds. */
const RELOAD_MS = 20_000;
const LOOK_AGAIN_MS = 100;

/** @throws Failure of the `database/` codes. */
export async function allowRole(connection: Connection, role: string): Promise<Changed> {
  const name = quoteIdentifier(role);
  await connection.query(`alter role ${name} replication`);
  return { undo: `ALTER ROLE ${name} NOREPLICATION;` };
}

/**
 * Bounds what the server keeps for slots.
 * @param mib Of its log.
 * @throws Failure of the `database/` codes; `database/failed` where another place of its configuration has the last word: then it
 * is taken back.
 */
export async function boundSlots(connection: Connection, mib: number, call: Call): Promise<Changed> {
  return await set(connection, { name: "max_slot_wal_keep_size", value: `${mib}MB`, reads: String(mib) }, call);
}

/** A slot of somebody else for which the server keeps more of its log than this, and that a bound of so much would end. */
export async function slotBeyond(
  connection: Connection,
  { mib, own }: { mib: number; own: string },
): Promise<{ name: string; bytes: number } | undefined> {
  const [row] = await connection.query<{ name: string; bytes: string }>(
    `select slot_name::text as name, bytes::bigint::text as bytes from (
       select slot_name, pg_catalog.pg_wal_lsn_diff(case when pg_catalog.pg_is_in_recovery()
         then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end, restart_lsn) as bytes
       from pg_catalog.pg_replication_slots where restart_lsn is not null and slot_name <> $2) kept
     where bytes > $1::int8 * 1048576 order by bytes desc limit 1`,
    [mib, own],
  );
  return row === undefined ? undefined : { name: row.name, bytes: Number(row.bytes) };
}

/** Has the server note which pages change. @throws as {@link boundSlots}. */
export async function summarizeWal(connection: Connection, call: Call): Promise<Changed> {
  return await set(connection, { name: "summarize_wal", value: "on", reads: "on" }, call);
}

/** @param reads The value as `pg_settings` has it. */
async function set(
  connection: Connection,
  { name, value, reads }: { name: string; value: string; reads: string },
  call: Call,
): Promise<Changed> {
  await connection.query(`alter system set ${name} = '${value}'`);
  await connection.query("select pg_catalog.pg_reload_conf()");
  const isTaken = await until(async () => {
    const [row] = await connection.query<{ setting: string }>(
      "select setting from pg_catalog.pg_settings where name = $1",
      [name],
    );
    return row?.setting === reads;
  }, call);
  const undo = `ALTER SYSTEM RESET ${name};`;
  if (isTaken) return { undo: `${undo} SELECT pg_reload_conf();` };
  await connection.query(undo);
  await connection.query("select pg_catalog.pg_reload_conf()");
  throw new Failure("database/failed", `the server did not take ${name}, so it was taken back`, {
    hint: "Its command line, or what manages it, says something else: set it there.",
  });
}

/**
 * The file as this machine has it, if it is the very one that the server reads and we may write it; else why not.
 * Only a superuser's session can tell.
 */
export async function ownHbaFile(connection: Connection): Promise<{ path: string } | { why: string }> {
  const [row] = await connection.query<{ path: string; text: string }>(
    "select pg_catalog.current_setting('hba_file') as path, pg_catalog.pg_read_file(pg_catalog.current_setting('hba_file')) as text",
  );
  if (row === undefined) return { why: "the server does not say where it is" };
  try {
    const found = await lookAtFile(row.path);
    if (found === undefined || (await readFile(found.path, "utf8")) !== row.text)
      return { why: `'${row.path}' is not on this machine` };
    if (found.links > 1) return { why: `'${row.path}' has another name as well, and somebody may rely on it` };
    return { path: found.path };
  } catch (error) {
    return { why: `'${row.path}' cannot be read from here: ${messageOf(error)}` };
  }
}

export interface HbaLine {
  readonly path: string;
  readonly line: string;
  /** Tries what it is for: why that fails, or undefined where it does not. */
  readonly refusal: () => Promise<Failure | undefined>;
}

const MARK = "# Added by 'chatkeep doctor --fix': whoever follows the server's log from there, and nobody else.";

/**
 * Puts a line before all others of pg_hba.conf, reloads the server, and tries it. A copy of the file as it was lies beside it.
 * @throws Failure `database/failed` where the server finds fault with the file, or the line does not help: then the file is as it was.
 */
export async function addHbaLine(
  connection: Connection,
  { path, line, refusal }: HbaLine,
  call: Call,
): Promise<Changed> {
  const before = await readFile(path);
  const kept = `${path}.chatkeep-before`;
  // The file may lie in the server's data folder: a base has all that is there, and fails where the server may not read it.
  await put(kept, before, await lookAtFile(path));
  const added = Buffer.from(`${MARK}\n${line}\n\n`);
  await put(path, Buffer.concat([added, before]));
  try {
    await refuseFaults(connection);
    await connection.query("select pg_catalog.pg_reload_conf()");
    let refused: Failure | undefined;
    await until(async () => {
      refused = await refusal();
      return refused === undefined || isFinal(refused);
    }, call);
    if (refused !== undefined) throw noHelp(path, refused);
  } catch (error) {
    const now = await readFile(path);
    // Somebody else may have changed it meanwhile: only what was added is taken out.
    if (now.subarray(0, added.length).equals(added)) await put(path, now.subarray(added.length));
    await connection.query("select pg_catalog.pg_reload_conf()").catch(() => {});
    throw error;
  }
  return {
    undo: `take the two lines at the beginning of '${path}' out, or put '${kept}' back; then SELECT pg_reload_conf();`,
  };
}

/** True where the server went by the new line and lets nobody in by it: to try on would only fill its log. */
function isFinal(refused: Failure): boolean {
  return refused.code === "database/denied" && !isWithoutEntry(refused);
}

function noHelp(path: string, refused: Failure): Failure {
  const what = `the line in '${path}' does not let the log be followed, so it was taken back; the server said: ${saidBy(refused)}`;
  const hint = isWithoutEntry(refused)
    ? "The server sees another address, or its file includes others. Its own log says which line it went by."
    : (refused.hint ?? "The server's own log says more.");
  return new Failure("database/failed", what, { hint, cause: refused });
}

/** The view reads the file as it is on the disk, before the server does. */
async function refuseFaults(connection: Connection): Promise<void> {
  const [fault] = await connection.query<{ line: number; error: string }>(
    "select line_number as line, error from pg_catalog.pg_hba_file_rules where error is not null order by 1 limit 1",
  );
  if (fault === undefined) return;
  throw new Failure(
    "database/failed",
    `the server finds fault with line ${fault.line} of its pg_hba.conf: ${fault.error}`,
    {
      hint: "The file is as it was. Mend that line first.",
    },
  );
}

/** With the owner and mode that it has, or that another has. */
async function put(path: string, bytes: Buffer, like?: Awaited<ReturnType<typeof lookAtFile>>): Promise<void> {
  const found = like ?? (await lookAtFile(path));
  await takePlace(path, `${path}.chatkeep-new`, async (file) => {
    await file.writeFile(bytes);
    if (found === undefined) return;
    await file.chown(found.uid, found.gid);
    await file.chmod(found.mode);
  });
}

async function until(holds: () => Promise<boolean>, { clock, signal }: Call): Promise<boolean> {
  const end = clock.monotonic() + RELOAD_MS;
  for (;;) {
    if (await holds()) return true;
    if (clock.monotonic() >= end) return false;
    await clock.sleep(LOOK_AGAIN_MS, signal);
  }
}
