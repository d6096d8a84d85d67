/** What every snapshot of continuous protection is written under: a shared lock, for as long as that takes and no longer. */
import type { Clock } from "../../base/clock.ts";
import type { ChunkId, SnapshotId } from "../../base/ids.ts";
import { formatGoTime } from "../../format/go-time.ts";
import type { RecordPlace } from "../../point/layout.ts";
import { readWhileSettling, WATCH_USERNAME } from "../../repo/lock.ts";
import type { Repository } from "../../repo/repository.ts";
import { beginToWrite } from "../lock.ts";
import { Sealing, SealingThreads } from "../sealing.ts";

export interface Writer {
  readonly repository: Repository;
  /** The installation's id and name. */
  readonly identity: { readonly id: string; readonly name: string };
  /** Name and version of this program. */
  readonly program: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface WriteOptions {
  readonly place: RecordPlace;
  /** About so many chunks are added. */
  readonly expectedChunks: number;
  readonly workers?: number;
}

export interface Written {
  readonly snapshotId: SnapshotId;
  /** What the repository grew by. */
  readonly addedBytes: number;
}

/**
 * Locks, reads the index anew (others may have pruned since it was last read), stores what `build` gives, and writes the
 * snapshot when everything is durable and the lock is seen to be there.
 * @throws Failure `repo/locked`, of the store, or what `build` throws; what was stored is used by the next run.
 */
export async function writeSnapshot(
  writer: Writer,
  { place, expectedChunks, workers }: WriteOptions,
  build: (sealing: Sealing, signal: AbortSignal) => Promise<{ tree: ChunkId; tags: readonly string[] }>,
): Promise<Written> {
  const { identity, program, clock } = writer;
  const repository = writer.repository.anew();
  const lockLost = new AbortController();
  const signal = AbortSignal.any([writer.signal, lockLost.signal]);
  const startedMs = clock.now();
  await using threads = new SealingThreads({ repository, signal, ...(workers === undefined ? {} : { workers }) });
  await using lock = await beginToWrite(repository, { clock, signal: writer.signal, lockedAs: WATCH_USERNAME });
  lock.signal.addEventListener("abort", () => lockLost.abort(lock.signal.reason));
  lock.signal.throwIfAborted();
  await readWhileSettling(lock, async () => await repository.prepareToWrite({ signal }));
  await using sealing = await Sealing.open({
    repository,
    lock,
    address: undefined,
    expectedChunks,
    isPrepared: true,
    threads,
    signal,
  });
  const { tree, tags } = await build(sealing, signal);
  await sealing.finish();
  await lock.confirm({ signal });
  const snapshotId = await repository.saveSnapshot(
    {
      time: formatGoTime(BigInt(startedMs) * 1_000_000n),
      tree,
      paths: [place.path],
      hostname: identity.name,
      tags,
      programVersion: program,
    },
    { signal },
  );
  return { snapshotId, addedBytes: sealing.added.bytes };
}
