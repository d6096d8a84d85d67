/** Frees what no snapshot of the repository needs. */
import { parseBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { MaxUnused } from "../repo/prune-plan.ts";
import { pruneRepository } from "../repo/prune.ts";
import type { Repository } from "../repo/repository.ts";
import { lostHeldPoints, refuseLostHeldPoints } from "./held-points.ts";
import { lockAlone } from "./lock.ts";
import { pointListOf } from "./points.ts";
import { recordOf } from "./records.ts";
import type { PruneSummary } from "./summaries.ts";

export interface PruneOptions {
  repository: Repository;
  /** Its name in the configuration, or its location. */
  repositoryName?: string | undefined;
  maxUnused: MaxUnused;
  maxRepackBytes?: number | undefined;
  dryRun: boolean;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** restic's default. */
export const DEFAULT_MAX_UNUSED: MaxUnused = { percent: 5 };

/** `5%`, `200M` or `unlimited`. @throws Failure `usage/invalid`. */
export function parseMaxUnused(text: string): MaxUnused {
  if (text === "unlimited") return text;
  const percent = /^(\d{1,3}(?:\.\d+)?)%$/.exec(text);
  if (percent?.[1] !== undefined && Number(percent[1]) <= 100) return { percent: Number(percent[1]) };
  const bytes = parseBytes(text);
  if (bytes !== undefined) return { bytes };
  throw new Failure("usage/invalid", `'${text}' is no limit for what may stay unused`, {
    hint: "Use a share (5%), a size (200M) or 'unlimited'.",
  });
}

/** `2G`. @throws Failure `usage/invalid`. */
export function parseMaxRepack(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined) return bytes;
  throw new Failure("usage/invalid", `'${text}' is no size`, { hint: "Write it like 500M or 2G." });
}

/** @throws Failure `repo/locked`, `repo/damaged` where something needed or a held point is lacking, `store/denied`. */
export async function prune(options: PruneOptions): Promise<PruneSummary> {
  const { repository, clock, dryRun, progress, maxUnused, maxRepackBytes } = options;
  const started = clock.monotonic();
  const repositoryName = options.repositoryName ?? repository.store.location;
  await using lock = await lockAlone(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const result = await pruneRepository(repository, {
    maxUnused,
    maxRepackBytes,
    isContent: ({ id, snapshot }) => recordOf(id, snapshot) === undefined,
    assertComplete(snapshots) {
      const list = pointListOf(repository, { snapshots, damaged: [] });
      refuseLostHeldPoints(lostHeldPoints(list, clock.now()), repositoryName);
    },
    isDryRun: dryRun,
    lock,
    progress,
    signal,
  });
  return {
    type: "summary",
    verb: "prune",
    dryRun,
    ...result,
    repository: repositoryName,
    seconds: (clock.monotonic() - started) / 1000,
  };
}
