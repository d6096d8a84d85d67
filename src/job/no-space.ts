/** A target server whose disk becomes full during a restore: what is left of it there, and what to do. */
import { formatBytes } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { quoteIdentifier } from "../postgres/names.ts";
import { dropDatabase } from "../postgres/swap.ts";
import type { DatabaseEstimate } from "./estimate.ts";

export interface Filled {
  address: ServerAddress;
  /**
   * `beside`: one beside the live database, which the work drops itself. `made`: the work makes the database of the address.
   * `given`: that was there, and empty.
   */
  database: "beside" | "made" | "given";
  estimate: DatabaseEstimate | undefined;
}

/**
 * Fills a database. Where its server has no space left, one that was made for it is dropped, as the disk may be the live
 * database's, too.
 * @throws Failure `database/no-space` that says what is left; anything else as it is.
 */
export async function fillWithin<T>(filled: Filled, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isFailure(error, "database/no-space")) throw error;
    const isGone = filled.database === "made" && (await dropUnfilled(filled.address));
    throw new Failure(error.code, error.message, {
      hint: `${whatIsLeft(filled, isGone)} ${next(filled)}`,
      cause: error,
    });
  }
}

/** Has its own time: the run's signal may have been given meanwhile. */
async function dropUnfilled(address: ServerAddress): Promise<boolean> {
  return await dropDatabase(address, address.database, { signal: AbortSignal.timeout(10_000) }).then(
    () => true,
    () => false,
  );
}

function whatIsLeft({ address, database }: Filled, isGone: boolean): string {
  const { database: name } = address;
  if (database === "beside") {
    return `Nothing was swapped: '${name}' is as it was, and what was loaded beside it is dropped.`;
  }
  if (isGone) return `'${name}', which was made for this, is dropped again, and no other database was touched.`;
  return `'${name}' is half filled and no other database was touched. Drop it, and make it anew: DROP DATABASE ${quoteIdentifier(name)};`;
}

function next({ database, estimate }: Filled): string {
  const room = estimate === undefined ? "more room" : `room for about ${formatBytes(estimate.diskBytes)}`;
  return database === "beside"
    ? `Make ${room} ('chatkeep restore --discard-previous' drops what earlier restores put aside), or restore into another server with --database-url.`
    : `Make ${room}, or name a database on another server.`;
}
