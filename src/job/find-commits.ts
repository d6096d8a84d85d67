/** What was done in the window of an installation: which transactions, with the position before each. */
import { Failure, isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connectIfThere } from "../postgres/connect-if-there.ts";
import type { Repository } from "../repo/repository.ts";
import { type ListedBase, lookAtWindow } from "./continuous/list.ts";
import { type FoundCommits, searchCommits, type WantedChange } from "./continuous/search-commits.ts";
import { addNamesOfBase, addNamesOfLive, TableNames } from "./continuous/table-names.ts";

export type { WantedChange } from "./continuous/search-commits.ts";

export interface FindCommitsOptions {
  repository: Repository;
  installationId: string;
  /** The live database, which may be gone; undefined where none is known: then every database of the cluster is searched. */
  live: ServerAddress | undefined;
  wanted: WantedChange;
  /** Microseconds since 1970, by the server's clock. */
  sinceUs: bigint | undefined;
  untilUs: bigint | undefined;
  /** So many of the newest are kept. */
  limit: number;
  progress: Progress;
  signal: AbortSignal;
}

/** @throws Failure `moment/outside` where there is no log that could be searched; of the store. */
export async function findCommits(options: FindCommitsOptions): Promise<FoundCommits> {
  const { repository, installationId } = options;
  await repository.loadIndex(options);
  const continuous = await lookAtWindow(repository, installationId, options);
  const { ranges } = continuous.window;
  if (ranges.length === 0) {
    throw new Failure("moment/outside", "the repository has no log that could be searched", {
      hint: "There is one while 'chatkeep watch' protects the installation by the log.",
    });
  }
  const names = await namesOf(continuous.bases, options);
  return await searchCommits({ ...options, continuous, ranges, names });
}

/** By every base, and by the live database where it answers: it knows what came after the newest base. */
async function namesOf(bases: readonly ListedBase[], options: FindCommitsOptions): Promise<TableNames> {
  const { live, progress, signal } = options;
  const names = new TableNames();
  await addBases(names, bases, live?.database, options);
  // The database may have had another name then.
  if (live !== undefined && names.isEmpty) await addBases(names, bases, undefined, options);
  if (live === undefined) return names;
  try {
    await using connection = await connectIfThere(live, { signal });
    const systemIds = new Set(bases.map(({ base }) => base.systemId));
    if (connection !== undefined) await addNamesOfLive(names, connection, { systemIds });
  } catch (error) {
    if (!isFailure(error) || signal.aborted) throw error;
    progress.say(`the live database does not say which tables are new since the last base: ${error.message}`);
  }
  return names;
}

async function addBases(
  names: TableNames,
  bases: readonly ListedBase[],
  database: string | undefined,
  { repository, progress, signal }: FindCommitsOptions,
): Promise<void> {
  for (const base of bases) {
    try {
      await addNamesOfBase(names, repository, base, { database, signal });
    } catch (error) {
      // The others may say it.
      if (!isFailure(error, "repo/damaged") && !isFailure(error, "point/invalid")) throw error;
      progress.say(`the names of tables are not taken from base ${base.id.slice(0, 8)}: ${error.message}`);
    }
  }
}
