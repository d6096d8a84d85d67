/** What Chatkeep keeps on this machine between two runs: the lock, the last status, notices that await delivery. */
import { access, constants, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { formatInstant, parseZonedInstant } from "../base/clock.ts";
import { Failure, messageOf } from "../base/errors.ts";
import type { RunStatus } from "../job/run-summary.ts";
import { makeFolders } from "../system/folders.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { LoadedConfig } from "./config.ts";
import type { Surroundings } from "./surroundings.ts";

export const SYSTEM_STATE = "/var/lib/chatkeep";

export interface StateFolder {
  /** Of this installation alone. */
  readonly path: string;
  readonly lock: string;
  readonly status: string;
  /** When the newest run began, whether or not it came to write a status. */
  readonly began: string;
  readonly notices: string;
}

function below(path: string, installationId: string): StateFolder {
  const own = join(path, installationId);
  return {
    path: own,
    lock: join(own, "run.lock"),
    status: join(own, "status.json"),
    began: join(own, "began"),
    notices: join(own, "notices"),
  };
}

/** The folders that it can be, the one that is used first. */
function candidates({ config, path }: Pick<LoadedConfig, "config" | "path">, s: Surroundings): string[] {
  const named = config["state-dir"];
  // Who may not write into the system's folder keeps it beside the configuration.
  return named === undefined ? [SYSTEM_STATE, join(dirname(path), "state")] : [resolve(s.cwd, named)];
}

/**
 * Makes it, where it is not there.
 * @throws Failure `config/invalid` when no folder can be written to.
 */
export async function openStateFolder(
  loaded: Pick<LoadedConfig, "config" | "path">,
  s: Surroundings,
): Promise<StateFolder> {
  let last: unknown;
  for (const folder of candidates(loaded, s)) {
    const state = below(folder, loaded.config.installation.id);
    try {
      await makeFolders(state.path, 0o700);
      await access(state.path, constants.W_OK | constants.X_OK);
      return state;
    } catch (error) {
      last = error;
    }
  }
  throw new Failure("config/invalid", `there is no folder for the state of the daily run: ${messageOf(last)}`, {
    hint: "Name one that Chatkeep may write to with state-dir in the configuration.",
    cause: last,
  });
}

/** The folder that {@link openStateFolder} would use, as far as can be told without making it. */
export async function findStateFolder(
  loaded: Pick<LoadedConfig, "config" | "path">,
  s: Surroundings,
): Promise<StateFolder> {
  const all = candidates(loaded, s);
  for (const folder of all) {
    const isThere = await access(join(folder, loaded.config.installation.id), constants.W_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return below(folder, loaded.config.installation.id);
  }
  const isRoot = process.getuid?.() === 0;
  return below((isRoot ? all[0] : all.at(-1)) ?? SYSTEM_STATE, loaded.config.installation.id);
}

/** What the last `guard` kept. */
export function guardFile({ path }: Pick<StateFolder, "path">): string {
  return join(path, "guard.json");
}

/** What the newest recoveries of moments took. */
export function recoveriesFile({ path }: Pick<StateFolder, "path">): string {
  return join(path, "recoveries.json");
}

/** What the watch that runs, or ran last, says of itself. */
export function watchFile({ path }: Pick<StateFolder, "path">): string {
  return join(path, "watch.json");
}

/** Says that a run begins. A disk that is full keeps no run from beginning. */
export async function markBegun({ began }: StateFolder, nowMs: number): Promise<void> {
  await replaceFile(began, `${formatInstant(nowMs)}\n`, 0o600).catch(() => {});
}

/** Milliseconds since 1970; undefined where nothing says it. */
export async function readBegun({ began }: StateFolder): Promise<number | undefined> {
  return parseZonedInstant((await readFile(began, "utf8").catch(() => "")).trim());
}

/** Undefined where no run has left one, or it cannot be read. */
export async function readStatus({ status }: StateFolder): Promise<RunStatus | undefined> {
  try {
    const value = JSON.parse(await readFile(status, "utf8")) as Partial<RunStatus>;
    return value.schema === 1 && Array.isArray(value.repositories) ? (value as RunStatus) : undefined;
  } catch {
    return undefined;
  }
}
