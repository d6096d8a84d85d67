/** What would keep two databases from being swapped, told before anything is touched: rights, logical replication, prepared transactions. */
import { listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Connection } from "../postgres/connect.ts";
import { type Holders, readHolders } from "../postgres/holders.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { sessionsToStay } from "../postgres/other-sessions.ts";
import { type SwapRights, swapRights } from "../postgres/swap.ts";

/** Which of the two: the one that is `live` now and is put aside, or the one that was kept and comes `back`. */
export type SwapSide = "live" | "back";

export interface SwapBlockers {
  blockers: Finding[];
  findings: Finding[];
}

/**
 * Looks at one database that is to get another name. Undefined: there is none. Changes nothing.
 * @param options.givesOwner Another database is given its owner, and then takes its place.
 */
export async function swapBlockers(
  connection: Connection,
  name: string,
  { side, givesOwner = false }: { side: SwapSide; givesOwner?: boolean },
): Promise<SwapBlockers | undefined> {
  const rights = await swapRights(connection, name);
  if (rights === undefined) return undefined;
  const { user } = connection.address;
  const { blockers, findings } = judgeHolders(name, await readHolders(connection, [name]), side);
  return {
    blockers: [...judgeRights(rights, { user, name, side, givesOwner }), ...blockers],
    findings: [...findings, ...stayFindings(await sessionsToStay(connection, [name]), { user, name })],
  };
}

interface RightsAsked {
  user: string;
  name: string;
  side: SwapSide;
  givesOwner: boolean;
}

/** What our role lacks, in one blocker, with the statements that give it. Pure. */
function judgeRights(rights: SwapRights, { user, name, side, givesOwner }: RightsAsked): Finding[] {
  const { canCreate, isOwner, isMember, canGive, owner } = rights;
  const [role, of] = [quoteIdentifier(user), `'${owner}', which owns '${name}'`];
  const lacks = [
    ...(canCreate ? [] : ["may not create databases"]),
    ...(isOwner
      ? []
      : [isMember ? `does not inherit the rights of ${of}` : `is not the owner of '${name}' ('${owner}' is)`]),
    ...(isOwner && givesOwner && !canGive ? [`may not give a new database to ${of}`] : []),
  ];
  if (lacks.length === 0) return [];
  const statements = [
    ...(canCreate ? [] : [`ALTER ROLE ${role} CREATEDB;`]),
    ...(isOwner && (canGive || !givesOwner) ? [] : giveOwner(rights, { role, name: quoteIdentifier(name) })),
  ].join(" ");
  return [
    {
      kind: "database-no-swap",
      level: "alarm",
      message: `role '${user}' ${lacks.join(", and ")}, so ${side === "live" ? `no other database can take the place of '${name}'` : `'${name}' cannot be put back`}`,
      hint:
        side === "live"
          ? `Let an administrator run: ${statements} Or restore into a database that an administrator made: --database-url.`
          : `Let an administrator run: ${statements}`,
    },
  ];
}

/** Nobody should become a member of a superuser for this. */
function giveOwner(
  { owner, isOwnerSuperuser, major }: SwapRights,
  { role, name }: { role: string; name: string },
): string[] {
  if (isOwnerSuperuser) return [`ALTER DATABASE ${name} OWNER TO ${role};`];
  const grant = `GRANT ${quoteIdentifier(owner)} TO ${role}`;
  return major >= 16 ? [`${grant} WITH INHERIT TRUE, SET TRUE;`] : [`${grant};`, `ALTER ROLE ${role} INHERIT;`];
}

/** They may be gone when it comes to the swap, so they stand in the way of nothing yet. Pure. */
function stayFindings(sessions: readonly string[], { user, name }: { user: string; name: string }): Finding[] {
  if (sessions.length === 0) return [];
  return [
    {
      kind: "database-sessions",
      level: "warning",
      message: `role '${user}' may not end ${plural(sessions.length, "session")} on '${name}': ${listSome(sessions)}`,
      hint: "The swap waits a minute for them to end, and is given up if they stay. Close them first, or let a superuser end them: SELECT pg_terminate_backend(…) with the process's number.",
    },
  ];
}

/** What keeps the database of this name from being renamed, and what would stay with it unnoticed. Pure. */
function judgeHolders(name: string, holders: Holders, side: SwapSide): SwapBlockers {
  const { activeSlots, idleSlots, enabledSubscriptions, prepared } = holders;
  const isLive = side === "live";
  const held = (items: readonly string[], what: string, state: string, hint: string): Finding[] => {
    if (items.length === 0) return [];
    const are = items.length === 1 ? "is" : "are";
    const so = isLive ? "no other database can take its place" : "it cannot be put back";
    const message = `${plural(items.length, what)} of '${name}' ${are} ${state}, so ${so}: ${listSome(items)}`;
    return [{ kind: "database-held", level: "alarm", message, hint }];
  };
  const blockers = [
    ...held(
      activeSlots,
      "logical replication slot",
      "in use",
      isLive
        ? "Stop what reads from it and drop the slot (pg_drop_replication_slot). It would stay with the database that is put aside; make a new one afterwards."
        : "Stop what reads from it until it is done. The slot comes back with the database.",
    ),
    ...held(
      enabledSubscriptions,
      "subscription",
      "enabled",
      isLive
        ? "Disable it first: ALTER SUBSCRIPTION … DISABLE. It stays with the database that is put aside."
        : "Disable it first, connected to that database: ALTER SUBSCRIPTION … DISABLE. It comes back with the database.",
    ),
    ...held(
      prepared,
      "prepared transaction",
      "open",
      "End it, connected to that database: COMMIT PREPARED or ROLLBACK PREPARED with its name.",
    ),
  ];
  if (idleSlots.length === 0 || !isLive) return { blockers, findings: [] };
  const message = `${plural(idleSlots.length, "logical replication slot")} of '${name}' would stay with the database that is put aside: ${listSome(idleSlots)}`;
  const hint =
    "The server keeps its log for a slot until its disk is full: drop it (pg_drop_replication_slot) and make a new one afterwards.";
  return { blockers, findings: [{ kind: "database-slots", level: "warning", message, hint }] };
}
