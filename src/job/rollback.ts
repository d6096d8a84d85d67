/** Puts a database back that a restore into the live place put aside: by the same swap of names. */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { refuseSharedSessions } from "../postgres/pooler.ts";
import { type KeptDatabase, listKept } from "../postgres/kept-databases.ts";
import { swapDatabases } from "../postgres/swap.ts";
import { connectBeside } from "../postgres/target.ts";
import { type SwapBlockers, swapBlockers } from "./live-holders.ts";
import { swappedFindings } from "./restore-live.ts";
import type { RollbackPlan, RollbackSummary } from "./summaries.ts";

/** Those that a rollback may put back. */
function putAside(kept: readonly KeptDatabase[]): KeptDatabase[] {
  return kept.filter(({ chatkeep }) => chatkeep !== "restoring");
}

/**
 * Said twice, a rollback must not go one database further: its first answer may only have been lost. One that somebody renamed may
 * serve something else by now: it is put back by its name alone.
 */
function newestPutAside(kept: readonly KeptDatabase[], live: string): KeptDatabase {
  const all = putAside(kept);
  const [newest, ...others] = all.filter(({ isRenamed }) => !isRenamed);
  if (newest === undefined) {
    const [renamed] = all;
    throw new Failure("target/unsuitable", `no restore put a database aside for '${live}' that could be put back`, {
      hint:
        renamed === undefined
          ? "Only what 'chatkeep restore' swapped out can be put back."
          : `'${renamed.name}' was put aside and somebody renamed it. Is it not in use for something else? Then 'chatkeep rollback ${renamed.name}' puts it back.`,
    });
  }
  if (newest.chatkeep === "before") return newest;
  const { name, at } = newest;
  const older = others.length === 0 ? "" : ` Kept besides: ${others.map((one) => one.name).join(", ")}.`;
  throw new Failure(
    "target/unsuitable",
    `the last swap was itself a rollback, at ${at}: '${live}' is what it put back, and what was live until then is kept as '${name}'`,
    { hint: `'chatkeep rollback ${name}' undoes that; any other is put back by its name, too.${older}` },
  );
}

function namedOne(kept: readonly KeptDatabase[], live: string, name: string): KeptDatabase {
  const all = putAside(kept);
  const chosen = all.find((one) => one.name === name);
  if (chosen !== undefined) return chosen;
  throw new Failure("target/unsuitable", `'${name}' is no database that was put aside for '${live}'`, {
    hint:
      all.length === 0
        ? "Only what 'chatkeep restore' swapped out can be put back."
        : `These are kept: ${all.map((one) => one.name).join(", ")}. Name one: 'chatkeep rollback DATABASE'.`,
  });
}

/**
 * The database that a rollback would put back: the named one, or the newest that was put aside, if a restore did that.
 * @throws Failure `target/unsuitable` when there is none, or when the last swap was itself a rollback.
 */
export async function planRollback(
  address: ServerAddress,
  name: string | undefined,
  { signal }: { signal: AbortSignal },
): Promise<RollbackPlan> {
  const kept = await listKept(address, { signal });
  const live = address.database;
  const chosen = name === undefined ? newestPutAside(kept, live) : namedOne(kept, live, name);
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
  const out = await swapBlockers(connection, live, { side: "live" });
  const own = await swapBlockers(connection, back, { side: "back" });
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
  const swap = { live, fresh: back, why: "rolledback", point: plan.point } as const;
  const previous = await swapDatabases(address, swap, { clock, signal });
  const seconds = (clock.monotonic() - started) / 1000;
  return { type: "summary", verb: "rollback", database: { name: live, previous }, back, seconds, findings: [] };
}
