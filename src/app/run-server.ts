/** `restore POINT --run`: a server that has a database as it was, left running to be looked at; those that run; and their end. */
import { dirname, resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { RunServerOptions } from "../job/run-server.ts";
import type { ServersSummary, StartedServerSummary, StoppedServersSummary } from "../job/server-summary.ts";
import { isServerId, runningServers, type ServerRecord, stopServer } from "../job/standing-servers.ts";
import { listPoints, resolvePoint } from "../job/points.ts";
import { PointReader } from "../job/point-reader.ts";
import { LOWEST_PORT } from "../postgres/standing.ts";
import { ownContainerId } from "../system/own-container.ts";
import { findConfig, type LoadedConfig } from "./config.ts";
import { scratchPlaces } from "./drills.ts";
import { ofMoment, recoveryPlace } from "./moments.ts";
import { restoreHome, restoreHomes, unconfiguredHomes } from "./restore-home.ts";
import { recordsIn } from "./server-records.ts";
import { readingPoint } from "./opened-point.ts";
import { openFor } from "./repository-for.ts";
import { openStateFolder } from "./state-folder.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface RunServerFlags {
  /** A folder that is there: the server's own is made in it. */
  to: string | undefined;
  port: string | undefined;
}

/** @throws Failure `moment/outside`, `usage/invalid`, `target/unsuitable`, and as a recovery or a restore. */
export async function runServer(
  globals: Globals,
  word: string,
  flags: RunServerFlags,
  s: Surroundings,
): Promise<StartedServerSummary> {
  refuseInContainer();
  const port = parsePort(flags.port);
  const opened = await openFor(globals, [word], s);
  const loaded = await findConfig(globals, s);
  const { config } = opened;
  const optionsFor = async (id: string): Promise<Omit<RunServerOptions, "scratch">> => ({
    repositoryName: opened.name,
    home: await homeFor(config === undefined ? undefined : loaded, id, s),
    parent: flags.to === undefined ? undefined : resolve(s.cwd, flags.to),
    port,
    hide: s.hide,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
  const job = await import("../job/run-server.ts");
  const moment = await ofMoment(opened, word, s, async (asked, identity) => {
    const { repository } = opened;
    const options = { ...(await optionsFor(identity.id)), ...(await recoveryPlace(opened, s)) };
    return await job.runMoment({ ...options, repository, asked, identity });
  });
  const { findings: known = [] } = opened;
  if (moment !== undefined) return { ...moment, findings: [...known, ...moment.findings] };
  const list = await listPoints(opened.repository, s);
  const point = resolvePoint(list, word, config?.installation.id);
  await opened.repository.loadIndex(s);
  const reader = new PointReader(opened.repository, point, { signal: s.signal });
  const scratch = await scratchPlaces(config, { inPlaceServer: false }, s);
  const options = { ...(await optionsFor(point.installationId)), scratch };
  const started = await readingPoint({ ...opened, list, reader }, s, async () => await job.runPoint(reader, options));
  return { ...started, findings: [...known, ...started.findings] };
}

/** A container that was made for one command ends with it, and all that it started. */
function refuseInContainer(): void {
  if (ownContainerId() === undefined || (process.pid !== 1 && process.ppid !== 1)) return;
  throw new Failure("target/unsuitable", "this container ends with the command, and the server with it", {
    hint: "Say it in a container that stays: 'docker exec CONTAINER chatkeep restore POINT --run'; or on the machine itself.",
  });
}

function parsePort(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const port = /^\d{1,5}$/.test(given) ? Number(given) : 0;
  if (port >= LOWEST_PORT && port <= 65_535) return port;
  throw new Failure("usage/invalid", `--port cannot be '${given}'`, {
    hint: `It is a number from ${LOWEST_PORT} to 65535.`,
  });
}

/** Beside the journals of restores; made where it can be. */
async function homeFor(loaded: LoadedConfig | undefined, id: string, s: Surroundings): Promise<string> {
  if (loaded !== undefined) await openStateFolder(loaded, s);
  return recordsIn(dirname((await restoreHome(loaded, id, s)).path));
}

interface Known {
  home: string;
  record: ServerRecord;
}

/** Of the configured installation, and of each that a repository was named for which no configuration has. */
async function known(globals: Globals, s: Surroundings): Promise<Known[]> {
  const configured = (await restoreHomes(globals, s)).map(({ home }) => home);
  const homes = [...configured, ...(await unconfiguredHomes(s))].map(({ path }) => recordsIn(dirname(path)));
  const found: Known[] = [];
  for (const home of new Set(homes)) {
    found.push(...(await runningServers(home, s)).map((record) => ({ home, record })));
  }
  return found;
}

/** Those that run. What was left of others is removed. */
export async function listServers(globals: Globals, s: Surroundings): Promise<ServersSummary> {
  const servers = (await known(globals, s)).map(({ record }) => record.server);
  return { type: "summary", verb: "restore", servers };
}

/**
 * Ends the named one, or the only one, and removes all of it. One that is gone is no failure.
 * @throws Failure `usage/invalid` where it is not clear which is meant; `run/locked` where it is being recovered; `target/unsuitable`
 * where it cannot be seen from here.
 */
export async function stopServers(
  globals: Globals,
  name: string | undefined,
  s: Surroundings,
): Promise<StoppedServersSummary> {
  const all = await known(globals, s);
  if (name !== undefined && !isServerId(name)) throw noSuchName(name, all);
  const meant = all.filter(({ record: { server } }) => name === undefined || server.id === name);
  const running = meant.filter(({ record }) => record.server.state === "running");
  if (name === undefined && running.length > 1) {
    const lines = running.map(({ record: { server } }) => `${server.id} (${server.point})`);
    throw new Failure("usage/invalid", `${running.length} servers run: ${lines.join(", ")}`, {
      hint: "Say which: 'chatkeep restore --stop NAME'.",
    });
  }
  const [unready] = meant.filter(({ record }) => record.server.state === "recovering");
  if (unready !== undefined && running.length === 0) {
    const { server, recovering } = unready.record;
    throw new Failure(
      "run/locked",
      `server ${server.id} is being recovered still, by process ${recovering?.pid ?? 0}`,
      {
        hint: "End that command: nothing of it stays.",
      },
    );
  }
  const [unseen] = meant.filter(({ record }) => record.server.state === "unseen");
  if (unseen !== undefined && running.length === 0) await stopServer(unseen.home, unseen.record);
  for (const { home, record } of running) await stopServer(home, record);
  const others = all.filter((one) => !running.includes(one)).map(({ record }) => record.server.id);
  return { type: "summary", verb: "restore", stopped: running.map(({ record }) => record.server.id), others };
}

function noSuchName(name: string, all: readonly Known[]): Failure {
  const those = all.map(({ record: { server } }) => `${server.id} (${server.point})`);
  return new Failure("usage/invalid", `no server was ever called '${name}'`, {
    hint: `A server's name is six digits, as 3fa91c. ${those.length === 0 ? "None runs." : `There is ${those.join(", ")}.`}`,
  });
}
