/**
 * The stage `environment`: what the point's data needs, and its settings, are merged into the place's environment files. All
 * else in them stays. What Chatkeep cannot write itself is told; other files of the configuration are put beside.
 */
import { dirname, join } from "node:path";
import { plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { shortId } from "../../base/ids.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import { lookAtFile } from "../../system/keep-file.ts";
import { knownNeed, type RoomNeed } from "../room.ts";
import { lookAgain } from "./coming-up.ts";
import { type ConfigDifference, findDifferences, putBeside } from "./config-differences.ts";
import {
  backBlockers,
  deniedFiles,
  keepFiles,
  type KeptFile,
  putBack,
  textsBefore,
  textsOf,
  writeEdits,
  writeToSet,
} from "./environment-files.ts";
import { environmentBlockers, environmentFindings, environmentLines, toMakeAgain } from "./environment-findings.ts";
import { columnsThatStayClosed } from "./environment-keys.ts";
import { type EnvironmentPlan, filesOf, matchOptionsOf, planEnvironment } from "./environment-plan.ts";
import { makeAgain, planRemake, remakeCommandOf } from "./made-again.ts";
import {
  NOTHING_TO_DO,
  type Stage,
  type StageContext,
  type StagePlan,
  type StageRecord,
  type StageResult,
  type UndoContext,
  type UndoPlan,
} from "./stage.ts";

export interface EnvironmentRecord {
  readonly files: readonly KeptFile[];
  readonly isWritten: boolean;
  /** Somebody was told that containers have to be made again. */
  readonly isTold: boolean;
  /** They were made again by Chatkeep. */
  readonly isRemade?: boolean;
}

/** Below the restore's folder. */
const CONFIG = "config";

const NONE: Environment = new Map();

async function planFor(context: StageContext, texts: Map<string, string>): Promise<EnvironmentPlan> {
  const { reader, saved = NONE, place } = context;
  const options = matchOptionsOf(context);
  const isLost = filesOf(place.installation).some(({ path }) => !texts.has(path));
  // Elsewhere it would bring another place's addresses with it.
  const isWanted = isLost && options.place === "here" && (await reader.find("config/env")) !== undefined;
  return planEnvironment(saved, place.installation, {
    options,
    texts,
    base: isWanted ? await reader.readText("config/env") : "",
    note: `from restore point ${shortId(reader.point.id)}`,
  });
}

async function differencesOf(context: StageContext): Promise<ConfigDifference[]> {
  const { reader, place, signal } = context;
  if (matchOptionsOf(context).place === "clone") return [];
  const { installation } = place;
  const nameOf = installation.nameOf ?? ((path: string) => path);
  const environmentFiles = filesOf(installation).map(({ path }) => nameOf(path));
  return await findDifferences(reader, installation, { environmentFiles, signal });
}

function withoutSaved(): Finding {
  return {
    kind: "point-without-environment",
    level: "warning",
    message: "the restore point holds no environment: this place's stays as it is",
    hint: "SECRET_KEY_BASE and ACTIVE_RECORD_ENCRYPTION_* must be those of the installation that the data comes from.",
  };
}

function differenceLines(differences: readonly ConfigDifference[], folder: string): string[] {
  if (differences.length === 0) return [];
  const named = differences.map(({ place, isMissing }) => `${place}${isMissing ? " (not there)" : ""}`);
  const shown = named.length <= 8 ? named.join(", ") : `${named.slice(0, 7).join(", ")} and ${named.length - 7} more`;
  return [
    `${plural(differences.length, "other file")} of the configuration differ and stay as they are; what was saved is put into ${join(folder, CONFIG)}: ${shown}`,
  ];
}

async function plan(context: StageContext): Promise<StagePlan> {
  const { place, saved, manifest, reader, folder, signal } = context;
  const { installation } = place;
  const planned = await planFor(context, await textsOf(installation));
  const differences = await differencesOf(context);
  const { place: where } = matchOptionsOf(context);
  // Whatever is encrypted in a clone is emptied, and its place keeps its own keys.
  const closed = where === "clone" ? [] : await columnsThatStayClosed(manifest.keyProof, saved, planned.after);
  const denied = await deniedFiles(planned.edits);
  const blockers = environmentBlockers(planned, { closed, denied, point: shortId(reader.point.id) });
  if (saved === undefined && where !== "clone") return { ...NOTHING_TO_DO, blockers, findings: [withoutSaved()] };
  const present = installation.environment;
  const isIdle = planned.edits.length === 0 && planned.unsettable.length === 0;
  const isOfContainers = planned.edits.some(({ file }) => !file.isReadAtStart);
  const remade = isOfContainers ? await planRemake(installation, { signal }) : undefined;
  const remake = remakeCommandOf(installation);
  return {
    lines: [
      ...(isIdle ? [] : environmentLines(planned)),
      ...(remade !== undefined && "services" in remade
        ? [`the containers of ${remade.services} are made again with it, and not started yet: ${remake ?? ""}`]
        : []),
      ...differenceLines(differences, folder),
    ],
    blockers,
    findings: [
      ...environmentFindings(planned, { saved: saved ?? NONE, present, place: where }),
      ...(remade !== undefined && "trouble" in remade ? [toMakeAgain(remade.trouble, remake)] : []),
    ],
    environment: planned.lines,
    room: await roomOf(planned),
  };
}

/** Where links lead. */
async function roomOf({ edits }: EnvironmentPlan): Promise<RoomNeed[]> {
  return await Promise.all(
    edits.map(async ({ file: { path }, after }) => {
      const real = (await lookAtFile(path))?.path ?? path;
      return knownNeed("environment files", dirname(real), Buffer.byteLength(after, "utf8"));
    }),
  );
}

/** Names that containers were made with otherwise than the files have them now. */
function notInForce({ values, unsettable }: EnvironmentPlan, running: Environment): string[] {
  const others = new Set(unsettable.map(({ name }) => name));
  return [...values].filter(([name, value]) => !others.has(name) && running.get(name) !== value).map(([name]) => name);
}

function isNeeded(planned: EnvironmentPlan, name: string): boolean {
  return planned.lines.some((line) => line.name === name && line.class === "must-match");
}

async function apply(context: StageContext, record: StageRecord<EnvironmentRecord>): Promise<StageResult> {
  const { folder, place, saved } = context;
  const { installation } = place;
  // A clone's ways out are closed whatever was saved.
  if (saved === undefined && matchOptionsOf(context).place !== "clone") return { lines: [], findings: [] };
  let kept = record.kept;
  const texts =
    kept === undefined || kept.isWritten
      ? await textsOf(installation)
      : await textsBefore({ installation, folder }, kept.files);
  const planned = await planFor(context, texts);
  if (kept === undefined) {
    kept = { files: await keepFiles({ installation, folder }, planned.edits), isWritten: false, isTold: false };
    await record.keep(kept);
  }
  if (!kept.isWritten) {
    await writeEdits(planned.edits, kept.files);
    kept = { ...kept, isWritten: true };
    await record.keep(kept);
  }
  const next: string[] = [];
  if (planned.unsettable.length > 0) {
    const path = await writeToSet(folder, planned.unsettable, planned.values);
    const places = [...new Set(planned.unsettable.map(({ where }) => where))].join("; ");
    next.push(`set ${planned.unsettable.map(({ name }) => name).join(", ")} in ${places}: the lines are in ${path}`);
  }
  const differences = await differencesOf(context);
  await putBeside(context.reader, differences, join(folder, CONFIG));
  if (differences.length > 0) {
    next.push(
      `compare ${join(folder, CONFIG)} with the machine's own: ${plural(differences.length, "file")} of the configuration differ`,
    );
  }
  const done: StageResult = {
    lines: [
      ...kept.files.map(({ path }) => `merged the point's environment into ${path}`),
      ...differenceLines(differences, folder),
    ],
    findings: [],
    next,
  };
  return await takeEffect(context, { planned, kept, record, done });
}

interface Effect {
  planned: EnvironmentPlan;
  kept: EnvironmentRecord;
  record: StageRecord<EnvironmentRecord>;
  done: StageResult;
}

/** Processes read their files when they start; containers have what they were made with. */
async function takeEffect(context: StageContext, { planned, kept, record, done }: Effect): Promise<StageResult> {
  const { installation } = context.place;
  const isOfContainers = filesOf(installation).some(
    ({ path, isReadAtStart }) => !isReadAtStart && kept.files.some(({ name }) => name === path),
  );
  const made = isOfContainers ? await bringIntoForce(context, { planned, kept, record }) : { lines: [] };
  // Whoever comes after this stage asks the application with what it is started with.
  if (made.holds === undefined) {
    for (const [name, value] of planned.after) installation.environment.set(name, value);
  }
  return { ...done, ...made, lines: [...done.lines, ...made.lines] };
}

/** Compose tells which containers have to be made again; what they have afterwards is looked at all the same. */
async function bringIntoForce(
  context: StageContext,
  { planned, kept, record }: Omit<Effect, "done">,
): Promise<Pick<StageResult, "lines" | "holds">> {
  const made = kept.isRemade === true ? undefined : await makeAgain(context);
  const isRemade = made === undefined || "services" in made;
  if (isRemade && kept.isRemade !== true) await record.keep({ ...kept, isRemade });
  const now = await lookAgain(context);
  const others = notInForce(planned, now.environment);
  const waiting = isRemade || kept.isTold ? others.filter((name) => isNeeded(planned, name)) : others;
  if (waiting.length === 0) {
    const services = made !== undefined && "services" in made ? made.services : undefined;
    return { lines: services === undefined ? [] : [`the containers of ${services} have it, and are not started yet`] };
  }
  await record.keep({ ...kept, isRemade, isTold: true });
  const why = made !== undefined && "trouble" in made ? `, and Chatkeep cannot make them again: ${made.trouble}` : "";
  const how =
    remakeCommandOf(now) ?? "make Chatwoot's containers again from what they were made of, and start none of them";
  return {
    lines: [],
    holds: `containers still have another ${waiting.join(", ")} than their files${why}. Call: ${how}`,
  };
}

async function room(context: StageContext): Promise<RoomNeed[]> {
  return await roomOf(await planFor(context, await textsOf(context.place.installation)));
}

async function undo(context: UndoContext, record: StageRecord<EnvironmentRecord>): Promise<StageResult> {
  const lines: string[] = [];
  // Whoever starts the containers again sees to it that they have what the files say then.
  for (const [at, file] of (record.kept?.files ?? []).entries()) lines.push(await putBack(context, file, at));
  return { lines, findings: [] };
}

async function planUndo(
  { folder }: UndoContext,
  { kept }: Pick<StageRecord<EnvironmentRecord>, "kept">,
): Promise<UndoPlan> {
  return { blockers: await backBlockers({ folder }, kept?.files ?? []), findings: [] };
}

export const environmentStage: Stage<EnvironmentRecord> = {
  name: "environment",
  plan,
  apply,
  room,
  // With the keys of the restored data Chatwoot would damage what was there before.
  undoIs: "needed",
  planUndo,
  undo,
};
