/**
 * The restored database takes the live one's name; the live one is kept beside it. An undo swaps them back. Where none had the
 * name when the restored one was begun, it takes the name alone, and an undo takes it away again.
 */
import { Failure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect } from "../../postgres/connect.ts";
import { keptName, type KeptNote, readDatabase, readDatabaseNames } from "../../postgres/kept-databases.ts";
import { swapDatabases } from "../../postgres/swap.ts";
import { leaveName, takeName } from "../../postgres/take-name.ts";
import { connectBeside } from "../../postgres/target.ts";
import { swapBlockers } from "../live-holders.ts";
import { assertNotHeld } from "../load-beside.ts";
import { besideOf } from "./database-stage.ts";
import { mayBeTold } from "./left-over.ts";
import { seeNobody } from "./nobody.ts";
import {
  behind,
  NOTHING_TO_UNDO,
  type Stage,
  type StageContext,
  type StageResult,
  type UndoContext,
  type UndoPlan,
} from "./stage.ts";

/** Numbers of the two databases, which stay theirs whatever they are called. */
export interface SwapKept {
  /** null where there was none. */
  readonly liveOid: number | null;
  readonly freshOid: number;
  readonly point: string;
}

export const swapStage: Stage<SwapKept> = {
  name: "swap",
  // The database of before is what a rollback is for.
  undoIs: "needed",

  async plan(context) {
    const { address } = context.place;
    await using connection = await connectBeside(address, context);
    const isThere = (await readDatabase(connection, address.database)) !== undefined;
    const rest = isThere ? "the one that is there now is kept beside it" : "none has that name now";
    const line = `the restored database is called '${address.database}' from then on; ${rest}`;
    return { lines: [line], blockers: [], findings: [] };
  },

  async apply(context, record) {
    const { address, fresh } = besideOf(context);
    const { database: live } = address;
    const kept = record.kept ?? (await lookAtBoth(context));
    if (record.kept === undefined) await record.keep(kept);
    const names = await namesNow(context, kept);
    // Killed behind the swap, and before it was told of.
    if (names.fresh === live) return swapped(live, kept, names.live);
    const isAsBefore = kept.liveOid === null ? !names.isTaken : names.live === live;
    if (!isAsBefore || names.fresh !== fresh) throw changed(live, fresh);
    await assertNotHeld({ address, fresh }, { stays: NOTHING_LOST, signal: context.signal });
    // Somebody may have started what was stopped: loading has taken its time. What Chatwoot would write now would be lost on it.
    const seen = await seeNobody(context, { isAgain: true });
    if (kept.liveOid === null) {
      await takeName(address, fresh, { ...context, again: `Nothing was renamed. ${NOTHING_LOST}` });
      return behind(seen, swapped(live, kept, undefined));
    }
    const swap = { live, fresh, why: "before", point: kept.point } as const;
    return behind(seen, swapped(live, kept, await swapDatabases(address, swap, { ...context, stays: NOTHING_LOST })));
  },

  async undo(context, { kept }) {
    if (kept === undefined) return { lines: [], findings: [] };
    const { address } = context.place;
    const { database: live } = address;
    const names = await namesNow(context, kept);
    if (kept.liveOid === null) return await undoAlone(context, kept, names);
    const way = wayBack(live, names);
    if (way === "none" || names.live === undefined) return { lines: [], findings: [] };
    if (way === "lost") throw lost(live, names.live);
    if (way === "rename") {
      await takeName(address, names.live, context);
      return { lines: [`'${live}' is the one that was there before; the restored one was gone already`], findings: [] };
    }
    // Nothing of the stages behind it may have been begun, and so nobody have been stopped again since.
    const seen = await seeNobody(context, { isAgain: true });
    const swap = { live, fresh: names.live, why: "rolledback", point: kept.point } as const;
    const aside = await swapDatabases(address, swap, context);
    return behind(seen, {
      lines: [
        `database '${live}' is the one that was there before; what was restored, with what came since, is kept as '${aside}'`,
      ],
      findings: [],
    });
  },

  async planUndo(context, { kept }) {
    if (kept === undefined) return NOTHING_TO_UNDO;
    const { address } = context.place;
    const { database: live } = address;
    const names = await namesNow(context, kept);
    if (kept.liveOid === null) return await planUndoAlone(context, names);
    const way = wayBack(live, names);
    if (way === "lost") return { blockers: [lostFinding(live, names.live)], findings: [] };
    if (way === "none" || names.live === undefined) return NOTHING_TO_UNDO;
    const blockers: Finding[] = [];
    const findings: Finding[] = [];
    {
      await using connection = await connectBeside(address, context);
      findings.push(...renamedFinding(live, names.live, (await readDatabase(connection, names.live))?.note));
      const out = way === "rename" ? undefined : await swapBlockers(connection, live, { side: "live" });
      const back = await swapBlockers(connection, names.live, { side: "back" });
      blockers.push(...(out?.blockers ?? []), ...(back?.blockers ?? []));
      findings.push(...(out?.findings ?? []), ...(back?.findings ?? []));
    }
    // One that takes no sessions any more would have its name again, and Chatwoot be down all the same.
    const closed = await whyClosed({ ...address, database: names.live }, context);
    if (closed !== undefined) blockers.push(closed);
    return { blockers, findings };
  },
};

/** There was none before: the restored one, with what came since, is put aside. One that has another name by now is left alone. */
async function undoAlone(context: UndoContext, { point }: SwapKept, { fresh }: Names): Promise<StageResult> {
  const { address } = context.place;
  const { database: live } = address;
  if (fresh !== live) return { lines: [], findings: [] };
  const seen = await seeNobody(context, { isAgain: true });
  const aside = await leaveName(address, { ...context, point });
  return behind(seen, {
    lines: [
      `there is no database '${live}', as before; what was restored, with what came since, is kept as '${aside}'`,
    ],
    findings: [],
  });
}

async function planUndoAlone(context: UndoContext, { fresh }: Names): Promise<UndoPlan> {
  const { address } = context.place;
  const { database: live } = address;
  if (fresh !== live) return NOTHING_TO_UNDO;
  await using connection = await connectBeside(address, context);
  return (await swapBlockers(connection, live, { side: "live" })) ?? NOTHING_TO_UNDO;
}

/** What is known by its number is put back, whatever somebody has called it since; whether that was meant, a person knows. */
function renamedFinding(live: string, name: string, note: KeptNote | undefined): Finding[] {
  if (note === undefined) return [];
  const expected = keptName(live, note.chatkeep, note.at);
  // A number behind it where two swaps fell into one second.
  if (name === expected || /^_\d+$/.test(name.slice(expected.length))) return [];
  return [
    {
      kind: "database-renamed",
      level: "warning",
      message: `the database that was there before was put aside as '${expected}', and somebody renamed it to '${name}'`,
      hint: `The rollback gives it the name '${live}' again, with all that was written into it since. If it is in use for something else, copy it first: createdb --template.`,
    },
  ];
}

function lostFinding(live: string, name: string | undefined): Finding {
  const { message, hint = "" } = lost(live, name);
  return { kind: "database-no-swap", level: "alarm", message, hint };
}

async function whyClosed(address: ServerAddress, { signal }: UndoContext): Promise<Finding | undefined> {
  try {
    await using _connection = await connect(address, { signal });
    return undefined;
  } catch (error) {
    if (!mayBeTold(error, { signal })) throw error;
    const { message, hint = "Let Chatwoot's role connect to it." } = error;
    return {
      kind: "database-no-swap",
      level: "alarm",
      message: `'${address.database}', which was there before, lets nobody in: ${message}`,
      hint,
    };
  }
}

const NOTHING_LOST = "The restored database stays beside the live one: 'chatkeep restore --resume' swaps it in.";

function swapped(live: string, { liveOid }: SwapKept, previous: string | undefined) {
  const none = liveOid === null ? "there was none before" : "the earlier one is gone";
  const kept = previous === undefined ? none : `the earlier one is kept as '${previous}'`;
  return { lines: [`'${live}' is the restored database; ${kept}`], findings: [] };
}

/** @throws Failure `target/unsuitable` where one of the two is not there, or is not what was loaded. */
async function lookAtBoth(context: StageContext): Promise<SwapKept> {
  const { address, fresh } = besideOf(context);
  const { id: point } = context.reader.point;
  await using connection = await connectBeside(address, context);
  const [before, after] = [await readDatabase(connection, address.database), await readDatabase(connection, fresh)];
  const isOurs = after?.note?.chatkeep === "restoring" && after.note.point === point;
  // One that was there when the restore began, and is not there now, may come back: somebody renamed it.
  const isExpected = before !== undefined || after?.note?.hadNone === true;
  if (!isExpected || after === undefined || !isOurs) throw changed(address.database, fresh);
  return { liveOid: before?.oid ?? null, freshOid: after.oid, point };
}

interface Names {
  /** What the one that was live is called; undefined where it is gone. */
  live: string | undefined;
  /** Likewise of the one that was loaded. */
  fresh: string | undefined;
  /** Some database has the live name. */
  isTaken: boolean;
}

async function namesNow({ place, signal }: UndoContext, { liveOid, freshOid }: SwapKept): Promise<Names> {
  await using connection = await connectBeside(place.address, { signal });
  const names = await readDatabaseNames(connection);
  const isTaken = [...names.values()].includes(place.address.database);
  return { live: liveOid === null ? undefined : names.get(liveOid), fresh: names.get(freshOid), isTaken };
}

/**
 * How a swap is undone. `none`: it was not done, or is undone. `rename`: somebody dropped the restored one since, so that the
 * one of before only needs its name. Pure.
 */
function wayBack(live: string, { live: before, fresh, isTaken }: Names): "none" | "swap" | "rename" | "lost" {
  if (before === live) return "none";
  // Dropped by somebody, and nothing was put into its place.
  if (before === undefined) return fresh === live ? "lost" : "none";
  if (fresh === live) return "swap";
  return fresh === undefined && !isTaken ? "rename" : "lost";
}

function changed(live: string, fresh: string): Failure {
  return new Failure(
    "target/unsuitable",
    `somebody renamed, made or dropped '${live}' or '${fresh}' since the restore was begun`,
    { hint: "Nothing was swapped. 'chatkeep rollback' undoes the rest; then restore again." },
  );
}

function lost(live: string, name: string | undefined): Failure {
  const what = name === undefined ? "the database that was live before is gone" : `'${live}' is not what was restored`;
  return new Failure("target/unsuitable", `the swap cannot be undone: ${what}`, {
    hint: "Somebody dropped or renamed a database since. Nothing was changed; 'chatkeep doctor' names what is kept.",
  });
}
