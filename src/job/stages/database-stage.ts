/** The database of the point, made beside the live one and proven there. What was loaded whole is kept over a kill, and proven again. */
import { formatInstant } from "../../base/clock.ts";
import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { bug, Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { connect } from "../../postgres/connect.ts";
import { readDatabase } from "../../postgres/kept-databases.ts";
import { dropDatabase } from "../../postgres/swap.ts";
import { connectBeside } from "../../postgres/target.ts";
import type { DatabaseEstimate } from "../estimate.ts";
import {
  type Beside,
  dropBeside,
  type LoadedBeside,
  loadBeside,
  makeBeside,
  proveBeside,
  removeLeft,
  settleBeside,
} from "../load-beside.ts";
import { fillWithin } from "../no-space.ts";
import { type DatabasePlan, planDatabase } from "../plan-database.ts";
import { apart, lookForRoom, roomFindings, type RoomNeed } from "../room.ts";
import { ALL_ROWS } from "../row-choice.ts";
import type { Stage, StageContext, StageRecord, UndoContext } from "./stage.ts";

export type DatabaseKept =
  /** What bears the name is ours, whole or not. */
  | { readonly state: "making" }
  /** Everything is in the database of this number; it may have been proven. */
  | { readonly state: "loaded"; readonly oid: number; readonly loaded: LoadedBeside; readonly findings: Finding[] };

/** All of it, where Chatwoot's own is, or was until somebody dropped it. */
const INTO_PLACE = { isLive: true, mayBeGone: true, rows: ALL_ROWS } as const;

export const databaseStage: Stage<DatabaseKept> = {
  name: "database",

  async plan(context) {
    const { reader, options } = context;
    const { address } = context.place;
    const { withRoles } = options;
    const planned = await planDatabase(reader, { ...context, ...INTO_PLACE, address, withRoles });
    return {
      lines: [
        `${planned.what}, ${formatBytes(planned.bytes)}, are loaded beside '${address.database}' and compared with the point`,
        describeEstimate(planned.estimate),
        ...(planned.roles === null || planned.roles.create.length === 0
          ? []
          : [`roles are made without passwords: ${planned.roles.create.join(", ")}`]),
      ],
      blockers: planned.blockers,
      findings: planned.findings,
      room: roomOf(planned),
    };
  },

  async room(context) {
    const { withRoles } = context.options;
    const { address } = context.place;
    return roomOf(await planDatabase(context.reader, { ...context, ...INTO_PLACE, address, withRoles }));
  },

  async apply(context, record) {
    const both = besideOf(context);
    const usable = await findLoaded(both, context, record);
    if (usable !== undefined) context.progress.say(`'${both.fresh}' was loaded before the interruption, and is used`);
    const { loaded, findings } = usable ?? (await load(context, both, record));
    try {
      await using held = await connect({ ...both.address, database: both.fresh }, context);
      await proveBeside(context.reader, held, loaded, context);
    } catch (error) {
      // What is wrong is of no use to anybody, and the next call loads it anew. What was not told to the end is kept.
      if (isFailure(error, "database/failed")) await dropBeside(both);
      if (!isFailure(error, "database/failed") || usable === undefined) throw error;
      context.progress.say(`'${both.fresh}' is no longer what was loaded: it is loaded again`);
      await record.keep({ state: "making" });
      return await databaseStage.apply(context, record);
    }
    const { withRoles } = context.options;
    const settled = await settleBeside(context.reader, both, { withRoles, signal: context.signal });
    const rows = context.manifest.tables.reduce((sum, table) => sum + table.rows, 0);
    return {
      lines: [`${plural(rows, "row")} of ${plural(context.manifest.tables.length, "table")}, compared with the point`],
      findings: [...findings, ...settled],
    };
  },

  // What lies beside the live one is in nobody's way, and the next restore removes it.
  undoIs: "spared",
  async undo(context) {
    const { address, fresh } = besideOf(context);
    // After a swap that was undone it has another name, and is kept.
    const isThere = (await lookAtFresh({ address, fresh }, context)) !== undefined;
    if (isThere) await dropDatabase(address, fresh, { isOwn: true, signal: context.signal });
    return { lines: isThere ? [`'${fresh}' is dropped`] : [], findings: [] };
  },
};

function roomOf({ room }: DatabasePlan): RoomNeed[] {
  return room === undefined ? [] : [room];
}

function describeEstimate({ diskBytes, freeBytes, seconds }: DatabaseEstimate): string {
  const free = freeBytes === null ? "how much is free there is not known" : `${formatBytes(freeBytes)} free`;
  const time =
    seconds === null ? "no drill has told how long it takes" : `about ${formatSeconds(seconds)} by the last drill`;
  return `it takes about ${formatBytes(diskBytes)} on the server's disk (${free}); ${time}`;
}

/** @throws a fault of ours: the stage is only there where the database is restored. */
export function besideOf({ place, fresh }: UndoContext): Beside {
  if (fresh === undefined) throw bug("a database is to be restored and has no name");
  return { address: place.address, fresh: fresh.database };
}

/** The number of the database that has the name now. */
async function lookAtFresh(
  { address, fresh }: Beside,
  { signal }: { signal: AbortSignal },
): Promise<number | undefined> {
  await using connection = await connectBeside(address, { signal });
  return (await readDatabase(connection, fresh))?.oid;
}

/** What an earlier call loaded whole, if it is still there. */
async function findLoaded(
  both: Beside,
  context: StageContext,
  { kept }: StageRecord<DatabaseKept>,
): Promise<{ loaded: LoadedBeside; findings: Finding[] } | undefined> {
  if (kept?.state !== "loaded") return undefined;
  return (await lookAtFresh(both, context)) === kept.oid ? kept : undefined;
}

async function load(
  context: StageContext,
  both: Beside,
  record: StageRecord<DatabaseKept>,
): Promise<{ loaded: LoadedBeside; findings: Finding[] }> {
  const { clock, reader, options, progress, signal } = context;
  const { withRoles } = options;
  const { address, fresh } = both;
  if (record.kept === undefined) await refuseTaken(both, context);
  await record.keep({ state: "making" });
  await dropDatabase(address, fresh, { isOwn: true, signal });
  const findings = await removeLeft(both, context);
  // What stands in the way may have come about since the plan was shown.
  const plan = await planDatabase(reader, { ...INTO_PLACE, address, withRoles, signal });
  const [blocker] = [...plan.blockers, ...apart(roomFindings(await lookForRoom(roomOf(plan)), "")).blockers];
  if (blocker !== undefined) throw new Failure("target/unsuitable", blocker.message, { hint: blocker.hint });
  const { estimate, leaveOut } = plan;
  return await fillWithin({ address, database: "beside", estimate }, async () => {
    findings.push(...(await makeBeside(reader, both, { at: formatInstant(clock.now()), signal })));
    try {
      const { loaded, findings: found } = await loadBeside(reader, both, { withRoles, leaveOut, progress, signal });
      findings.push(...found);
      const oid = await lookAtFresh(both, context);
      if (oid === undefined) throw bug(`'${fresh}' was loaded and is not there`);
      await record.keep({ state: "loaded", oid, loaded, findings });
      return { loaded, findings };
    } catch (error) {
      await dropBeside(both);
      throw error;
    }
  });
}

/** The name was free when it was chosen. @throws Failure `target/unsuitable` where somebody has it now. */
async function refuseTaken(both: Beside, context: StageContext): Promise<void> {
  if ((await lookAtFresh(both, context)) === undefined) return;
  throw new Failure("target/unsuitable", `a database '${both.fresh}' was made meanwhile, and not by this restore`, {
    hint: "Look what it is. 'chatkeep rollback' undoes what was done so far; then restore again.",
  });
}
