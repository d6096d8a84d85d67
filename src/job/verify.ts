/** Checks a repository: its structure, and on request every byte; names the restore points that a damage touches. */
import { parseBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { describePiece } from "../point/continuous.ts";
import { readWhileSettling } from "../repo/lock.ts";
import type { Repository } from "../repo/repository.ts";
import { type ReadDataSubset, verifyRepository } from "../repo/verify.ts";
import { lostHeldPoints } from "./held-points.ts";
import { beginToRead } from "./lock.ts";
import { listPoints } from "./points.ts";
import type { VerifySummary } from "./summaries.ts";

export interface VerifyOptions {
  repository: Repository;
  /** `all`, `n/t`, `5%`, `2G`; undefined reads no data. */
  readData: string | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** @throws Failure `usage/invalid` for a subset that means nothing. */
export function parseSubset(text: string): ReadDataSubset {
  if (text === "all") return "all";
  const part = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  if (part?.[1] !== undefined && part[2] !== undefined) {
    const [n, of] = [Number(part[1]), Number(part[2])];
    // By the first byte of a pack's name: there are no more parts than that has values.
    if (n >= 1 && n <= of && of <= 256) return { part: n, of };
  }
  const percent = /^(\d{1,3}(?:\.\d+)?)%$/.exec(text);
  if (percent?.[1] !== undefined && Number(percent[1]) > 0 && Number(percent[1]) <= 100)
    return { percent: Number(percent[1]) };
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes > 0) return { bytes };
  throw new Failure("usage/invalid", `'${text}' is no subset of the data`, {
    hint: "Use --read-data for all of it, --read-data=2/7 for the second of seven parts, --read-data=5% or --read-data=2G.",
  });
}

export async function verify(options: VerifyOptions): Promise<VerifySummary> {
  const { repository, clock } = options;
  const started = clock.monotonic();
  const readData = options.readData === undefined ? undefined : parseSubset(options.readData);
  await using lock = await beginToRead(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const { progress } = options;
  const what = { ...(readData === undefined ? {} : { readData }), progress, signal };
  const result = await readWhileSettling(lock, async () => await verifyRepository(repository, what));
  const list = await listPoints(repository, { signal });
  const { points, damaged } = list;
  const names = new Map(points.map((point) => [point.snapshotId as string, point.id]));
  const pieces = new Map(list.continuous.map(({ id, snapshot }) => [id as string, describePiece(snapshot.tags)]));
  const problems: VerifySummary["problems"] = result.problems.map(({ kind, name, message, snapshots }) => ({
    kind,
    name,
    message,
    points: snapshots.filter((id) => !pieces.has(id)).map((id) => names.get(id) ?? id),
    continuous: snapshots.flatMap((id) => pieces.get(id) ?? []),
  }));
  for (const { name, message } of damaged) {
    if (!problems.some((problem) => problem.name === name))
      problems.push({ kind: "snapshot-damaged", name, message, points: [], continuous: [] });
  }
  for (const { point, message } of lostHeldPoints(list, clock.now())) {
    problems.push({ kind: "held-point-lost", name: point, message, points: [point], continuous: [] });
  }
  return {
    type: "summary",
    verb: "verify",
    errors: problems.length,
    packs: result.packs,
    bytesRead: result.bytesRead,
    points: points.length,
    seconds: (clock.monotonic() - started) / 1000,
    problems,
  };
}
