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
import { UnreadSlot } from "../job/unread-slot.ts";
import { type FilesOptions, type MostRetained, watchFiles, watchLog, type WatchRepository } from "../job/watch.ts";
import { WatchBook } from "../job/watch-book.ts";
import { WatchedServer } from "../job/watched-server.ts";
import { replaceFile } from "../system/replace-file.ts";
import { lockRun } from "../system/run-lock.ts";
import { isNewServer } from "./accepted-server.ts";
import { runBackup } from "./back-up.ts";
import { type Config, loadConfig, type LoadedConfig } from "./config.ts";
import { oftenMs } from "./config-daily.ts";
import { seconds, type WatchMode } from "./config-watch.ts";
import { mostRetained } from "./most-retained.ts";
import { objectivesOf } from "./objectives.ts";
import { PROGRAM } from "./program.ts";
import { readMeasures } from "./recoveries.ts";
import { openChosenRepository } from "./session.ts";
import { openStateFolder, type StateFolder, watchFile } from "./state-folder.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import { WatchAloud } from "./watch-aloud.ts";
import { type Begun, lookAgain, lookForServer, untilServer } from "./watch-begin.ts";
import { HappenedWriter, readHappened } from "./watch-happened.ts";
import { makePoints } from "./watch-interval.ts";
import { mayLoseNetwork, watchNetwork } from "./watch-network.ts";
import { watchProgram } from "./watch-program.ts";
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
 * Until the signal is aborted; what came by then is stored. A server that is not there is waited for.
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
  const repositories = chooseRepositories(loaded, globals, s);
  const names = repositories.map(({ name }) => name);
  const asked = { config, mode: flags.mode ?? config.watch?.mode ?? "auto" };
  const first = await lookForServer(asked, s);
  const { mode, why } = isFailure(first.server)
    ? { mode: "waiting" as const, why: first.server.message }
    : first.server.chosen;
  const book = new WatchBook({
    program: PROGRAM,
    host: hostname(),
    pid: process.pid,
    mode,
    why,
    repositories: names,
    hasOthers: new Set([...names, ...config.repositories.map(({ name }) => name)]).size > 1,
    clock: s.clock,
    rpoMs: objectivesOf(config).rpoMs,
  });
  book.happenedBefore(await readHappened(state));
  const here = { loaded, flags, globals };
  const work = async (signal: AbortSignal) => {
    const inner = { ...s, signal };
    const begun = await untilServer({ first, asked, repositories, book }, inner);
    const { mode, why, change } = begun.chosen;
    const into = names.map((name) => `'${name}'`).join(", ");
    s.progress.say(`watching into ${into}: ${mode}${why === undefined ? "" : `, because ${why}`}`);
    if (change !== undefined) s.progress.say(`what would change that: ${change}`);
    await watchServer(begun, { repositories, book }, { ...here, s: inner });
  };
  const lost = mayLoseNetwork() ? [async (signal: AbortSignal) => await watchNetwork({ clock: s.clock, signal })] : [];
  try {
    const program = async (signal: AbortSignal) => await watchProgram({ book, clock: s.clock, signal });
    const reporting = async (signal: AbortSignal) => await report(book, { config, state, s: { ...s, signal } });
    await together([work, reporting, program, ...lost], s);
  } finally {
    if (isFailure(s.signal.reason, "run/cancelled")) s.warn?.(stopped(book));
  }
}

function stopped({ status: { log } }: WatchBook): string {
  const stored = log?.lastCommit ?? undefined;
  return `stopped: ${stored === undefined ? "" : `what was committed until ${stored} is stored, and `}the next watch goes on from where this one was`;
}

/** In the mode that was chosen. */
async function watchServer(
  { found, address, chosen }: Begun,
  { repositories, book }: Pick<FilesOptions, "repositories" | "book">,
  here: Omit<Here, "installation">,
): Promise<void> {
  const { config } = here.loaded;
  const { s } = here;
  const settings = await storageSettings(config, s);
  // Whose database is followed, its files are: not those of another that the installation names meanwhile.
  const installations = new WeakMap([[address, found.installation]]);
  await using server = new WatchedServer({
    address,
    replication: chosen.address,
    look: async (before, { signal }) => {
      const again = await lookAgain({ config, mode: chosen.mode }, before, { ...s, signal });
      installations.set(again.address, again.found.installation);
      return again;
    },
    say: (line) => s.progress.say(line),
    signal: s.signal,
  });
  const files: FilesOptions = {
    repositories,
    identity: config.installation,
    server,
    sources: () => {
      const installation = installations.get(server.address) ?? found.installation;
      return new Sources({ installation, settings, progress: s.progress, signal: s.signal });
    },
    book,
    program: PROGRAM,
    clock: s.clock,
    signal: s.signal,
  };
  const all = { ...here, installation: found.installation };
  await (chosen.mode === "interval" ? byInterval(files, all) : stream(files, all));
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

async function stream(files: FilesOptions, here: Here): Promise<void> {
  const { flags, s } = here;
  const { config } = here.loaded;
  const { watch } = config;
  const flushMs = seconds(flags.flushEvery ?? watch?.["flush-every"] ?? "5s") * 1000;
  const rate = watch?.["base-rate"];
  await together(
    [
      async (signal) => {
        await watchLog({
          ...files,
          flushMs,
          maxRetainedBytes: mostFor(here),
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

/** Bytes of its log that the server may keep for us. */
function mostFor({ loaded: { config }, installation }: Pick<Here, "loaded" | "installation">): MostRetained {
  const retained = config.watch?.["max-retained"];
  return retained === undefined ? mostRetained(installation) : retained * MIB;
}

async function byInterval(files: FilesOptions, here: Here): Promise<void> {
  const { flags, globals, s } = here;
  const { config } = here.loaded;
  const everyMs = seconds(flags.interval ?? config.watch?.interval ?? "5m") * 1000;
  const slot = { address: () => files.server.replication, installation: config.installation.id, most: mostFor(here) };
  await together(
    [
      async (signal) => {
        const points = async () => await pointsIn(files, config, signal);
        await makePoints({ everyMs, book: files.book, points }, globals, { ...s, signal });
      },
      async (signal) => await watchFiles({ ...files, signal }),
      async (signal) => await new UnreadSlot({ ...files, ...slot, signal }).run(),
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
  const aloud = new WatchAloud(s);
  const happened = new HappenedWriter(state);
  const metrics = watchMetricsFile(config, s);
  for (;;) {
    const status = s.redact(book.status);
    // A disk that is full keeps nobody from protecting what can be.
    await replaceFile(watchFile(state), `${JSON.stringify(status, null, 1)}\n`, 0o600).catch(() => {});
    if (metrics !== undefined) {
      const text = formatWatchMetrics(status, config.installation.name);
      await replaceFile(metrics, text, 0o644).catch(() => {});
    }
    await happened.write(s.redact(book.happenings));
    aloud.say(book.findings);
    book.find("told", ...(await teller.tell(book.findings)));
    await s.clock.sleep(LIMITS.watchReportMs, s.signal);
  }
}
