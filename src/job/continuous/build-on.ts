/** Whether the next base can be built on an earlier one: the server then sends only what changed since. */
import { isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { BaseFacts } from "../../point/base-facts.ts";
import type { RelationCut } from "../../postgres/incremental-file.ts";
import { isDataCorrupted, isServersOwnFault, sqlState } from "../../postgres/server-errors.ts";
import { type EarlierBase, readEarlierBase } from "./earlier-base.ts";
import type { ListedBase } from "./list.ts";
import type { Writer } from "./writing.ts";

/** What decides of the server. */
export interface Builder {
  readonly major: number;
  readonly cut: RelationCut;
  readonly summarizesWal: boolean;
  readonly settings: Readonly<Record<string, string>>;
}

const INCREMENTAL_FROM = 17;

/**
 * The earlier base, read as far as it must be; or why everything is to come, where somebody may have expected something else.
 * @throws Failure of the store; the signal's reason.
 */
export async function usableEarlier(
  { repository, signal }: Writer,
  listed: ListedBase | undefined,
  server: Builder,
): Promise<{ readonly base: EarlierBase } | { readonly whyWhole: string | undefined }> {
  if (listed === undefined || server.major < INCREMENTAL_FROM || listed.base.major !== server.major)
    return { whyWhole: undefined };
  if (!server.summarizesWal) return { whyWhole: "the server does not note what changes (summarize_wal is off)" };
  try {
    const base = await readEarlierBase(repository.anew(), listed, { signal });
    const whyWhole = whyNot(base.facts, server);
    return whyWhole === undefined ? { base } : { whyWhole };
  } catch (error) {
    const whyWhole = whyNotBuilt(error);
    if (whyWhole === undefined) throw error;
    return { whyWhole };
  }
}

function whyNot({ builtOn: before, settings, hasDamagedPages }: BaseFacts, server: Builder): string | undefined {
  const { blockBytes, segmentBlocks } = server.cut;
  if ((before?.count ?? 0) >= LIMITS.builtBases)
    return `after ${LIMITS.builtBases} bases of what changed, all pages are read and checked once`;
  // A page that is put back into its file from elsewhere is in no log: the server would not send it.
  if (hasDamagedPages === true) return "the last one has damaged pages, and whether they were mended no log says";
  if (settings["data_checksums"] !== server.settings["data_checksums"])
    return "page checksums were switched on or off since the last one";
  if (blockBytes <= 0 || LIMITS.baseChunkBytes % blockBytes !== 0)
    return "the server's pages have another length than is known";
  if (!(segmentBlocks > 0)) return "the server does not say how long a file of a table is (segment_size)";
  return undefined;
}

/** What the next base says of the one that it is built on. */
export function builtOn({ listed, facts }: EarlierBase): { id: string; count: number } {
  return { id: listed.id, count: (facts.builtOn?.count ?? 0) + 1 };
}

/**
 * Why a base could not be built, where one that is sent whole may well be had: the server has not noted what is needed, what was
 * kept is damaged, or what came does not fit. Undefined for everything else.
 */
export function whyNotBuilt(error: unknown): string | undefined {
  if (!isFailure(error)) return undefined;
  // A damaged summary has the SQLSTATE of a damaged page: only a whole base tells which it was.
  const isRefused = sqlState(error) !== undefined && (isDataCorrupted(error) || !isServersOwnFault(error));
  const isUnusable = ["repo/damaged", "recovery/damaged", "point/invalid"].includes(error.code);
  const isOdd = error.code === "database/failed" && error.cause === undefined;
  return isRefused || isUnusable || isOdd ? error.message : undefined;
}
