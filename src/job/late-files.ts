/**
 * Chatwoot commits a file's row before it writes the file, and deletes the row before the file. So of the youngest
 * rows a file that is not there, or not whole, is most likely on its way: it is waited for, for a little while. A standby
 * still shows rows that its primary has deleted a moment ago: of those it is the row that is waited for, to go.
 */
import type { Clock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { captureStorage, type StorageCapture, type StoragePorts } from "./capture-storage.ts";
import { type Queries, type StorageListing, tellPurged } from "./list-storage.ts";
import type { StorageState } from "./storage-state.ts";

export interface LateFilesPorts {
  storage: StoragePorts;
  /** Answers for the present, not for the snapshot. */
  database: Queries;
  /** It answers for a standby's present, which is a little old. */
  isStandby: boolean;
  /** Makes what was stored so far readable. */
  flush: () => Promise<void>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

const POLL_MS = 200;

/** Looks again until nothing is missing that is young (or, on a standby, was there before), or for `LIMITS.lateFileWaitMs`; tells what was purged meanwhile. */
export async function awaitLateFiles(
  ports: LateFilesPorts,
  listing: StorageListing,
  second: StorageCapture,
): Promise<{ look: StorageCapture; purged: number }> {
  const { clock, signal } = ports;
  const until = clock.monotonic() + LIMITS.lateFileWaitMs;
  let look = second;
  for (let round = 0; ; round += 1) {
    const purged = await tellPurged(ports.database, look.state);
    if (clock.monotonic() >= until || !(await hasLateFiles(ports, look.state))) return { look, purged };
    if (round === 0) ports.progress.stage("waiting for files that are still being uploaded", { unit: "files" });
    await clock.sleep(POLL_MS, signal);
    // The next look takes over from this one, so this one's trees must be readable.
    await ports.flush();
    const next = await captureStorage(ports.storage, listing, look.state);
    look = {
      state: next.state,
      blobsCopied: look.blobsCopied + next.blobsCopied,
      bytesCopied: look.bytesCopied + next.bytesCopied,
      foldersReused: look.foldersReused,
      lost: look.lost,
    };
  }
}

/** `created_at` is in UTC, whatever the session's zone. */
const YOUNG_QUERY = `select exists (select from active_storage_blobs where id = any($1::bigint[])
  and created_at > (now() at time zone 'UTC') - $2::int8 * interval '1 millisecond') as found`;

async function hasLateFiles({ database, isStandby, storage }: LateFilesPorts, state: StorageState): Promise<boolean> {
  const lacking = [...state.values()].flatMap(({ missing }) => [...missing.values()]);
  if (isStandby && lacking.some(({ reason, since }) => reason === "missing" && since === storage.startedAt))
    return true;
  const ids = lacking.filter(({ reason }) => reason === "missing" || reason === "short").map(({ id }) => id);
  if (ids.length === 0) return false;
  const [row] = await database.query<{ found: boolean }>(YOUNG_QUERY, [ids, LIMITS.lateFileAgeMs]);
  return row?.found === true;
}
