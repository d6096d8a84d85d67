/** A session on a database that somebody may have dropped. */
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";

/** Undefined where the server has no database of that name. @throws Failure of the `database/` codes for anything else. */
export async function connectIfThere(
  address: ServerAddress,
  options: { signal: AbortSignal },
): Promise<Connection | undefined> {
  try {
    return await connect(address, options);
  } catch (error) {
    if (sqlState(error) === SQLSTATE.databaseMissing) return undefined;
    throw error;
  }
}
