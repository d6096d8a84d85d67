/** What was done in the window of an installation: which transactions, with the position before each. */
import { Failure } from "../base/errors.ts";
import { nearNames } from "../base/near.ts";
import type { Progress } from "../base/progress.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { Repository } from "../repo/repository.ts";
import { namesOfRanges } from "./continuous/line-names.ts";
import { lookAtWindow } from "./continuous/list.ts";
import { type FoundCommits, searchCommits, type WantedChange } from "./continuous/search-commits.ts";
import { isNameOfFile, type TableNames } from "./continuous/table-names.ts";

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

/** @throws Failure `usage/invalid` for a table that no base knows; `moment/outside` where there is no log that could be searched; of the store. */
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
  const names = await namesOfRanges(ranges, continuous, options);
  refuseUnknown(options.wanted.table, names);
  return await searchCommits({ ...options, continuous, ranges, names });
}

/** @throws Failure `usage/invalid` for a table of which nobody ever heard. */
function refuseUnknown(table: string | undefined, names: ReadonlyMap<unknown, TableNames>): void {
  if (table === undefined || isNameOfFile(table)) return;
  const known = [...new Set([...names.values()].flatMap(({ tables }) => tables))];
  // Where no name could be read nobody can say that it is a wrong one.
  if (known.length === 0 || known.includes(table)) return;
  const near = nearNames(table, known);
  throw new Failure("usage/invalid", `no base has a table '${table}'`, {
    hint:
      near.length > 0
        ? `Did you mean ${near.map((name) => `'${name}'`).join(" or ")}?`
        : "'chatkeep moments' without --table shows which tables were changed.",
  });
}
