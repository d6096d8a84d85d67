/** `prune` and `repair` as the doors call them. */
import { Failure } from "../base/errors.ts";
import { DEFAULT_MAX_UNUSED, parseMaxRepack, parseMaxUnused, prune } from "../job/prune.ts";
import { repairIndexes, repairPacksFrom } from "../job/repair.ts";
import type { PruneSummary, RepairSummary } from "../job/summaries.ts";
import { PROGRAM } from "./program.ts";
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
  const { repository, name, config } = await openChosenRepository(globals, { ...s, mayFill: true });
  const summary = await prune({
    repository,
    repositoryName: name,
    maxUnused,
    maxRepackBytes,
    dryRun: flags.dryRun,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
  const others = config?.repositories.map((one) => one.name).filter((other) => other !== name) ?? [];
  return globals.repository !== undefined || others.length === 0 ? summary : { ...summary, others };
}

export interface RepairFlags {
  readAllPacks: boolean;
  /** A repository of the configuration, or a location. */
  from: string | undefined;
}

export async function runRepairIndex(globals: Globals, flags: RepairFlags, s: Surroundings): Promise<RepairSummary> {
  const { repository, name } = await openChosenRepository(globals, asItIs(s));
  return await repairIndexes({ repository, repositoryName: name, readAllPacks: flags.readAllPacks, ...tools(s) });
}

export async function runRepairPacks(globals: Globals, flags: RepairFlags, s: Surroundings): Promise<RepairSummary> {
  const { repository, name } = await openChosenRepository(globals, asItIs(s));
  const source =
    flags.from === undefined ? undefined : await openChosenRepository({ ...globals, repository: flags.from }, s);
  // Another place may well hold the same repository, copied file by file.
  if (source?.repository.store.location === repository.store.location) {
    throw new Failure("usage/invalid", `repository '${name}' cannot be mended from itself`, {
      hint: "Name another repository with --from, or leave it out.",
    });
  }
  return await repairPacksFrom({
    repository,
    repositoryName: name,
    source: source?.repository,
    program: PROGRAM,
    ...tools(s),
  });
}

/** What the place has is to be mended: a whole copy of a file that is kept here would hide that its own is damaged. */
function asItIs(s: Surroundings): Surroundings {
  return { ...s, isCached: false, mayFill: true };
}

function tools({ clock, progress, signal }: Surroundings) {
  return { clock, progress, signal };
}
