/** One database takes the live name where none has it, or lets go of it where none is to have it. */
import { type Clock, formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { commentStatement, keptName, type KeptNote, readDatabaseNames, writeNote } from "./kept-databases.ts";
import { quoteIdentifier } from "./names.ts";
import { describeUsers, terminateStatement } from "./other-sessions.ts";
import { sqlState } from "./server-errors.ts";
import { connectBeside } from "./target.ts";

/** `object_in_use`. */
const IN_USE = "55006";

interface NameOptions {
  signal: AbortSignal;
  /** Of the command that is to be called again where somebody stays connected. */
  again?: string;
}

/**
 * Renames it, and takes away the comment that said what it was kept for. All of it is done, or nothing.
 * @param kept What it is called now; its sessions are ended.
 * @throws Failure `target/unsuitable` where somebody stays connected, and of the `database/` codes, as where the name is taken.
 */
export async function takeName(address: ServerAddress, kept: string, options: NameOptions): Promise<void> {
  await using connection = await connectBeside(address, options);
  await rename(connection, { from: kept, to: address.database, comment: null }, options);
}

/**
 * Puts the live database aside, so that none has its name, as before a restore that found none. All of it is done, or nothing.
 * @returns what it is called now.
 * @throws Failure as {@link takeName}.
 */
export async function leaveName(
  address: ServerAddress,
  { point, clock, ...options }: NameOptions & { point: string; clock: Clock },
): Promise<string> {
  const { database: live } = address;
  await using connection = await connectBeside(address, options);
  const at = formatInstant(clock.now());
  const aside = keptName(live, "rolledback", at, [...(await readDatabaseNames(connection)).values()]);
  const note: KeptNote = { chatkeep: "rolledback", of: live, point, at, hadNone: true };
  await rename(connection, { from: live, to: aside, comment: writeNote(note) }, options);
  return aside;
}

async function rename(
  connection: Connection,
  { from, to, comment }: { from: string; to: string; comment: string | null },
  { again = "Then run the rollback again." }: NameOptions,
): Promise<void> {
  await connection.query(terminateStatement([from]));
  try {
    await connection.query("begin");
    await connection.query(`alter database ${quoteIdentifier(from)} rename to ${quoteIdentifier(to)}`);
    await connection.query(commentStatement(to, comment));
    await connection.query("commit");
  } catch (error) {
    await connection.query("rollback").catch(() => {});
    if (sqlState(error) !== IN_USE) throw error;
    const who = await describeUsers(connection, [from]);
    throw new Failure("target/unsuitable", `'${from}' is in use: ${who.join(", ") || "somebody has gone meanwhile"}`, {
      hint: `Stop it, or let a superuser end it (pg_terminate_backend). ${again}`,
      cause: error,
    });
  }
}
