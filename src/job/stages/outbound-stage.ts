/**
 * Before the worker is started it is looked at what it would do by itself, out of a database that is some hours old: send
 * campaigns again, close conversations, delete accounts. A person says what becomes of it, or it is made to rest.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { formatInstant } from "../../base/clock.ts";
import { Failure } from "../../base/errors.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { connectIfThere } from "../../postgres/connect-if-there.ts";
import { replaceFile } from "../../system/replace-file.ts";
import { channelChecklist, readChannels } from "../channel-checklist.ts";
import { makeChanges, type OutboundChange, planDefuse, reviewOutbound } from "../outbound.ts";
import type { OutboundItem } from "../outbound-kinds.ts";
import { outboundLines, outboundTotals, restedLines } from "../outbound-lines.ts";
import { mayBeTold } from "./left-over.ts";
import {
  NOTHING_TO_DO,
  type OutboundChoice,
  type Stage,
  type StageContext,
  type StagePlan,
  type StageResult,
} from "./stage.ts";

export interface OutboundKept {
  /** What it was asked to let rest. */
  readonly items: readonly OutboundItem[];
  /** The file in the restore's folder that has the rows, each with what it held. */
  readonly file: string;
}

const CHANGES = "outbound-changes.json";
const REVIEW = "outbound-review.json";

const PLANS: Record<OutboundChoice, string> = {
  ask: "you are asked what becomes of it",
  defuse: "it is made to rest",
  allow: "it is allowed",
  hold: "the restore holds there if there is anything",
};

export const outboundStage: Stage<OutboundKept> = {
  name: "outbound",

  plan({ fresh, options }): Promise<StagePlan> {
    // A clone was neutralised before, and its worker is not started.
    if (fresh === undefined || options.clone !== undefined) return Promise.resolve(NOTHING_TO_DO);
    const line = `before the worker starts: what it would send, close or delete by itself is shown, and ${PLANS[options.outbound]}`;
    return Promise.resolve({ lines: [line], blockers: [], findings: [] });
  },

  async apply(context, record) {
    const { fresh, options, place, signal } = context;
    if (fresh === undefined || options.clone !== undefined) return { lines: [], findings: [] };
    await using connection = await connect(place.address, { signal });
    // Killed in the middle of it.
    if (record.kept !== undefined)
      return await withChannels(context, connection, await defuse(context, record.kept, connection));
    const times = timesOf(context);
    const review = await reviewOutbound(connection, times);
    const { items, notes } = review;
    if (items.length === 0) {
      const lines = ["the worker would send, close and delete nothing by itself", ...notes];
      return await withChannels(context, connection, { lines, findings: [] });
    }
    const path = join(context.folder, REVIEW);
    await replaceFile(path, `${JSON.stringify(review, null, 1)}\n`, 0o600);
    const lines = [...outboundLines(items, path), ...notes];
    const choice = await choose(context, lines);
    if (choice === "allow") {
      return await withChannels(context, connection, {
        lines: ["allowed, as the worker starts:", ...lines],
        findings: [],
      });
    }
    if (choice !== "defuse") return { lines, findings: [], holds: holdsOf(items) };
    const changes = await planDefuse(connection, times);
    await replaceFile(join(context.folder, CHANGES), `${JSON.stringify(changes, null, 1)}\n`, 0o600);
    const kept = { items, file: CHANGES };
    await record.keep(kept);
    return await withChannels(context, connection, await defuse(context, kept, connection));
  },

  // These rows are in the restored database alone, which is put aside: whoever takes it out again is told.
  undoIs: "spared",
  async undo({ place, folder, signal }, { kept }) {
    if (kept === undefined) return { lines: [], findings: [] };
    try {
      await using connection = await connectIfThere(place.address, { signal });
      // Dropped since: what was changed in it went with it.
      if (connection === undefined) return { lines: [], findings: [] };
      const count = await makeChanges(connection, (await readChanges(folder, kept)).toReversed(), "revert");
      return { lines: [`${count} rows that had been made to rest are as they were`], findings: [] };
    } catch (error) {
      if (!mayBeTold(error, { signal })) throw error;
      throw new Failure(error.code, `rows of the restored database that were made to rest stay so: ${error.message}`, {
        hint: `The database of before never had them so. What they held is in ${join(folder, kept.file)}.`,
        cause: error,
      });
    }
  },
};

function timesOf({ clock, manifest }: StageContext): { now: string; takenAt: string } {
  return { now: formatInstant(clock.now()), takenAt: manifest.imported?.madeAt ?? manifest.startedAt };
}

async function choose({ options, ask }: StageContext, lines: readonly string[]): Promise<OutboundChoice> {
  if (options.outbound !== "ask") return options.outbound;
  if (ask === undefined) return "hold";
  const answer = await ask({
    lines,
    question: "The worker would do this by itself as soon as it is started.",
    choices: [
      { answer: "hold", meaning: "do not start it yet" },
      { answer: "defuse", meaning: "make all of it rest, then start it" },
      { answer: "allow", meaning: "start it, and let it happen" },
    ],
  });
  return answer === "defuse" || answer === "allow" ? answer : "hold";
}

function holdsOf(items: readonly OutboundItem[]): string {
  return `the worker is not started, for it would act by itself: ${outboundTotals(items)}`;
}

async function defuse({ folder }: StageContext, kept: OutboundKept, connection: Connection): Promise<StageResult> {
  await makeChanges(connection, await readChanges(folder, kept), "defuse");
  const { lines, next } = restedLines(kept.items);
  return { lines: [...lines, `what these rows held before is in ${join(folder, kept.file)}`], findings: [], next };
}

/** With what is left for a person to do about channels: they see each other's messages once the worker runs. */
async function withChannels(context: StageContext, connection: Connection, result: StageResult): Promise<StageResult> {
  const { options, place, saved } = context;
  const [then, here] = [saved?.get("FRONTEND_URL"), place.installation.environment.get("FRONTEND_URL")];
  const isElsewhere = options.isElsewhere === true;
  // As the stage of the environment decides it.
  const move = { before: then, after: isElsewhere ? (here ?? then) : (then ?? here), isElsewhere };
  const next = [...(result.next ?? []), ...channelChecklist(await readChannels(connection), move)];
  return next.length === 0 ? result : { ...result, next };
}

async function readChanges(folder: string, { file }: OutboundKept): Promise<OutboundChange[]> {
  return JSON.parse(await readFile(join(folder, file), "utf8")) as OutboundChange[];
}
