/** Puts a database back that a restore into the live place put aside: by the same swap of names. */
import { type Clock, formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import { keptName, listKept, swapDatabases } from "../postgres/swap.ts";
import { connectBeside } from "../postgres/target.ts";
import { type SwapBlockers, swapBlockers } from "./live-holders.ts";
import { swappedFindings } from "./restore-live.ts";
import type { RollbackPlan, RollbackSummary } from "./summaries.ts";

/** The database that a rollback would put back: the named one, or the newest that a restore put aside. */
export async function planRollback(
  address: ServerAddress,
  name: string | undefined,
  { signal }: { signal: AbortSignal },
): Promise<RollbackPlan> {
  const kept = await listKept(address, { signal });
  const live = address.database;
  const chosen =
    name === undefined
      ? kept.find(({ chatkeep }) => chatkeep === "before")
      : kept.find((one) => one.name === name && one.chatkeep !== "restoring");
  if (chosen === undefined) {
    const others = kept.filter(({ chatkeep }) => chatkeep !== "restoring").map((one) => one.name);
    throw new Failure(
      "target/unsuitable",
      name === undefined
        ? `no restore put a database aside for '${live}' that could be put back`
        : `'${name}' is no database that was put aside for '${live}'`,
      {
        hint:
          others.length === 0
            ? "Only what 'chatkeep restore' swapped out can be put back."
            : `These are kept: ${others.join(", ")}. Name one: 'chatkeep rollback DATABASE'.`,
      },
    );
  }
  const { at, bytes, point, chatkeep } = chosen;
  const { blockers, findings } = await lookAtBoth(address, { live, back: chosen.name }, { signal });
  return {
    type: "plan",
    verb: "rollback",
    live,
    back: chosen.name,
    kind: chatkeep,
    at,
    bytes,
    point,
    blockers,
    findings: [...findings, ...swappedFindings(kept)],
  };
}

async function lookAtBoth(
  address: ServerAddress,
  { live, back }: { live: string; back: string },
  { signal }: { signal: AbortSignal },
): Promise<SwapBlockers> {
  await using connection = await connectBeside(address, { signal });
  await refuseSharedSessions(connection, { signal });
  const out = await swapBlockers(connection, live, "live");
  const own = await swapBlockers(connection, back, "back");
  const missing: Finding = {
    kind: "database-missing",
    level: "alarm",
    message: `there is no database '${live}' whose place could be taken`,
    hint: `To put '${back}' in its place: ALTER DATABASE ${quoteIdentifier(back)} RENAME TO ${quoteIdentifier(live)}.`,
  };
  return {
    blockers: [...(out?.blockers ?? [missing]), ...(own?.blockers ?? [])],
    findings: [...(out?.findings ?? []), ...(own?.findings ?? [])],
  };
}

/**
 * Puts back the database of the plan; the one that is live now is kept in its turn.
 * @throws Failure `target/unsuitable` when something stands in the way: no session was ended then.
 */
export async function rollback(
  address: ServerAddress,
  plan: RollbackPlan,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<RollbackSummary> {
  const started = clock.monotonic();
  const { live, back } = plan;
  const {
    blockers: [blocker],
  } = await planRollback(address, back, { signal });
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
  const at = formatInstant(clock.now());
  const previous = keptName(live, "rolledback", at);
  const note = { chatkeep: "rolledback" as const, of: live, point: plan.point, at };
  await swapDatabases(address, { live, fresh: back, kept: previous, note }, { signal });
  const seconds = (clock.monotonic() - started) / 1000;
  return { type: "summary", verb: "rollback", database: { name: live, previous }, back, seconds, findings: [] };
}
