/**
 * Proves a restore point: restores it into a scratch server that is thrown away, and compares everything with what
 * the point says. The outcome is kept in the repository as a proof, whether good or bad.
 */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { formatGoTime } from "../format/go-time.ts";
import { PROOF } from "../point/layout.ts";
import { lostFiles, type Manifest } from "../point/manifest.ts";
import { formatProof, type Proof, type ProofCheck, type ProvenFiles, timeToRecover } from "../point/proof.ts";
import { connect, type Connection } from "../postgres/connect.ts";
import { findPrograms } from "../postgres/programs.ts";
import { openScratchServer, type ScratchPlaces } from "../postgres/scratch.ts";
import { isServersOwnFault } from "../postgres/server-errors.ts";
import type { Repository } from "../repo/repository.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { checkBlobs } from "./check-blobs.ts";
import { checkCode, checkFilesAlone, checkKeys, checkOtherFiles } from "./check-else.ts";
import { checkData, checkSchema, checkSequences } from "./check-database.ts";
import { checkTriggers } from "./check-triggers.ts";
import { chooseFiles, provenFiles } from "./files-to-read.ts";
import { createRoles, namedRoles } from "./rights.ts";
import { estimateDisk } from "./estimate.ts";
import { type LoadedPoint, loadPoint } from "./load-point.ts";
import { lockToRead, lockToWrite } from "./lock.ts";
import { momentFindings } from "./moment-told.ts";
import { PointReader } from "./point-reader.ts";
import { listPoints, type Point, type PointList } from "./points.ts";
import { proofTags, saveRecord } from "./records.ts";
import type { DrillSummary } from "./summaries.ts";

export interface DrillOptions {
  repository: Repository;
  /** The repository's name in the configuration, or its location. */
  repositoryName: string;
  /** Chosen under the lock, so that nobody can forget and prune it in between. */
  choose: (list: PointList) => Point;
  /** False where nothing can be written: the outcome is told, and not kept. */
  isRecorded: boolean;
  /** Every uploaded file is read, those too that an earlier proof covers. */
  isEveryFile: boolean;
  /** What was proven before of the cluster that the point was made of, and the seconds that it took. */
  before?: { checks: readonly ProofCheck[]; stages: Readonly<Record<string, number>> };
  /** Where the server that the point is restored into may come from. */
  scratch?: ScratchPlaces;
  /** Name and version of this program. */
  program: string;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** Runs every check that can be run even when one fails: a drill that stops at the first difference tells too little. */
export async function drill(options: DrillOptions): Promise<DrillSummary> {
  const { repository, clock, isRecorded } = options;
  const started = clock.monotonic();
  await using lock = await (isRecorded ? lockToWrite : lockToRead)(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const list = await listPoints(repository, { signal });
  const point = options.choose(list);
  await repository.loadIndex({ signal });
  const run: Run = {
    ...options,
    list,
    point,
    signal,
    reader: new PointReader(repository, point, { signal }),
    checks: [...(options.before?.checks ?? [])],
    stages: { ...options.before?.stages },
    where: { host: hostname(), server: "(none was started)", serverVersion: "" },
  };
  await attempt(run, "manifest", async () => {
    run.manifest = await run.reader.manifest();
    return [];
  });
  if (run.manifest !== undefined) await restoreAndCheck(run, run.manifest);
  await attempt(run, "configuration-and-code", async () => [await checkOtherFiles(run.reader, run.manifest)]);
  const proven = run.checks.every((check) => check.ok);
  const fileBytes = run.manifest?.storage.reduce((sum, service) => sum + service.bytes, 0) ?? 0;
  const recovery = proven ? timeToRecover(run.stages, run.files, fileBytes) : undefined;
  const proof: Proof = {
    schema: 1,
    program: options.program,
    repository: repository.config.id,
    point: point.id,
    tree: point.snapshot.tree,
    at: formatGoTime(BigInt(clock.now()) * 1_000_000n),
    where: run.where,
    proven,
    checks: run.checks,
    stages: run.stages,
    ...(run.files === undefined ? {} : { files: run.files }),
    ...(recovery === undefined ? {} : { recovery }),
  };
  if (isRecorded) {
    await lock.confirm({ signal });
    await saveProof(run, proof);
  }
  const { checks, stages, where } = run;
  const seconds = (clock.monotonic() - started) / 1000;
  return {
    type: "summary",
    verb: "drill",
    point: point.id,
    repository: options.repositoryName,
    proven,
    recorded: isRecorded,
    checks,
    lost: lostFiles(run.manifest?.storage ?? []),
    seconds,
    stages,
    amounts: amountsOf(run),
    recovery: recovery ?? null,
    server: where.server,
    findings: run.manifest === undefined ? [] : momentFindings(run.manifest),
  };
}

function amountsOf({ manifest, files, stages }: Run): DrillSummary["amounts"] {
  if (manifest === undefined || stages["load"] === undefined) return null;
  return {
    rows: manifest.tables.reduce((sum, table) => sum + table.rows, 0),
    bytes: manifest.tables.reduce((sum, table) => sum + table.bytes, 0),
    files: files?.read ?? 0,
    fileBytes: files?.bytes ?? 0,
  };
}

interface Run extends DrillOptions {
  list: PointList;
  point: Point;
  files?: ProvenFiles;
  reader: PointReader;
  manifest?: Manifest;
  checks: ProofCheck[];
  stages: Record<string, number>;
  where: Proof["where"];
}

/** What says that the point is no good, and not that the drill could not be made. */
const UNPROVEN = [
  "repo/damaged",
  "store/not-found",
  "point/invalid",
  "database/failed",
  "database/unreadable",
] as const;

/** Adds the checks of one stage; a point that cannot be restored or read is a check that failed. True when none did. */
async function attempt(run: Run, stage: string, work: () => Promise<(ProofCheck | undefined)[]>): Promise<boolean> {
  try {
    const checks = (await timed(run, stage, work)).filter((check) => check !== undefined);
    run.checks.push(...checks);
    return checks.every((check) => check.ok);
  } catch (error) {
    if (isOfServer(error)) throw cannotDrill(error, run.where.server);
    if (!isFailure(error) || !UNPROVEN.some((code) => code === error.code)) throw error;
    run.checks.push({ name: stage, ok: false, detail: error.message });
    return false;
  }
}

async function timed<T>(run: Run, stage: string, work: () => Promise<T>): Promise<T> {
  const began = run.clock.monotonic();
  try {
    return await work();
  } finally {
    run.stages[stage] = Math.round(run.clock.monotonic() - began) / 1000;
  }
}

async function restoreAndCheck(run: Run, manifest: Manifest): Promise<void> {
  const { progress, signal, reader } = run;
  const extensions = manifest.server.extensions.map((extension) => extension.name);
  const roles = namedRoles(manifest.roles ?? []);
  progress.stage("making a scratch server");
  const { major, clientMajor, encoding } = manifest.server;
  const databaseBytes = manifest.tables.reduce((sum, table) => sum + table.bytes, manifest.largeObjects?.bytes ?? 0);
  await using scratch = await timed(run, "server", () =>
    openScratchServer({
      ...run.scratch,
      major,
      extensions,
      roles,
      encoding,
      neededBytes: estimateDisk(manifest),
      say: (line) => progress.say(line),
      signal,
    }),
  );
  if (scratch.kind === "in-place") progress.say("Chatwoot's own server bears the load of this drill");
  run.where = { ...run.where, server: scratch.where, serverVersion: scratch.version };
  await using work = await openTemporaryFolder("chatkeep-drill");
  const programs = await findPrograms(Math.max(scratch.major, clientMajor), { signal });
  const target = scratch.address;
  const loading = { programs, workFolder: work.path, progress, signal };
  let loaded: LoadedPoint | undefined;
  await attempt(run, "load", async () => {
    // Policies and user mappings name roles.
    if (scratch.isThrowaway && manifest.roles !== undefined) await createRoles(reader, target, { signal });
    loaded = await loadPoint(reader, target, loading);
    return [];
  });
  await attempt(run, "code", async () => [await checkCode(reader, work.path, { signal })]);
  if (loaded === undefined) {
    await attempt(run, "files", async () => [await checkFilesAlone(reader)]);
    return;
  }
  const { refused, unheldKeys } = loaded;
  progress.stage("comparing every row", { total: databaseBytes, unit: "bytes" });
  await attempt(run, "rows", () => checkData(reader, target, { progress, signal }));
  // Not before: a server may have no more than three sessions to give, and comparing takes what it can get.
  await using connection = await connect(target, { signal });
  await attempt(run, "schema", async () => [
    await checkSchema(reader, target, programs, { serverMajor: scratch.major, refused, unheldKeys, signal }),
    await checkSequences(manifest, connection),
    await checkTriggers(reader, connection),
  ]);
  await checkFiles(run, manifest, connection);
  progress.stage("checking the keys");
  await attempt(run, "keys", () => checkKeys(reader, connection));
}

/** A server that lacks something, forbids it, or has too little for it says nothing of the point. */
function isOfServer(error: unknown): error is Failure {
  return isFailure(error) && (error.code === "target/unsuitable" || isServersOwnFault(error));
}

function cannotDrill(error: Failure, where: string): Failure {
  return new Failure("program/failed", `the drill could not be held in ${where}: ${error.message}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}

async function checkFiles(run: Run, manifest: Manifest, connection: Connection): Promise<void> {
  const { reader, progress, signal } = run;
  const bytes = manifest.storage.reduce((sum, service) => sum + service.bytes, 0);
  const files = await chooseFiles({ ...run, bytes, isAll: run.isEveryFile });
  progress.stage("checking the files", { total: bytes, unit: "bytes" });
  await attempt(run, "files", async () => {
    const { checks, counts } = await checkBlobs(reader, connection, { files, progress, signal });
    run.files = provenFiles(files, counts);
    return checks;
  });
}

async function saveProof(options: Run, proof: Proof): Promise<void> {
  const { repository, point, program, signal } = options;
  const kept = { place: PROOF, text: formatProof(proof), time: proof.at, tags: proofTags(proof) };
  await saveRecord(repository, { ...kept, about: point, program, signal });
  options.progress.say(`proof of ${shortId(proof.point)} kept in the repository`);
}
