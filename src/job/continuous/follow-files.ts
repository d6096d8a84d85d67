/** Keeps following uploaded files into one repository, whatever fails meanwhile. */
import type { Clock } from "../../base/clock.ts";
import { Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { describeAddress, type ServerAddress } from "../../postgres/address.ts";
import { connect, type Connection } from "../../postgres/connect.ts";
import { readSystemIdentifier } from "../../postgres/server-facts.ts";
import { type FollowLook, Follower } from "./follow.ts";
import { FollowedGone, type FollowPlaceOptions, openFollowPlace } from "./follow-place.ts";

export interface FollowFilesOptions extends FollowPlaceOptions {
  /** Where the database is, asked for each look. */
  readonly address: () => ServerAddress;
  /**
   * The system identifier of the cluster whose log is followed: files of another one's rows are not taken, and none while it is not
   * known. Without it the log is not followed, and whatever is at the address is meant.
   */
  readonly cluster?: (() => string | undefined) | undefined;
  /** Between two looks. */
  readonly everyMs: number;
  readonly clock: Clock;
  readonly onLook: (look: FollowLook) => void;
  /** A look failed, and the next one tries it again; or one went well after that (undefined). */
  readonly onTrouble: (trouble: Failure | undefined) => void;
}

interface Session {
  readonly connection: Connection;
  readonly address: ServerAddress;
  readonly cluster: string | undefined;
}

/** Until the signal is aborted. @throws its reason, or a fault of ours. */
export async function followFiles(options: FollowFilesOptions): Promise<never> {
  const { cluster, everyMs, clock, signal, onLook, onTrouble } = options;
  let follower: Follower | undefined;
  let session: Session | undefined;
  const isWaiting = () => cluster !== undefined && cluster() === undefined;
  try {
    for (let wait = everyMs; ;) {
      // Why the log is not followed is told already.
      while (isWaiting()) await clock.sleep(everyMs, signal);
      try {
        const before: Session | undefined = session;
        session = await sessionAt(options, before);
        // Ids of another cluster are those of other files.
        if (before?.cluster !== session.cluster) follower = undefined;
        follower ??= new Follower({ place: await openFollowPlace(options), clock });
        onLook(await follower.look(session.connection, { signal }));
        onTrouble(undefined);
        wait = everyMs;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof FollowedGone) follower = undefined;
        else {
          if (!isFailure(error) || error.code === "internal/bug") throw error;
          onTrouble(failureOf(error));
          wait = Math.min(wait * 2, Math.max(everyMs, LIMITS.watchRetryMostMs));
        }
      }
      await clock.sleep(wait, signal);
    }
  } finally {
    await session?.connection.close();
  }
}

/** The session of before, as long as it goes on and leads where it should. */
async function sessionAt(
  { address, cluster, signal }: Pick<FollowFilesOptions, "address" | "cluster" | "signal">,
  before: Session | undefined,
): Promise<Session> {
  const wanted = { address: address(), cluster: cluster?.() };
  const isSame = before?.address === wanted.address && before.cluster === wanted.cluster;
  if (isSame && before.connection.isOpen) return before;
  await before?.connection.close();
  const connection = await connect(wanted.address, { signal });
  try {
    if (wanted.cluster !== undefined) refuseStranger(await readSystemIdentifier(connection), wanted);
    return { ...wanted, connection };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** A server that keeps its identity to itself cannot be told from another. */
function refuseStranger(found: string, { address, cluster }: Omit<Session, "connection">): void {
  if (found === "" || found === cluster) return;
  throw new Failure(
    "wal/other-cluster",
    `Chatwoot's database is on another server than the one whose log is followed (${describeAddress(address)}): its system identifier is ${found}, not ${cluster}`,
    {
      hint: "Does Chatwoot's environment name another database, as that of a test installation? Nothing of that one is taken. Let it name the right one; where Chatwoot moved there for good, 'watch.database-url' has to lead there, too.",
    },
  );
}
