/** What a watch begins with: its server, and how that lets itself be followed. One that is not there yet is waited for. */
import { ERRORS, type Failure, failureOf, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { WatchRepository } from "../job/watch.ts";
import type { WatchBook } from "../job/watch-book.ts";
import type { Whereabouts } from "../job/watched-server.ts";
import type { ServerAddress } from "../postgres/address.ts";
import type { Config } from "./config.ts";
import type { WatchMode } from "./config-watch.ts";
import { type FoundInstallation, openInstallation } from "./installation.ts";
import type { Surroundings } from "./surroundings.ts";
import { type ChosenMode, chooseMode, findWay, wayToLog } from "./watch-mode.ts";

interface Asked {
  readonly config: Config;
  readonly mode: WatchMode;
}

export interface Begun {
  readonly found: FoundInstallation;
  /** Chatwoot's database. */
  readonly address: ServerAddress;
  readonly chosen: ChosenMode;
}

export interface ServerLook {
  /** Now or before; undefined while the engine does not run that its containers are at. */
  readonly found: FoundInstallation | undefined;
  /** A failure where time may mend it: the server does not answer, has no room for us, or its engine does not run. */
  readonly server: Begun | Failure;
}

/**
 * Looks once. @param known What was found before, which counts where the installation cannot be looked at now.
 * @throws Failure for what somebody has to mend.
 */
export async function lookForServer(
  { config, mode }: Asked,
  s: Surroundings,
  known?: FoundInstallation,
): Promise<ServerLook> {
  let found = known;
  try {
    found = await openInstallation(config.installation, s, config.database).catch((error: unknown) => {
      if (known === undefined || s.signal.aborted || !isFailure(error)) throw error;
      return known;
    });
    const address = found.address();
    const chosen = await chooseMode(mode, await wayToLog(config, { found, address }, s), s);
    return { found, server: { found, address, chosen } };
  } catch (error) {
    s.signal.throwIfAborted();
    if (!isFailure(error) || !mayPass(error)) throw error;
    return { found, server: error };
  }
}

function mayPass({ code, retryAfterMs }: Failure): boolean {
  return ERRORS[code].retry || retryAfterMs !== undefined;
}

/**
 * Where the server is by now that is protected already.
 * @throws Failure where the installation cannot be looked at, or its database's container does not run.
 */
export async function lookAgain(
  { config, mode }: { config: Config; mode: ChosenMode["mode"] },
  before: Whereabouts,
  s: Surroundings,
): Promise<Whereabouts & { found: FoundInstallation }> {
  const found = await openInstallation(config.installation, s, config.database);
  const address = found.address();
  if (mode === "interval") return { found, address, replication: address };
  const { address: replication, refused } = await findWay(await wayToLog(config, { found, address }, s), s);
  // Which way is the right one shows a server that answers and has room; one that refuses us there is worth being named.
  const isTold = refused === undefined || !ERRORS[refused.code].retry;
  return { found, address, replication: isTold ? replication : before.replication };
}

interface Waiting {
  readonly first: ServerLook;
  readonly asked: Asked;
  readonly repositories: readonly WatchRepository[];
  readonly book: WatchBook;
}

const FIRST_WAIT_MS = 500;

/**
 * Until the server is there.
 * @throws Failure for what somebody has to mend, at the server or, while it is away, at the repositories; the signal's reason.
 */
export async function untilServer({ first, asked, repositories, book }: Waiting, s: Surroundings): Promise<Begun> {
  if (!isFailure(first.server)) return first.server;
  const stop = new AbortController();
  const signal = AbortSignal.any([s.signal, stop.signal]);
  // Whoever waits for the server learns of the others by and by.
  refuseUnusable(repositories).catch((error: unknown) => stop.abort(error));
  let look: ServerLook = first;
  let told: string | undefined;
  for (let wait = FIRST_WAIT_MS; isFailure(look.server); wait = Math.min(wait * 2, LIMITS.watchRetryMostMs)) {
    const failure = look.server;
    if (failure.message !== told) s.progress.say(`waiting for the database's server: ${failure.message}`);
    // As after a machine's start, it may come within a moment: that is worth no word to anybody.
    if (told !== undefined) book.waits(failure, asked.mode);
    told = failure.message;
    await s.clock.sleep(wait, signal);
    look = await lookForServer(asked, { ...s, signal }, look.found);
  }
  book.begins(look.server.chosen);
  return look.server;
}

/** @throws Failure where no repository can be used, and waiting does not help. */
async function refuseUnusable(repositories: readonly WatchRepository[]): Promise<void> {
  const opened = await Promise.all(repositories.map(async ({ open }) => await open().then(() => undefined, failureOf)));
  const failures = opened.flatMap((failure) => failure ?? []);
  const [first] = failures.filter(({ code }) => !ERRORS[code].retry);
  if (first !== undefined && failures.length === opened.length) throw first;
}
