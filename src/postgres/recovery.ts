/**
 * Brings a cluster back as it was at a moment: a server of the same major version is started in a private folder with the
 * files of a base, replays the log up to the moment, and is an ordinary server then, which somebody can read from. It listens
 * on a socket of its own, keeps nothing and tells nobody, and is gone with all its files when we are.
 */
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { formatLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import type { ServerAddress } from "./address.ts";
import { connect, type Connection } from "./connect.ts";
import { isReady, recoveryFailure } from "./recovery-failure.ts";
import { prepareCluster, recoverySettings, type RecoveryTarget, undisturbed } from "./recovery-place.ts";
import { rollBackPrepared } from "./recovery-prepared.ts";
import { feed, prepareFeed, type WalSource } from "./recovery-wal.ts";
import { openScratchServer, type ScratchPlaces, type ScratchServer } from "./scratch.ts";
import type { User } from "./scratch-place.ts";
import { SCRATCH_PORT, SCRATCH_SUPERUSER, type Started } from "./scratch-process.ts";
import { SCRATCH_KINDS } from "./scratch-source.ts";

export type { RecoveryTarget } from "./recovery-place.ts";

/** What is known of a cluster that must be known before it is recovered. */
export interface ClusterFacts {
  major: number;
  /** `wal_segment_size`. */
  segmentBytes: number;
  /** Bytes of the base's files. */
  bytes: number;
  /** Names of the extensions of the databases that are to be read. */
  extensions: readonly string[];
  /** `lc_collate` and `lc_ctype` of its databases. */
  locales: readonly string[];
  /** Settings of the cluster by name; those that matter are taken. */
  settings: Readonly<Record<string, string>>;
  /** Roles that may be there and may sign in, the likeliest first. */
  roles: readonly string[];
}

export interface RecoveryOptions {
  cluster: ClusterFacts;
  /** Puts the base's files into a folder, which it makes, under the names that they had below the cluster's. */
  files: (data: string) => Promise<void>;
  wal: WalSource;
  /** The one that the moment lies on. */
  timeline: number;
  target: RecoveryTarget;
  /** What must have been replayed in the end: a log that is damaged on the way ends early, and says nothing. */
  reach?: Lsn;
  /** Who connects cannot change anything by mistake. */
  isReadOnly?: boolean;
  /** A private folder of ours that the server lies in, and may be laid to rest in; by default a temporary one. */
  folder?: string;
  places: Pick<ScratchPlaces, "kinds" | "embedded" | "image" | "installation" | "wantsPort">;
  progress: Progress;
  signal: AbortSignal;
}

export interface Recovered extends AsyncDisposable {
  readonly server: ScratchServer;
  /** A role of the cluster's, a superuser where one is known, on the database `postgres` or the one that it has. */
  readonly address: ServerAddress;
  /** The end of the last record that was replayed. */
  readonly replayedTo: Lsn;
  /** When the last transaction that was replayed was committed or aborted, by the old server's clock: microseconds since 1970. */
  readonly lastCommitUs: bigint | undefined;
  /** Of the recovered server: a new one, as it goes on where the old one did otherwise. */
  readonly timeline: number;
}

/** Only these have a folder of their own on this machine. */
const OWN = new Set<string>(["programs", "container", "embedded"]);
const POLL_MS = 20;

/**
 * @throws Failure `moment/outside`; `program/missing` naming what to install; `store/full`; `recovery/damaged` for a base or log
 * that cannot be used; `recovery/failed` with what the server logged; what `files` and `wal` threw.
 */
export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const { cluster, wal, progress, places } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  let feeding: Promise<void> | undefined;
  const beginFeeding = async ({ folder, ...place }: { folder: string; data: string; user: User | undefined }) => {
    const feedOptions = {
      source: wal,
      place: folder,
      ...place,
      segmentBytes: cluster.segmentBytes,
      onFile: () => progress.advance(cluster.segmentBytes),
    };
    await prepareFeed(feedOptions);
    feeding = feed(feedOptions, { signal });
    feeding.catch(() => {});
  };
  const walBytes = wal.names.length * cluster.segmentBytes;
  const server = await openScratchServer({
    ...places,
    kinds: (places.kinds ?? SCRATCH_KINDS).filter((kind) => OWN.has(kind)),
    major: cluster.major,
    extensions: [...cluster.extensions],
    neededBytes: roomFor(cluster.bytes, walBytes),
    folder: options.folder,
    signal: options.signal,
    cluster: {
      locales: cluster.locales,
      settings: recoverySettings(options.target, {
        major: cluster.major,
        timeline: options.timeline,
        settings: cluster.settings,
        isReadOnly: options.isReadOnly === true,
        mayStay: options.folder !== undefined,
      }),
      async prepare({ folder, data, user }) {
        progress.stage("reading the base", { total: cluster.bytes, unit: "bytes" });
        await options.files(data);
        await prepareCluster({ folder, data, user }, cluster.major);
        progress.stage("replaying the log", { total: walBytes, unit: "bytes" });
        await beginFeeding({ folder, data, user });
      },
      untilReady: async (socket, started) => await untilRecovered(socket, started, options, feeding),
    },
  }).finally(async () => {
    stop.abort(new Failure("run/cancelled", "the recovery ended"));
    await feeding?.catch(() => {});
  });
  try {
    const { address } = server;
    await using connection = await connect(address, options);
    const outcome = await readOutcome(connection, options);
    await rollBackPrepared(address, options);
    return {
      server,
      address,
      ...outcome,
      [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
    };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** Of the log so much may lie in the folder: what the feed has ahead, and what the server keeps until its next restartpoint. */
const LOG_AT_ONCE = 4 * 1024 ** 3;
/** What the log adds to the cluster is less than the log itself, and rarely more than a part of what is there. */
const GROWTH = 0.25;

/** Bytes that a recovery takes in its folder, at most and about: files of the log go when they are replayed. */
export function roomFor(baseBytes: number, logBytes: number): number {
  return baseBytes + Math.min(logBytes, LOG_AT_ONCE + baseBytes * GROWTH);
}

/** Waits until the server says that it is ready, has ended, or was not given a file of its log. */
async function untilRecovered(
  socket: string,
  started: Started,
  { cluster, signal }: RecoveryOptions,
  feeding: Promise<void> | undefined,
): Promise<ServerAddress> {
  let notFed: { error: unknown } | undefined;
  feeding?.catch((error: unknown) => {
    notFed = { error };
  });
  while (!isReady(started.log())) {
    if (notFed !== undefined) throw notFed.error;
    if (started.hasEnded()) throw recoveryFailure(started.log(), cluster.major);
    await systemClock.sleep(POLL_MS, signal);
  }
  return await findWayIn(socket, started, cluster, signal);
}

/** Everybody is let in who has a name there: but whose names there are is known only inside. */
async function findWayIn(
  socket: string,
  started: Started,
  { roles, major }: ClusterFacts,
  signal: AbortSignal,
): Promise<ServerAddress> {
  let first: unknown;
  // What a superuser alone may ask for finds one, if any of these is one.
  for (const options of [undisturbed(major), undefined]) {
    for (const user of new Set([...roles, SCRATCH_SUPERUSER])) {
      for (const database of ["postgres", "template1"]) {
        const address = { host: socket, port: SCRATCH_PORT, user, database, options };
        try {
          await using connection = await connect(address, { signal });
          await connection.query("select");
          return address;
        } catch (error) {
          if (!isFailure(error) || signal.aborted) throw error;
          first ??= error;
        }
      }
    }
  }
  const log = started.log();
  if (/not recognized by setlocale/.test(log)) {
    throw new Failure(
      "recovery/failed",
      "this machine does not know the locale by which the database orders its text",
      {
        hint: /DETAIL: .*/.exec(log)?.[0] ?? "'locale -a' shows those that are here.",
        cause: first,
      },
    );
  }
  throw recoveryFailure(log, major, first);
}

interface OutcomeRow {
  replayed: string | null;
  committed: string | null;
  timeline: number;
  [column: string]: unknown;
}

/** What was replayed last is remembered until the server ends. */
async function readOutcome(
  connection: Connection,
  { reach }: RecoveryOptions,
): Promise<Pick<Recovered, "replayedTo" | "lastCommitUs" | "timeline">> {
  const [row] = await connection.query<OutcomeRow>(
    `select pg_catalog.pg_last_wal_replay_lsn()::text as replayed,
            (extract(epoch from pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::bigint::text as committed,
            ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as timeline`,
  );
  const replayedTo = parseLsn(row?.replayed ?? "0/0");
  if (reach !== undefined && replayedTo < reach) {
    throw new Failure(
      "recovery/damaged",
      `the log could be replayed up to ${formatLsn(replayedTo)} only, and should reach ${formatLsn(reach)}`,
      { hint: "A file of it is damaged there. 'chatkeep verify --read-data' says what of the repository is." },
    );
  }
  const committed = row?.committed ?? undefined;
  return {
    replayedTo,
    lastCommitUs: committed === undefined ? undefined : BigInt(committed),
    timeline: row?.timeline ?? 0,
  };
}
