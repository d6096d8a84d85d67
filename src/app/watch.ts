/** `watch`: continuous protection, in the foreground until it is told to end. */
import { hostname } from "node:os";
import { join } from "node:path";
import v8 from "node:v8";
import { together } from "../base/concurrent.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "../installation/installation.ts";
import { listPoints, type Point } from "../job/points.ts";
import { paceOf } from "../job/recovery-pace.ts";
import { formatWatchMetrics } from "../job/run-metrics.ts";
import { Sources } from "../job/sources.ts";
import { type FilesOptions, watchFiles, watchLog, type WatchRepository } from "../job/watch.ts";
import { WatchBook } from "../job/watch-book.ts";
import { parseDatabaseUrl, type ServerAddress } from "../postgres/address.ts";
import { replaceFile } from "../system/replace-file.ts";
import { lockRun } from "../system/run-lock.ts";
import { isNewServer } from "./accepted-server.ts";
import { runBackup } from "./back-up.ts";
import { type Config, loadConfig, type LoadedConfig } from "./config.ts";
import { oftenMs } from "./config-daily.ts";
import { seconds, type WatchConfig, type WatchMode } from "./config-watch.ts";
import { type FoundInstallation, openInstallation } from "./installation.ts";
import { mostRetained } from "./most-retained.ts";
import { objectivesOf } from "./objectives.ts";
import { PROGRAM } from "./program.ts";
import { readMeasures } from "./recoveries.ts";
import { readSecretFile } from "./secrets.ts";
import { openChosenRepository } from "./session.ts";
import { openStateFolder, type StateFolder, watchFile } from "./state-folder.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { makePoints } from "./watch-interval.ts";
import { chooseMode, type WayToServer } from "./watch-mode.ts";
import { mayLoseNetwork, watchNetwork } from "./watch-network.ts";
import { WatchTeller } from "./watch-told.ts";
import { watchMetricsFile } from "./watched.ts";

export interface WatchFlags {
  readonly mode: WatchMode | undefined;
  /** As in the configuration: `5s`, `5m`. */
  readonly flushEvery: string | undefined;
  readonly interval: string | undefined;
}

const MIB = 1024 * 1024;

/**
 * Until the signal is aborted; what came by then is stored.
 * @throws the signal's reason; `run/locked` where another watch of this installation runs on this machine; what trying again does not
 * help.
 */
export async function runWatch(globals: Globals, flags: WatchFlags, s: Surroundings): Promise<void> {
  // For what lives for a moment V8 would take 30 MiB and more, which a watch then holds for days: it keeps to what it has by now.
  v8.setFlagsFromString("--semi-space-growth-factor=1");
  const loaded = await loadConfig(globals, s);
  const { config } = loaded;
  const state = await openStateFolder(loaded, s);
  await using _lock = await lockWatch(state, s);
  const found = await openInstallation(config.installation, s, config.database);
  const address = found.address();
  const repositories = chooseRepositories(loaded, globals, s);
  const way = await wayToLog(config, { found, address }, s);
  const chosen = await chooseMode(flags.mode ?? config.watch?.mode ?? "auto", way, s);
  const { mode, why, address: replication } = chosen;
  const names = repositories.map(({ name }) => name);
  const book = new WatchBook({
    program: PROGRAM,
    host: hostname(),
    pid: process.pid,
    mode,
    why: why ?? null,
    repositories: names,
    clock: s.clock,
    rpoMs: objectivesOf(config).rpoMs,
  });
  s.progress.say(
    `watching into ${names.map((name) => `'${name}'`).join(", ")}: ${mode}${why === undefined ? "" : `, because ${why}`}`,
  );
  if (chosen.change !== undefined) s.progress.say(`what would change that: ${chosen.change}`);
  const settings = await storageSettings(config, s);
  const files = (signal: AbortSignal): FilesOptions => ({
    repositories,
    identity: config.installation,
    address,
    sources: () => new Sources({ installation: found.installation, settings, progress: s.progress, signal }),
    book,
    program: PROGRAM,
    clock: s.clock,
    signal,
  });
  const { installation } = found;
  const here: Here = { loaded, flags, globals, installation, s };
  const work =
    mode === "stream"
      ? async (signal: AbortSignal) => await stream({ ...files(signal), replication }, here)
      : async (signal: AbortSignal) => await byInterval(files(signal), here);
  const lost = mayLoseNetwork() ? [async (signal: AbortSignal) => await watchNetwork({ clock: s.clock, signal })] : [];
  await together([work, async (signal) => await report(book, { config, state, s: { ...s, signal } }), ...lost], s);
}

/** Another on this machine is refused; of another machine's the server tells, by the slot that it reads from. */
async function lockWatch({ path }: StateFolder, s: Surroundings) {
  try {
    return await lockRun(join(path, "watch.lock"), s);
  } catch (error) {
    if (!isFailure(error, "run/locked")) throw error;
    throw new Failure("run/locked", error.message.replace("another run", "another watch"), {
      hint: "One is enough: 'chatkeep status' says how it is. To change its settings, end it and start it anew.",
      cause: error,
    });
  }
}

/** Where the log is to be had: as `watch.database-url` says, else from Chatwoot's own server. */
export async function wayToLog(
  config: Config,
  { found, address }: { found: FoundInstallation; address: ServerAddress },
  s: Surroundings,
): Promise<WayToServer> {
  const own = await replicationAddress(config.watch, s);
  const isSame = own === undefined || (own.host === address.host && own.port === address.port);
  return { address: own ?? address, network: isSame ? found.installation.databaseNetwork : undefined };
}

async function replicationAddress(watch: WatchConfig | undefined, s: Surroundings): Promise<ServerAddress | undefined> {
  const file = watch?.["database-url-file"];
  const url = file === undefined ? watch?.["database-url"] : await readSecretFile(file, "the URL of watch", s);
  if (url === undefined) return undefined;
  s.hide([url]);
  const address = parseDatabaseUrl(url);
  if (address.password !== undefined) s.hide([address.password]);
  return address;
}

/** Those that the configuration names, or that `--repository` does. Each is opened when it is first needed. */
function chooseRepositories({ config, path }: LoadedConfig, globals: Globals, s: Surroundings): WatchRepository[] {
  const named = globals.repository === undefined ? config.watch?.repositories : [globals.repository];
  const names = named ?? config.repositories.map(({ name }) => name);
  for (const name of names) {
    if (globals.repository !== undefined || config.repositories.some((one) => one.name === name)) continue;
    throw new Failure("config/invalid", `watch.repositories of '${path}' names '${name}', which is no repository`, {
      hint: `It has ${config.repositories.map((one) => one.name).join(", ")}.`,
    });
  }
  return names.map((name) => {
    let opening: ReturnType<WatchRepository["open"]> | undefined;
    return {
      name,
      open: async () => {
        opening ??= openChosenRepository({ ...globals, repository: name }, s).then(({ repository }) => repository);
        try {
          return await opening;
        } catch (error) {
          // One that is away now is asked again later.
          opening = undefined;
          throw error;
        }
      },
    };
  });
}

interface Here {
  readonly installation: Installation;
  readonly loaded: LoadedConfig;
  readonly flags: WatchFlags;
  readonly globals: Globals;
  readonly s: Surroundings;
}

async function stream(files: FilesOptions & { replication: ServerAddress }, here: Here): Promise<void> {
  const { flags, s } = here;
  const { config } = here.loaded;
  const { watch } = config;
  const flushMs = seconds(flags.flushEvery ?? watch?.["flush-every"] ?? "5s") * 1000;
  const retained = watch?.["max-retained"];
  const rate = watch?.["base-rate"];
  await together(
    [
      async (signal) => {
        await watchLog({
          ...files,
          flushMs,
          maxRetainedBytes: retained === undefined ? mostRetained(here.installation) : retained * MIB,
          baseEveryMs: oftenMs(watch?.base ?? "weekly"),
          baseRate: rate === undefined ? undefined : rate * 1024,
          isAccepted: async (systemId) => await isNewServer(await openStateFolder(here.loaded, s), systemId),
          rtoMs: objectivesOf(config).rtoMs,
          replayRate: async () => paceOf(await readMeasures(here.loaded, s)).log.bytesPerSecond,
          say: (line) => s.progress.say(line),
          signal,
        });
      },
      async (signal) => await makeFirstPoint(files, here, signal),
    ],
    files,
  );
}

/** The log has rows alone: what else there is comes from restore points, so there must be one. */
async function makeFirstPoint(
  { repositories, book }: FilesOptions,
  { loaded: { config }, globals, s }: Here,
  signal: AbortSignal,
) {
  for (let wait: number = LIMITS.watchBaseLookMs; ; wait = Math.min(wait * 2, LIMITS.watchBaseRetryMostMs)) {
    try {
      for (const { open } of repositories.slice(0, 1)) {
        const { points } = await listPoints(await open(), { signal });
        if (points.some(({ installationId }) => installationId === config.installation.id)) return;
      }
      s.progress.say("making the first restore point: the log has no uploaded files, configuration and code");
      const { findings } = await runBackup(globals, { full: false, tags: [], dryRun: false }, { ...s, signal });
      book.happened("point", ...findings);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      book.pointTrouble(error);
      await s.clock.sleep(wait, signal);
    }
  }
}

async function byInterval(files: FilesOptions, { loaded: { config }, flags, globals, s }: Here): Promise<void> {
  const everyMs = seconds(flags.interval ?? config.watch?.interval ?? "5m") * 1000;
  await together(
    [
      async (signal) => {
        const points = async () => await pointsIn(files, config, signal);
        await makePoints({ everyMs, book: files.book, points }, globals, { ...s, signal });
      },
      async (signal) => await watchFiles({ ...files, signal }),
    ],
    files,
  );
}

/** Of the repository that points are made in. */
async function pointsIn(
  { repositories }: FilesOptions,
  { installation }: Config,
  signal: AbortSignal,
): Promise<Point[]> {
  const [first] = repositories;
  if (first === undefined) return [];
  const { points } = await listPoints(await first.open(), { signal });
  return points.filter(({ installationId }) => installationId === installation.id);
}

/** Writes down how it is every few seconds, and tells what is new. */
async function report(book: WatchBook, { config, state, s }: { config: Config; state: StateFolder; s: Surroundings }) {
  const teller = new WatchTeller(config, state, s);
  const metrics = watchMetricsFile(config, s);
  for (;;) {
    const status = s.redact(book.status);
    // A disk that is full keeps nobody from protecting what can be.
    await replaceFile(watchFile(state), `${JSON.stringify(status, null, 1)}\n`, 0o600).catch(() => {});
    if (metrics !== undefined) {
      const text = formatWatchMetrics(status, config.installation.name);
      await replaceFile(metrics, text, 0o644).catch(() => {});
    }
    book.find("told", ...(await teller.tell(book.findings)));
    await s.clock.sleep(LIMITS.watchReportMs, s.signal);
  }
}
