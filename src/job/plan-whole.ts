/** What bringing a point back into an installation's own place means there: every stage looks, and nothing is changed. */
import { type Clock, formatInstant } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import type { Environment } from "../chatwoot/environment.ts";
import { parseEnvironment, SAVED_ENVIRONMENT } from "../point/environment.ts";
import type { Manifest } from "../point/manifest.ts";
import { keptName } from "../postgres/kept-databases.ts";
import { describeUse } from "../postgres/use.ts";
import { isNotWhole, notWholeFinding } from "./not-whole.ts";
import type { PointReader } from "./point-reader.ts";
import { absentPart, afterDamageFindings, isListed, missingFindings, type Part } from "./restore-findings.ts";
import { refuseUnfinished } from "./restore-journals.ts";
import { apart, lookForRoom, recordsNeed, roomFindings } from "./room.ts";
import { savedKeyFindings } from "./saved-keys.ts";
import { ALL_STAGES } from "./stages/all.ts";
import { planVersions } from "./stages/code-versions.ts";
import type { Place, Stage, StageContext, StageName, StageOptions, StagePlan, UndoContext } from "./stages/stage.ts";
import { namesAtTarget } from "./target-server.ts";
import { toldMoment } from "./moment-position.ts";
import { momentFindings } from "./moment-told.ts";
import { lackingFindings } from "./unreadable.ts";
import type { WholePlan } from "./whole-summaries.ts";

export type { OutboundChoice, Place, StageOptions, StageQuestion } from "./stages/stage.ts";

/** Each stage that some part needs. What the application has read before must be read by it anew. */
const NEEDED_BY: Readonly<Record<StageName, readonly Part[]>> = {
  stop: ["database", "config", "code"],
  database: ["database"],
  files: ["storage"],
  code: ["code"],
  image: ["database", "config", "code"],
  clone: ["database"],
  swap: ["database"],
  environment: ["config"],
  redis: ["database"],
  migrate: ["database"],
  web: ["database", "config", "code"],
  health: ["database", "config", "code"],
  outbound: ["database"],
  worker: ["database", "config", "code"],
};

/** Chatkeep's own name for the place, where a configuration gives it one. */
export interface OwnIdentity {
  readonly id: string;
  readonly name: string;
}

export interface Surrounding {
  /** Takes every known secret out of what is recorded. */
  redact: <T>(value: T) => T;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** Those who watch. */
export interface Watching extends Surrounding {
  /** Told what is in the point's environment, so that nothing printed has a secret of it. */
  hide: (environment: Environment) => void;
  /** Undefined where nobody is at a terminal. */
  ask: StageContext["ask"];
}

export interface WholeOptions extends Watching {
  place: Place;
  own: OwnIdentity | undefined;
  parts: readonly Part[];
  /** The parts were asked for by name: one that the point lacks stands in the way. */
  isNamed: boolean;
  stages: StageOptions;
  /** The folder with a folder for each restore. */
  home: (manifest: Manifest) => Promise<string>;
  /** As `--repository` takes it. */
  repositoryName: string;
  /** What is known of where the point is read. */
  known?: readonly Finding[];
  program: string;
}

export interface Planned {
  plan: WholePlan;
  context: StageContext;
  id: string;
  at: string;
}

/** What would be done, and all that stands in the way. Changes nothing. */
export async function planWhole(reader: PointReader, options: WholeOptions): Promise<WholePlan> {
  return (await planAll(reader, options)).plan;
}

/** {@link planWhole}, with what the doing needs. */
export async function planAll(reader: PointReader, options: WholeOptions): Promise<Planned> {
  const manifest = await reader.manifest();
  const home = await options.home(manifest);
  await refuseUnfinished(home);
  const parts: Part[] = [];
  const blockers: Finding[] = [];
  const findings: Finding[] = [...(await savedKeyFindings(reader))];
  if (await isNotWhole(reader.repository, reader.point, options)) findings.push(notWholeFinding(reader.point));
  for (const part of options.parts) {
    if ((await reader.folderTree(part)) !== undefined) parts.push(part);
    else if (options.isNamed) blockers.push(absentPart(part));
    else if (isListed(manifest, part)) findings.push(absentPart(part));
  }
  const at = formatInstant(options.clock.now());
  const id = `${at.replaceAll(/[-:]/g, "").slice(0, 15)}Z-${shortId(reader.point.id)}`;
  const fresh = parts.includes("database") ? await freshName(options, at) : undefined;
  const context = await contextOf(reader, { ...options, folder: `${home}/${id}`, fresh });
  const planned = await planStages(stagesFor(parts, options.stages), context);
  const versions = await versionsFor(parts, context);
  if (planned.length === 0 && blockers.length === 0) blockers.push(absentPart("nothing at all"));
  blockers.push(...cloneBlockers(options.stages, planned), ...ownCloneBlockers(manifest, options));
  const space = await spaceFor(planned, context);
  const { place } = options;
  const plan: WholePlan = {
    type: "plan",
    verb: "restore",
    isWhole: true,
    point: reader.point.id,
    snapshot: reader.point.snapshotId,
    takenAt: manifest.startedAt,
    ...(await toldMoment(reader, manifest, options)),
    installation: manifest.installation.name,
    chatwoot: manifest.chatwoot.version,
    place: describePlace(place),
    replaces: await placeReplaced(manifest, context.saved, options),
    parts,
    stages: planned
      .filter(({ plan: { lines } }) => lines.length > 0)
      .map(({ name, plan: { lines } }) => ({ name, lines: [...lines] })),
    environment: planned.flatMap(({ plan: { environment = [] } }) => environment),
    blockers: [
      ...blockers,
      ...versions.blockers,
      ...planned.flatMap(({ plan: { blockers: found } }) => found),
      ...space.blockers,
    ],
    findings: [
      ...(options.known ?? []),
      ...(parts.includes("database") ? lackingFindings(manifest) : []),
      ...momentFindings(manifest),
      ...findings,
      ...versions.findings,
      ...afterDamageFindings(manifest),
      ...missingFindings(manifest, parts),
      ...planned.flatMap(({ plan: { findings: found } }) => found),
      ...space.findings,
    ],
  };
  return { plan, context, id, at };
}

/** A clone takes its place's database, and makes everything in it silent: never that of the installation that it is a copy of. */
function ownCloneBlockers({ installation }: Manifest, { stages, own }: WholeOptions): Finding[] {
  if (stages.clone === undefined || own?.id !== installation.id) return [];
  return [
    {
      kind: "clone-shares",
      level: "alarm",
      message: `this place is the installation '${installation.name}' itself, and a clone would take its place`,
      hint: "Make the clone on a machine of its own with --onto, or beside with --database-url and --to.",
    },
  ];
}

/** Where no code is brought back the database must fit what is there; else the stage of the code sees to it. */
async function versionsFor(
  parts: readonly Part[],
  context: StageContext,
): Promise<{ blockers: Finding[]; findings: Finding[] }> {
  if (!parts.includes("database") || parts.includes("code")) return { blockers: [], findings: [] };
  return await planVersions(context);
}

/** Pure. */
function stagesFor(parts: readonly Part[], { clone }: StageOptions): Stage[] {
  // An anonymised copy gets files that stand for the uploaded ones, and never those.
  const isWanted = (name: StageName) => name !== "files" || clone?.anonymise !== true;
  const isNeeded = (name: StageName) =>
    // A clone's ways out are closed whatever else was asked for.
    NEEDED_BY[name].some((part) => parts.includes(part)) || (name === "environment" && clone !== undefined);
  return ALL_STAGES.filter(({ name }) => isWanted(name) && isNeeded(name));
}

/** A copy that nothing was taken out of would act as the original. Pure. */
function cloneBlockers({ clone }: StageOptions, planned: readonly { name: StageName; plan: StagePlan }[]): Finding[] {
  const isCloned = planned.some(({ name, plan: { lines } }) => name === "clone" && lines.length > 0);
  if (clone === undefined || isCloned) return [];
  const message = "a copy is asked for, and nothing of this restore would make it one";
  const hint = "A copy has the whole database: leave --only out, or name a new database with --database-url.";
  return [{ kind: "clone-not-made", level: "alarm", message, hint }];
}

/** The database, files, code and what is kept for an undo may all lie on one disk: each has room there, and all have not. */
async function spaceFor(
  planned: readonly { plan: StagePlan }[],
  { folder }: StageContext,
): Promise<{ blockers: Finding[]; findings: Finding[] }> {
  const needs = planned.flatMap(({ plan: { room = [] } }) => room);
  return apart(roomFindings(await lookForRoom([recordsNeed(folder), ...needs]), MORE_ROOM));
}

const MORE_ROOM =
  "Make room there: 'chatkeep restore --discard-previous' drops what earlier restores put aside. Or restore into another server (--database-url), or put the files into another storage service (--storage).";

/** One look that fails hides nothing of the others. */
async function planStages(
  stages: readonly Stage[],
  context: StageContext,
): Promise<{ name: StageName; plan: StagePlan }[]> {
  const planned: { name: StageName; plan: StagePlan }[] = [];
  for (const stage of stages) {
    context.signal.throwIfAborted();
    planned.push({ name: stage.name, plan: await planStage(stage, context) });
  }
  return planned;
}

async function planStage(stage: Stage, context: StageContext): Promise<StagePlan> {
  try {
    return await stage.plan(context);
  } catch (error) {
    if (context.signal.aborted || !isFailure(error) || error.code.startsWith("usage/")) throw error;
    const { message, hint = "Put that right first." } = error;
    return { lines: [], blockers: [{ kind: "stage-unplanned", level: "alarm", message, hint }], findings: [] };
  }
}

/** A name that no database has. */
async function freshName({ place, signal }: WholeOptions, at: string): Promise<string> {
  return keptName(place.address.database, "restoring", at, await namesAtTarget(place, { signal }));
}

interface UndoContextParts extends Surrounding {
  place: Place;
  folder: string;
  /** The new database's name. */
  fresh: string | undefined;
}

/** Pure. */
export function undoContextOf(parts: UndoContextParts): UndoContext {
  const { place, folder, fresh, redact, clock, progress, signal } = parts;
  const address = fresh === undefined ? undefined : { ...place.address, database: fresh };
  return { place, folder, fresh: address, redact, clock, progress, signal };
}

interface ContextParts extends Watching, UndoContextParts {
  stages: StageOptions;
}

export async function contextOf(reader: PointReader, parts: ContextParts): Promise<StageContext> {
  const { stages, hide, ask } = parts;
  const saved = await readSaved(reader);
  if (saved !== undefined) hide(saved);
  return {
    ...undoContextOf(parts),
    reader,
    manifest: await reader.manifest(),
    saved,
    options: stages,
    ...(ask === undefined ? {} : { ask }),
  };
}

async function readSaved(reader: PointReader): Promise<Environment | undefined> {
  const path = `config/${SAVED_ENVIRONMENT}`;
  return (await reader.find(path)) === undefined ? undefined : parseEnvironment(await reader.readText(path));
}

function describePlace({ installation, address }: Place): WholePlan["place"] {
  const { kind, root = null, environment } = installation;
  return { kind, root, database: address.database, frontendUrl: environment.get("FRONTEND_URL") ?? null };
}

/** `https://Chat.Example.com/` and `https://chat.example.com` are one address. */
function comparableUrl(text: string | undefined): string | undefined {
  if (text === undefined || text.trim() === "") return undefined;
  try {
    const { protocol, host, pathname } = new URL(text.trim());
    return `${protocol}//${host}${pathname.replace(/\/+$/, "")}`;
  } catch {
    return text.trim();
  }
}

/**
 * What must be called by its name before it is replaced. A point is meant for another place with `--onto` and `--as-clone`: then
 * it is asked for where somebody already works there.
 */
async function placeReplaced(
  manifest: Pick<Manifest, "installation">,
  saved: Environment | undefined,
  options: WholeOptions,
): Promise<WholePlan["replaces"]> {
  const { place, stages, signal } = options;
  if (!stages.isElsewhere && stages.clone === undefined) return otherPlace(manifest, saved, options);
  const inUse = await describeUse(place.address, { signal });
  if (inUse === undefined) return null;
  return { name: nameOfPlace(place), why: [`this place is in use: it has ${inUse}`] };
}

function nameOfPlace({ installation, address }: Place): string {
  const url = comparableUrl(installation.environment.get("FRONTEND_URL"));
  return url === undefined ? address.database : hostOf(url);
}

/** What says that the place is another than the one that the point was taken of. Pure. */
export function otherPlace(
  { installation }: Pick<Manifest, "installation">,
  saved: Environment | undefined,
  { place, own }: Pick<WholeOptions, "place" | "own">,
): WholePlan["replaces"] {
  const [was, is] = [saved, place.installation.environment].map((env) => comparableUrl(env?.get("FRONTEND_URL")));
  const why: string[] = [];
  if (own !== undefined && own.id !== installation.id) {
    why.push(
      `the restore point is of installation '${installation.name}', and this place is configured as '${own.name}'`,
    );
  }
  if (was !== undefined && is !== undefined && was !== is) {
    why.push(`the restore point is of ${was}, and this place is ${is}`);
  }
  if (why.length === 0) return null;
  return { name: is === undefined || is === was ? (own?.name ?? place.address.database) : hostOf(is), why };
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}
