/** Logical replication and prepared transactions of the live database: what they mean for a swap, told before anything is loaded. */
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Holders } from "../postgres/holders.ts";

/** What keeps the database of this name from being renamed, and what would stay with it unnoticed. */
export function judgeHolders(name: string, holders: Holders): { blockers: Finding[]; findings: Finding[] } {
  const { activeSlots, idleSlots, enabledSubscriptions, prepared } = holders;
  const held = (items: readonly string[], what: string, state: string, hint: string): Finding[] => {
    if (items.length === 0) return [];
    const are = items.length === 1 ? "is" : "are";
    const message = `${plural(items.length, what)} of '${name}' ${are} ${state}, so no other database can take its place: ${listSome(items)}`;
    return [{ kind: "database-held", level: "alarm", message, hint }];
  };
  const blockers = [
    ...held(
      activeSlots,
      "logical replication slot",
      "in use",
      "Stop what reads from it and drop the slot (pg_drop_replication_slot). It would stay with the database that is put aside; make a new one after the restore.",
    ),
    ...held(
      enabledSubscriptions,
      "subscription",
      "enabled",
      "Disable it first: ALTER SUBSCRIPTION … DISABLE. It stays with the database that is put aside.",
    ),
    ...held(
      prepared,
      "prepared transaction",
      "open",
      "End it, connected to that database: COMMIT PREPARED or ROLLBACK PREPARED with its name.",
    ),
  ];
  if (idleSlots.length === 0) return { blockers, findings: [] };
  const message = `${plural(idleSlots.length, "logical replication slot")} of '${name}' would stay with the database that is put aside: ${listSome(idleSlots)}`;
  const hint =
    "The server keeps its log for a slot until its disk is full: drop it (pg_drop_replication_slot) and make a new one after the restore.";
  return { blockers, findings: [{ kind: "database-slots", level: "warning", message, hint }] };
}
