/** What open transactions of others mean for a backup, a migration and the database itself. */
import { formatSeconds } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "../postgres/connect.ts";
import { type LongTransaction, readLongTransactions } from "../postgres/long-transactions.ts";

export async function longTransactionFindings(connection: Connection): Promise<Finding[]> {
  const found = await readLongTransactions(connection, { olderThanSeconds: LIMITS.longTransactionSeconds });
  return found.slice(0, LIMITS.longTransactionsTold).map(longTransactionFinding);
}

/** One that does nothing is most likely forgotten; one that works may be another backup. */
export function longTransactionFinding(transaction: LongTransaction): Finding {
  const { pid, prepared, user, state, seconds, isExclusive } = transaction;
  const who = user === undefined ? "" : ` of '${user}'`;
  const what = prepared === undefined ? `session ${pid}${who}` : `prepared transaction '${prepared}'${who}`;
  const how = state === undefined ? "" : ` (${state})`;
  const locks = isExclusive ? ", with a table locked that a backup waits for" : "";
  const isIdle = prepared !== undefined || state?.startsWith("idle in transaction") === true;
  const end =
    prepared === undefined
      ? `select pg_terminate_backend(${pid})`
      : `rollback prepared '${prepared.replaceAll("'", "''")}'`;
  return {
    kind: "long-transaction",
    level: isExclusive || (isIdle && seconds >= LIMITS.idleTransactionSeconds) ? "warning" : "note",
    message: `${what} ${prepared === undefined ? "has a transaction open" : "is open"} for ${formatSeconds(seconds)}${how}${locks}`,
    hint: `While it is open, no row that died since is cleaned away, and a migration of a table that it has read waits for it, and everybody behind the migration. If nobody needs it: ${end}.`,
  };
}
