/**
 * Brings a restore point back into an empty database and an empty folder. The plan is made first and changes
 * nothing; a restore begins only when nothing stands in its way.
 */
import { access, constants, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { plural } from "../base/bytes.ts";
import { Failure, messageOf } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import type { Manifest } from "../point/manifest.ts";
import { describeAddress, type ServerAddress } from "../postgres/address.ts";
import { findPrograms } from "../postgres/programs.ts";
import { inspectTarget, type TargetFacts } from "../postgres/target.ts";
import type { Repository } from "../repo/repository.ts";
import { makeFolders, nearestFolder } from "../system/folders.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import {
  CLONE_ENVIRONMENT,
  type CloneChoice,
  cloneBlockers,
  cloneDatabase,
  type ClonedDatabase,
  cloneNext,
  describeClone,
  writeCloneEnvironment,
} from "./clone/restore-clone.ts";
import { beginClone, finishClone, markFolder, UNFINISHED, unmarkFolder } from "./clone/unfinished-clone.ts";
import { createLike } from "./create-database.ts";
import { loadPoint } from "./load-point.ts";
import { lockToRead } from "./lock.ts";
import { fillWithin } from "./no-space.ts";
import { isNotWhole, notWholeFinding } from "./not-whole.ts";
import { type DatabasePlan, planDatabase } from "./plan-database.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point, type PointList } from "./points.ts";
import { absentPart, isListed, missingFindings, type Part } from "./restore-findings.ts";
import { restoreFolder, restoreStorage } from "./restore-files.ts";
import { newServerSteps } from "./new-server-step.ts";
import { nextSteps } from "./restore-next.ts";
import { applyGrants, createRoles } from "./rights.ts";
import { restoreLive } from "./restore-live.ts";
import { apart, knownNeed, lookForRoom, roomFindings, type RoomNeed } from "./room.ts";
import { ALL_ROWS, type RowChoice } from "./row-choice.ts";
import { savedKeyFindings } from "./saved-keys.ts";
import { expectedFiles } from "./shortfall.ts";
import { toldMoment } from "./moment-position.ts";
import { momentFindings } from "./moment-told.ts";
import { lackingFindings } from "./unreadable.ts";
import type { RestorePlan, RestoreSummary } from "./summaries.ts";

export type { CloneChoice } from "./clone/restore-clone.ts";
export type { Part } from "./restore-findings.ts";

export interface RestoreOptions {
  /** Where the database goes; undefined when it is not asked for. */
  database: ServerAddress | undefined;
  /** That is the database which Chatwoot uses: the restored one takes its place. */
  isLive: boolean;
  /** Without it all of them. */
  rows?: RowChoice | undefined;
  /** The folder that receives `storage`, `config` and `code`; undefined when none of them is asked for. */
  to: string | undefined;
  parts: readonly Part[];
  /** The parts were asked for by name: one that the point lacks stands in the way. */
  isNamed: boolean;
  /** Roles that are lacking are made, and owners and rights in the database are what they were. */
  withRoles: boolean;
  /** A copy that reaches nobody; of a whole database that is not the live one. */
  clone?: CloneChoice | undefined;
  /** What is known of where the point is read. */
  known?: readonly Finding[];
  /** False: there is no configuration yet. */
  isConfigured?: boolean;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** What would be done, and what stands in the way. Changes nothing. */
export async function planRestore(reader: PointReader, options: RestoreOptions): Promise<RestorePlan> {
  return (await planAll(reader, options)).plan;
}

interface WholePlan {
  plan: RestorePlan;
  database: DatabasePlan | undefined;
}

async function planAll(reader: PointReader, options: RestoreOptions): Promise<WholePlan> {
  const manifest = await reader.manifest();
  const blockers: Finding[] = [];
  const findings: Finding[] = [...(await savedKeyFindings(reader))];
  if (await isNotWhole(reader.repository, reader.point, options)) findings.push(notWholeFinding(reader.point));
  const database = await planDatabasePart(reader, options);
  const steps: RestorePlan["steps"] = [];
  for (const part of options.parts) {
    const step =
      part === "database" ? databaseStep(database, options) : await planFiles(reader, manifest, part, options);
    if (step !== undefined) steps.push(step);
    else if (options.isNamed) blockers.push(absentPart(part));
    else if (isListed(manifest, part)) findings.push(absentPart(part));
  }
  if (steps.length === 0 && blockers.length === 0) blockers.push(absentPart("nothing at all"));
  blockers.push(...(database?.blockers ?? []));
  if (options.clone !== undefined) blockers.push(...(await cloneBlockers(reader, options.clone)));
  findings.push(...(database?.findings ?? []));
  const room = database?.room === undefined ? [] : [database.room];
  if (options.to !== undefined) {
    blockers.push(...(await folderBlockers(options.to)));
    room.push(folderNeed(options.to, steps));
  }
  const space = apart(roomFindings(await lookForRoom(room), MORE_ROOM));
  blockers.push(...space.blockers);
  findings.push(...space.findings);
  const plan: RestorePlan = {
    type: "plan",
    verb: "restore",
    point: reader.point.id,
    snapshot: reader.point.snapshotId,
    takenAt: manifest.startedAt,
    ...(await toldMoment(reader, manifest, options)),
    installation: manifest.installation.name,
    chatwoot: manifest.chatwoot.version,
    isLive: options.isLive,
    steps,
    roles: database?.roles ?? null,
    estimate: database?.estimate ?? null,
    blockers,
    findings: [
      ...(options.known ?? []),
      ...(steps.some(({ part }) => part === "database") ? lackingFindings(manifest) : []),
      ...momentFindings(manifest),
      ...findings,
      ...missingFindings(manifest, options.parts),
    ],
  };
  return { plan, database };
}

async function planDatabasePart(reader: PointReader, options: RestoreOptions): Promise<DatabasePlan | undefined> {
  const { database: address, isLive, rows = ALL_ROWS, withRoles, parts, signal } = options;
  if (address === undefined || !parts.includes("database")) return undefined;
  return await planDatabase(reader, { address, isLive, rows, withRoles, signal });
}

function databaseStep(
  plan: DatabasePlan | undefined,
  { database, isLive, clone }: RestoreOptions,
): RestorePlan["steps"][number] | undefined {
  if (plan === undefined || database === undefined) return undefined;
  const target = describeAddress(database);
  return {
    part: "database",
    what: clone === undefined ? plan.what : `${plan.what}, ${describeClone(clone)}`,
    target: isLive ? `${target}, in the place of what is there` : target,
    bytes: plan.bytes,
  };
}

async function planFiles(
  reader: PointReader,
  manifest: Manifest,
  part: Exclude<Part, "database">,
  options: RestoreOptions,
): Promise<RestorePlan["steps"][number] | undefined> {
  if (options.to === undefined || (await reader.folderTree(part)) === undefined) return undefined;
  const target = join(options.to, part);
  if (part === "storage") {
    return {
      part,
      what: plural(expectedFiles(manifest.storage), "uploaded file"),
      target,
      bytes: manifest.storage.reduce((n, s) => n + s.bytes, 0),
    };
  }
  if (part === "config" && options.clone !== undefined) {
    return {
      part,
      what: "the clone's environment, and no other file",
      target: join(target, CLONE_ENVIRONMENT),
      bytes: 0,
    };
  }
  const files = part === "config" ? manifest.config.files : manifest.code.files;
  return { part, what: plural(files, "file"), target, bytes: 0 };
}

async function folderBlockers(to: string): Promise<Finding[]> {
  const blockers: Finding[] = [];
  const entries: string[] = await readdir(to).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new Failure("target/unsuitable", `cannot look into '${to}': ${error.message}`, {
      hint: "Name a folder that exists and may be written, or one to be made.",
      cause: error,
    });
  });
  if (entries.length > 0) {
    blockers.push({
      kind: "folder-not-empty",
      level: "alarm",
      message: `the folder '${to}' is not empty`,
      hint: entries.includes(UNFINISHED)
        ? "It holds a clone that was not finished: remove it, and restore again."
        : "Name a new or empty folder with --to: nothing that exists is ever overwritten.",
    });
  }
  if (!(await isWritable(to))) {
    blockers.push({
      kind: "folder-not-writable",
      level: "alarm",
      message: `'${to}' cannot be written by this user`,
      hint: "Name a folder that you may write to, or run Chatkeep as root.",
    });
  }
  return blockers;
}

const MORE_ROOM = "Free some space, or name a folder, or a database on another server, with more room.";

function folderNeed(to: string, steps: RestorePlan["steps"]): RoomNeed {
  const bytes = steps.filter((step) => step.part !== "database").reduce((sum, step) => sum + step.bytes, 0);
  return knownNeed("the files", to, bytes);
}

async function isWritable(path: string): Promise<boolean> {
  return await access(await nearestFolder(path), constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function makeFolder(path: string): Promise<void> {
  try {
    await makeFolders(path, 0o700);
  } catch (cause) {
    throw new Failure("target/unsuitable", `cannot make the folder '${path}': ${messageOf(cause)}`, {
      hint: "Name a folder that you may write to.",
      cause,
    });
  }
}

/** Where the point is, and which one; chosen under the lock, so that nobody can forget and prune it in between. */
export interface RestoreSource {
  repository: Repository;
  choose: (list: PointList) => Point;
}

/**
 * Does what the plan says.
 * @throws Failure `target/not-empty` or `target/unsuitable` when something stands in the way: nothing is touched then.
 */
export async function restore({ repository, choose }: RestoreSource, given: RestoreOptions): Promise<RestoreSummary> {
  const started = given.clock.monotonic();
  await using lock = await lockToRead(repository, given);
  const options = { ...given, signal: AbortSignal.any([given.signal, lock.signal]) };
  const point = choose(await listPoints(repository, options));
  await repository.loadIndex(options);
  const reader = new PointReader(repository, point, options);
  const { plan, database } = await planAll(reader, options);
  const [blocker] = plan.blockers;
  if (blocker !== undefined) {
    const code = blocker.kind.endsWith("not-empty") ? "target/not-empty" : "target/unsuitable";
    throw new Failure(code, blocker.message, { hint: blocker.hint });
  }
  const has = (part: Part) => plan.steps.some((step) => step.part === part);
  const summary: RestoreSummary = {
    type: "summary",
    verb: "restore",
    point: reader.point.id,
    database: null,
    storage: null,
    config: null,
    code: null,
    seconds: 0,
    findings: plan.findings,
    next: [],
  };
  // Before hours of loading: a folder that cannot be made must not be found out afterwards.
  if (options.to !== undefined) await makeFolder(options.to);
  if (options.to !== undefined && options.clone !== undefined) await markFolder(options.to);
  let cloned: ClonedDatabase | undefined;
  if (has("database") && options.database !== undefined) {
    const { findings, ...restored } = options.isLive
      ? await intoLive(reader, options.database, database, options)
      : await restoreOrClone(reader, options.database, database, { ...options, hasStorage: has("storage") });
    cloned = restored.cloned;
    summary.database = { name: restored.name, previous: restored.previous, rows: restored.rows };
    summary.findings.push(...findings);
  }
  if (options.to !== undefined) {
    for (const part of ["storage", "config", "code"] as const) {
      if (has(part)) await restorePart(reader, part, { ...options, to: options.to }, { cloned, summary });
    }
  }
  if (options.to !== undefined && options.clone !== undefined) await unmarkFolder(options.to);
  const manifest = await reader.manifest();
  const isPartial = database?.rows.isWhole === false;
  summary.next = nextSteps(manifest, summary, isPartial);
  if (summary.database !== null && options.database !== undefined && !isPartial && cloned === undefined) {
    const { database: address, isLive: isOwn, isConfigured = true, signal } = options;
    const to = { address, installation: manifest.installation.id, isOwn, isConfigured, signal };
    summary.next.push(...(await newServerSteps(repository, to)));
  }
  if (cloned !== undefined) summary.next = [...cloneNext(summary.config !== null), ...cloned.next];
  summary.seconds = (options.clock.monotonic() - started) / 1000;
  return summary;
}

/** A copy gets its name when it is one. */
async function restoreOrClone(
  reader: PointReader,
  address: ServerAddress,
  plan: DatabasePlan | undefined,
  options: RestoreOptions & { hasStorage: boolean },
): Promise<RestoredDatabase> {
  const { clone } = options;
  if (clone === undefined) return await restoreDatabase(reader, address, plan, options);
  const begun = await beginClone(reader, address, options);
  const restored = await restoreDatabase(reader, begun.address, plan, options);
  const cloned = await cloneDatabase(reader, begun.address, { ...options, clone, database: address });
  await finishClone(begun, address, options);
  const findings = [...begun.findings, ...restored.findings, ...cloned.findings];
  return { ...restored, name: address.database, cloned, findings };
}

async function restorePart(
  reader: PointReader,
  part: Exclude<Part, "database">,
  options: RestoreOptions & { to: string },
  { cloned, summary }: { cloned: ClonedDatabase | undefined; summary: RestoreSummary },
): Promise<void> {
  const target = join(options.to, part);
  if (part === "config" && cloned !== undefined) {
    if (cloned.environment === undefined) return;
    await writeCloneEnvironment(target, cloned.environment);
    summary.config = target;
    return;
  }
  if (part === "storage") {
    const isLocal = cloned !== undefined;
    const restored =
      cloned?.files === undefined ? await restoreStorage(reader, target, { ...options, isLocal }) : undefined;
    summary.findings.push(...(restored?.findings ?? []));
    summary.storage =
      restored === undefined ? (cloned?.files ?? null) : { blobs: restored.files, bytes: restored.bytes };
    return;
  }
  const restored = await restoreFolder(reader, part, target, options);
  summary.findings.push(...restored.findings);
  summary[part] = target;
}

type RestoredDatabase = NonNullable<RestoreSummary["database"]> & { findings: Finding[]; cloned?: ClonedDatabase };

async function intoLive(
  reader: PointReader,
  address: ServerAddress,
  plan: DatabasePlan | undefined,
  options: RestoreOptions,
): Promise<RestoredDatabase> {
  return await fillWithin(
    { address, database: "beside", estimate: plan?.estimate },
    async () => await restoreLive(reader, address, { ...options, leaveOut: plan?.leaveOut }),
  );
}

async function restoreDatabase(
  reader: PointReader,
  address: ServerAddress,
  plan: DatabasePlan | undefined,
  options: RestoreOptions,
): Promise<RestoredDatabase> {
  const target = await inspectTarget(address, options);
  const isMade = target.state === "missing" || address.database !== options.database?.database;
  return await fillWithin(
    { address, database: isMade ? "made" : "given", estimate: plan?.estimate },
    async () => await fillDatabase(reader, { address, target, plan }, options),
  );
}

async function fillDatabase(
  reader: PointReader,
  { address, target, plan }: { address: ServerAddress; target: TargetFacts; plan: DatabasePlan | undefined },
  { signal, progress, withRoles }: RestoreOptions,
): Promise<RestoredDatabase> {
  const manifest = await reader.manifest();
  const programs = await findPrograms(Math.max(target.major, manifest.server.clientMajor), { signal });
  const findings = target.state === "missing" ? await createLike(manifest, address, { signal }) : [];
  if (withRoles) findings.push(...(await createRoles(reader, address, { signal })));
  await using work = await openTemporaryFolder("chatkeep-restore");
  const chosen = { rows: plan?.rows, leaveOut: plan?.leaveOut };
  const loading = { programs, workFolder: work.path, ...chosen, progress, signal };
  const loaded = await loadPoint(reader, address, loading);
  findings.push(...loaded.findings);
  const isWhole = plan?.rows.isWhole ?? true;
  if (withRoles) findings.push(...(await applyGrants(reader, address, { keepsEntry: false, isWhole, signal })));
  return { name: address.database, previous: null, rows: loaded.rows, findings };
}
