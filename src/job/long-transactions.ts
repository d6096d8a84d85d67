/** What open transactions of others, and replication slots, mean for a backup, a migration and the database itself. */
import { formatCount, formatSeconds } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Connection } from "../postgres/connect.ts";
import {
  type HoldingSlot,
  type LongTransaction,
  readHoldingSlots,
  readLongTransactions,
} from "../postgres/long-transactions.ts";
import { quoteLiteral } from "../postgres/names.ts";

export async function longTransactionFindings(connection: Connection): Promise<Finding[]> {
  const found = await readLongTransactions(connection, { olderThanSeconds: LIMITS.longTransactionSeconds });
  const slots = await readHoldingSlots(connection, { olderThanTransactions: LIMITS.slotHeldTransactions });
  return [
    ...found.slice(0, LIMITS.longTransactionsTold).map(longTransactionFinding),
    ...slots.slice(0, LIMITS.longTransactionsTold).map(holdingSlotFinding),
  ];
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
    prepared === undefined ? `select pg_terminate_backend(${pid})` : `rollback prepared ${quoteLiteral(prepared)}`;
  return {
    kind: "long-transaction",
    level: isExclusive || (isIdle && seconds >= LIMITS.idleTransactionSeconds) ? "warning" : "note",
    message: `${what} ${prepared === undefined ? "has a transaction open" : "is open"} for ${formatSeconds(seconds)}${how}${locks}`,
    hint: `While it is open, no row that died since is cleaned away, and a migration of a table that it has read waits for it, and everybody behind the migration. If nobody needs it: ${end}.`,
  };
}

/** One that nobody reads from is most likely forgotten; a reader may only be slow. */
export function holdingSlotFinding(slot: HoldingSlot): Finding {
  const { name, isLogical, isActive, isOfAllTables, transactions } = slot;
  const what = `${isLogical ? "logical" : "physical"} replication slot '${name}'`;
  const rows = isOfAllTables ? "rows of all tables" : "rows of the system's catalogues";
  return {
    kind: "slot-holds-rows",
    level: isActive ? "note" : "warning",
    message: `${what}${isActive ? "" : ", which nobody reads from,"} keeps ${rows} that died in the last ${formatCount(transactions)} transactions`,
    hint: isActive
      ? "They are not cleaned away meanwhile, and the database grows. Is what reads from it behind, or does a standby with hot_standby_feedback run a long query?"
      : `They are not cleaned away, and the server keeps its log for the slot too, until its disk is full. If nobody needs it: select pg_drop_replication_slot(${quoteLiteral(name)}).`,
  };
}
