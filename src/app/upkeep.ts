/** `prune` and `repair` as the doors call them. */
import { DEFAULT_MAX_UNUSED, parseMaxRepack, parseMaxUnused, prune } from "../job/prune.ts";
import type { PruneSummary } from "../job/summaries.ts";
import { openChosenRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface PruneFlags {
  maxUnused: string | undefined;
  maxRepack: string | undefined;
  dryRun: boolean;
}

export async function runPrune(globals: Globals, flags: PruneFlags, s: Surroundings): Promise<PruneSummary> {
  const maxUnused = flags.maxUnused === undefined ? DEFAULT_MAX_UNUSED : parseMaxUnused(flags.maxUnused);
  const maxRepackBytes = flags.maxRepack === undefined ? undefined : parseMaxRepack(flags.maxRepack);
  const { repository, name } = await openChosenRepository(globals, s);
  return await prune({
    repository,
    repositoryName: name,
    maxUnused,
    maxRepackBytes,
    dryRun: flags.dryRun,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}
