/**
 * Proves a restore point: restores it into a scratch server that is thrown away, and compares everything with what
 * the point says. The outcome is kept in the repository as a proof, whether good or bad.
 */
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { formatGoTime } from "../format/go-time.ts";
import { PROOF_FILE, PROOF_PATH, ROOT } from "../point/layout.ts";
import { formatProof, type Proof, type ProofCheck } from "../point/proof.ts";
import { connect } from "../postgres/connect.ts";
import { findPrograms } from "../postgres/programs.ts";
import { openScratchServer, type ScratchServer } from "../postgres/scratch.ts";
import type { Repository } from "../repo/repository.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { checkBlobs } from "./check-blobs.ts";
import { checkCode, checkKeys } from "./check-else.ts";
import { checkData, checkSchema, checkSequences, checkTriggers } from "./check-database.ts";
import { loadPoint } from "./load-point.ts";
import { lockToWrite } from "./lock.ts";
import { PointFolder } from "./point-tree.ts";
import { PointReader } from "./point-reader.ts";
import { type Point, proofTags } from "./points.ts";
import { Sealing } from "./sealing.ts";
import type { DrillSummary } from "./summaries.ts";

export interface DrillOptions {
  repository: Repository;
  point: Point;
  /** Name and version of this program. */
  program: string;
  /** Where the point was taken, for the proof's snapshot. */
  installation: { id: string; name: string };
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** Runs every check even when one fails: a drill that stops at the first difference tells too little. */
export async function drill(options: DrillOptions): Promise<DrillSummary> {
  const { repository, point, clock } = options;
  const started = clock.monotonic();
  await using lock = await lockToWrite(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const stages: Record<string, number> = {};
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const began = clock.monotonic();
    const result = await work();
    stages[name] = Math.round(clock.monotonic() - began) / 1000;
    return result;
  };
  const reader = new PointReader(repository, point, { signal });
  const manifest = await reader.manifest();
  const extensions = manifest.server.extensions.map((extension) => extension.name);
  options.progress.stage("making a scratch server");
  await using scratch = await timed("server", () =>
    openScratchServer({ major: manifest.server.major, extensions, encoding: manifest.server.encoding, signal }),
  );
  const checks = await restoreAndCheck({ ...options, signal }, reader, scratch, timed);
  const proven = checks.every((check) => check.ok);
  const proof: Proof = {
    schema: 1,
    program: options.program,
    repository: repository.config.id,
    point: point.id,
    tree: point.snapshot.tree,
    at: formatGoTime(BigInt(clock.now()) * 1_000_000n),
    where: { host: hostname(), server: scratch.where, serverVersion: scratch.version },
    proven,
    checks,
    stages,
  };
  await saveProof({ ...options, signal }, proof);
  const seconds = (clock.monotonic() - started) / 1000;
  return { type: "summary", verb: "drill", point: point.id, proven, checks, seconds, stages, server: scratch.where };
}

async function restoreAndCheck(
  options: DrillOptions,
  reader: PointReader,
  scratch: ScratchServer,
  timed: <T>(name: string, work: () => Promise<T>) => Promise<T>,
): Promise<ProofCheck[]> {
  const { progress, signal } = options;
  await using work = await openTemporaryFolder("chatkeep-drill");
  const manifest = await reader.manifest();
  const programs = await findPrograms(Math.max(scratch.major, manifest.server.clientMajor), { signal });
  const target = scratch.address;
  await timed("load", () => loadPoint(reader, target, { programs, workFolder: work.path, jobs: 2, progress, signal }));
  await using connection = await connect(target, { signal });
  progress.stage("comparing every row", {
    total: manifest.tables.reduce((n, table) => n + table.bytes, 0),
    unit: "bytes",
  });
  const data = await timed("rows", () => checkData(reader, target, { progress, signal }));
  const schema = await timed("schema", async () => [
    await checkSchema(reader, target, programs, { signal }),
    await checkSequences(manifest, connection),
    await checkTriggers(reader, connection),
  ]);
  progress.stage("checking every file", { total: manifest.storage.reduce((n, s) => n + s.bytes, 0), unit: "bytes" });
  const files = await timed("files", () => checkBlobs(reader, connection, { progress, signal }));
  progress.stage("checking code and keys");
  const rest = await timed("keys", async () => [
    await checkCode(reader, work.path, { signal }),
    ...(await checkKeys(reader, connection)),
  ]);
  return [...data, ...schema, ...files, ...rest].filter((check) => check !== undefined);
}

/** The proof is a snapshot of its own, so it can't be edited unnoticed and needs no state outside. */
async function saveProof(options: DrillOptions, proof: Proof): Promise<void> {
  const { repository, signal } = options;
  await using sealing = await Sealing.open({
    repository,
    address: undefined,
    expectedChunks: 16,
    workers: 1,
    signal,
  });
  const bytes = Buffer.from(formatProof(proof), "utf8");
  const top = new PointFolder();
  top.folder(`${ROOT}-proof`).addFile(PROOF_FILE, bytes.length, await sealing.storeContent(bytes));
  const tree = await top.store((tree) => sealing.storeTree(tree));
  await sealing.finish();
  await repository.saveSnapshot(
    {
      time: proof.at,
      tree,
      paths: [PROOF_PATH],
      hostname: options.installation.name,
      tags: [...proofTags(proof.point, proof.repository, proof.proven), `installation=${options.installation.id}`],
      programVersion: options.program,
    },
    { signal },
  );
  options.progress.say(`proof of ${shortId(proof.point)} kept in the repository`);
}
