/**
 * Continuous protection over the replication protocol: the log, bases for it, and uploaded files, each in a loop of its own that
 * outlives whatever fails, until somebody ends it. What they have to tell goes into the book.
 */
import { formatBytes } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { together } from "../base/concurrent.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Repository } from "../repo/repository.ts";
import { followFiles } from "./continuous/follow-files.ts";
import { LogFollower } from "./continuous/follow-log.ts";
import { OldTails } from "./continuous/old-tails.ts";
import type { MostRetained } from "./continuous/retained.ts";
import { BaseKeeper } from "./continuous/keep-bases.ts";
import { damagedPagesFinding } from "./damaged-pages.ts";
import { repositoryPlace } from "./continuous/repository-place.ts";
import { clockOffFindings } from "./clock-off.ts";
import { givenUpFinding, holeFindings } from "./log-findings.ts";
import { readOwnDatabase } from "./own-database.ts";
import type { Sources } from "./sources.ts";
import type { WatchBook } from "./watch-book.ts";
import type { WatchedServer } from "./watched-server.ts";

export type { MostRetained } from "./continuous/retained.ts";

/** A repository that is watched into. */
export interface WatchRepository {
  /** Its name in the configuration. */
  readonly name: string;
  /** Opened when it is first needed, and again after it could not be. */
  readonly open: () => Promise<Repository>;
}

export interface FilesOptions {
  readonly repositories: readonly WatchRepository[];
  readonly identity: { readonly id: string; readonly name: string };
  readonly server: WatchedServer;
  /** The ways to the services' files, looked at anew. */
  readonly sources: () => Sources;
  readonly book: WatchBook;
  readonly program: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface WatchOptions extends FilesOptions {
  /** What was committed is in the repositories after so long. */
  readonly flushMs: number;
  /** Bytes of the log that the server may keep for us. */
  readonly maxRetainedBytes: MostRetained;
  /** Whether somebody said that a cluster takes the place of the one that the repositories have. */
  readonly isAccepted: (systemId: string) => Promise<boolean>;
  /** Of bases. */
  readonly baseEveryMs: number | undefined;
  readonly baseRate: number | undefined;
  /** A restore takes no longer. */
  readonly rtoMs: number | undefined;
  /** Bytes of the log that this machine replays in a second, as far as is known when it is asked. */
  readonly replayRate: () => Promise<number>;
  readonly say: (line: string) => void;
}

/** Until the signal is aborted. @throws its reason; what trying again does not help. */
export async function watchLog(options: WatchOptions): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const bases = keepBases(options, signal);
  const { repositories: places, identity, clock, book, server } = options;
  const onTail = book.oldTail.bind(book);
  const tails = new OldTails({ places, installation: identity.id, clock, signal, onTail });
  const log = followLog(options, signal, { bases, tails });
  await together(
    [
      async (inner) => {
        // Where one of them fails, the others end.
        inner.addEventListener("abort", () => stop.abort(inner.reason), { once: true });
        await log.run();
      },
      async () => await bases.run(),
      async () => await tails.run(),
      async (inner) => await watchFiles({ ...options, signal: inner }, () => server.cluster),
    ],
    options,
  );
}

function keepBases(options: WatchOptions, signal: AbortSignal): BaseKeeper {
  const { book, repositories, identity, program, clock, server, say, rtoMs, replayRate } = options;
  const tellPages = (repository: string, hasDamagedPages: boolean | undefined) => {
    if (hasDamagedPages === undefined) return;
    book.find(`pages ${repository}`, ...(hasDamagedPages ? [damagedPagesFinding(repository)] : []));
  };
  return new BaseKeeper({
    places: repositories,
    address: () => server.replication,
    identity,
    program,
    rate: options.baseRate,
    everyMs: options.baseEveryMs,
    database: async () => await readOwnDatabase(server.address, { cluster: server.cluster, signal }),
    mostLogBytes: async () => (rtoMs === undefined ? undefined : (rtoMs / 1000) * (await replayRate())),
    clock,
    signal,
    onBegin: (reason) => say(`taking a base: ${reason}`),
    onBase: ({ base, repository, seconds, sentBytes, whyWhole, hasDamagedPages }) => {
      const sent = `the server sent ${formatBytes(sentBytes)} of ${formatBytes(base.bytes)}`;
      say(`a base is in '${repository}'${sentBytes < base.bytes ? `: ${sent}, and the rest is as before` : ""}`);
      if (whyWhole !== undefined) say(`the server had to send all of it: ${whyWhole}`);
      tellPages(repository, hasDamagedPages);
      book.baseTaken({ atMs: Number(base.beganUs / 1000n), repository, bytes: base.bytes, seconds });
    },
    onTrouble: (trouble) => {
      book.baseTrouble(trouble);
      // A session of the log goes on for weeks where its role's password has changed, and lets in no base.
      server.session(trouble, "bases");
    },
    onHoles: (repository, holes) => book.find(`holes ${repository}`, ...holeFindings(repository, holes)),
    onServed: (repository, base, hasDamagedPages) => {
      book.gapServed(repository);
      tellPages(repository, hasDamagedPages);
      book.baseServes({ atMs: Number(base.beganUs / 1000n), repository, bytes: base.bytes });
    },
  });
}

/** Who is told of what begins. */
interface Followers {
  readonly bases: BaseKeeper;
  readonly tails: OldTails;
}

function followLog(options: WatchOptions, signal: AbortSignal, { bases, tails }: Followers): LogFollower {
  const { book, repositories, identity, program, clock, server, flushMs, maxRetainedBytes } = options;
  return new LogFollower({
    address: () => server.replication,
    installation: identity.id,
    places: repositories.map(({ name, open }) => repositoryPlace({ name, open, identity, program, clock })),
    times: {
      flushMs,
      spanBytes: LIMITS.spanBytes,
      spanMs: LIMITS.spanMs,
      retryMs: LIMITS.spanRetryMs,
      retryMostMs: LIMITS.watchRetryMostMs,
      patienceMs: LIMITS.heldUpMs,
    },
    maxBytes: LIMITS.tailBytes,
    maxRetainedBytes,
    isAccepted: options.isAccepted,
    clock,
    signal,
    onLine: (begun) => {
      server.follows(begun.line.systemId);
      book.lineBegun(begun);
      bases.lineBegun(begun);
      tails.lineBegun(begun);
    },
    onJoined: (joined) => {
      book.joined(joined);
      bases.joined(joined);
      tails.joined(joined);
    },
    onState: (state) => {
      book.logState(state);
      const { clockAheadMs = 0 } = state;
      book.find("clock", ...clockOffFindings("the database's server", clockAheadMs));
      bases.position(state.durableTo);
    },
    onSession: (trouble) => {
      book.session(trouble?.failure);
      server.session(trouble?.failure);
      if (isFailure(trouble?.failure, "wal/given-up"))
        book.happened("slot-given-up", givenUpFinding(trouble.failure, clock.now()));
    },
    onTrouble: (name, trouble) => book.trouble(name, trouble),
    onEvents: (events, line) => bases.events(events, line),
  });
}

/**
 * Follows uploaded files into every repository. Until the signal is aborted.
 * @param cluster Where the log is followed, of which cluster; undefined as long as that is not known.
 */
export async function watchFiles(options: FilesOptions, cluster?: () => string | undefined): Promise<void> {
  const { repositories, identity: installation, book, server } = options;
  await together(
    repositories.map(({ name, open }) => async (signal) => {
      await followFiles({
        ...options,
        address: () => server.address,
        cluster,
        open: async () => (await open()).anew(),
        installation,
        everyMs: LIMITS.followEveryMs,
        signal,
        onLook: (look) => {
          book.followed(name, look);
          server.storage(look.isRefused, `storage ${name}`);
        },
        onTrouble: (trouble) => {
          book.filesTrouble(name, trouble);
          server.session(trouble, `files ${name}`);
        },
      });
    }),
    options,
  );
}
