/** Keeps following uploaded files into one repository, whatever fails meanwhile. */
import type { Clock } from "../../base/clock.ts";
import { type Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { type FollowLook, Follower } from "./follow.ts";
import { type FollowPlaceOptions, openFollowPlace } from "./follow-place.ts";

export interface FollowFilesOptions extends FollowPlaceOptions {
  /** Where the database is, asked for each connection. */
  readonly address: () => ServerAddress;
  /** Between two looks. */
  readonly everyMs: number;
  readonly clock: Clock;
  readonly onLook: (look: FollowLook) => void;
  /** A look failed, and the next one tries it again; or one went well after that (undefined). */
  readonly onTrouble: (trouble: Failure | undefined) => void;
}

/** Until the signal is aborted. @throws its reason, or a fault of ours. */
export async function followFiles(options: FollowFilesOptions): Promise<never> {
  const { address, everyMs, clock, signal, onLook, onTrouble } = options;
  let follower: Follower | undefined;
  let connection: Connection | undefined;
  try {
    for (let wait = everyMs; ;) {
      try {
        follower ??= new Follower({ place: await openFollowPlace(options), clock });
        if (connection?.isOpen !== true) connection = await connect(address(), { signal });
        onLook(await follower.look(connection, { signal }));
        onTrouble(undefined);
        wait = everyMs;
      } catch (error) {
        signal.throwIfAborted();
        if (!isFailure(error) || error.code === "internal/bug") throw error;
        onTrouble(failureOf(error));
        wait = Math.min(wait * 2, Math.max(everyMs, LIMITS.watchRetryMostMs));
      }
      await clock.sleep(wait, signal);
    }
  } finally {
    await connection?.close();
  }
}
