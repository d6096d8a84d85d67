/** Gives a database that was put aside the live name again, where the one that had it is gone. */
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { commentStatement } from "./kept-databases.ts";
import { quoteIdentifier } from "./names.ts";
import { describeUsers, terminateStatement } from "./other-sessions.ts";
import { sqlState } from "./server-errors.ts";
import { connectBeside } from "./target.ts";

/** `object_in_use`. */
const IN_USE = "55006";

/**
 * Renames it, and takes away the comment that said what it was kept for. All of it is done, or nothing.
 * @param kept What it is called now; its sessions are ended.
 * @throws Failure `target/unsuitable` where somebody stays connected, and of the `database/` codes, as where the name is taken.
 */
export async function takeName(
  address: ServerAddress,
  kept: string,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const { database: live } = address;
  await using connection = await connectBeside(address, { signal });
  await connection.query(terminateStatement([kept]));
  try {
    await connection.query("begin");
    await connection.query(`alter database ${quoteIdentifier(kept)} rename to ${quoteIdentifier(live)}`);
    await connection.query(commentStatement(live, null));
    await connection.query("commit");
  } catch (error) {
    await connection.query("rollback").catch(() => {});
    if (sqlState(error) !== IN_USE) throw error;
    const who = await describeUsers(connection, [kept]);
    throw new Failure("target/unsuitable", `'${kept}' is in use: ${who.join(", ") || "somebody has gone meanwhile"}`, {
      hint: "Stop it, or let a superuser end it (pg_terminate_backend). Then run the rollback again.",
      cause: error,
    });
  }
}
