/** What every service of ours on this machine has: how it is called, where it may write, and what it lacks. */
import { existsSync, realpathSync } from "node:fs";
import { stat } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { isSea } from "node:sea";
import type { Finding } from "../base/findings.ts";
import type { Job } from "../schedule/job.ts";
import type { ManifestOptions } from "../schedule/manifests.ts";
import { isLingering, type Systemd } from "../schedule/systemd.ts";
import { findEngineAddress } from "../system/engine-api.ts";
import { makeFolders } from "../system/folders.ts";
import type { Config, LoadedConfig } from "./config.ts";
import { findStateFolder, openStateFolder } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

interface Here {
  loaded: LoadedConfig;
  job: Job;
  s: Surroundings;
}

/** What is to run, but for when. */
export async function ownJob(loaded: LoadedConfig, s: Surroundings): Promise<Job> {
  const { config, path } = loaded;
  const state = dirname((await findStateFolder(loaded, s)).path);
  return {
    installation: config.installation,
    command: ownCommand(),
    config: path,
    writes: writesOf(config, state, s),
  };
}

/** How this program is called: a single executable by itself, else Node with its script. */
function ownCommand(): string[] {
  const script = process.argv[1];
  return isSea() || script === undefined ? [process.execPath] : [process.execPath, realpathSync(script)];
}

/** Folders, for a file that is replaced takes its folder's place. */
function writesOf(config: Config, state: string, s: Surroundings): string[] {
  const local = localPlaces(config, s).map(({ path }) => path);
  const files = [config["status-file"], config["metrics-file"]].flatMap((file) => {
    return file === undefined ? [] : [dirname(resolve(s.cwd, file))];
  });
  return [...new Set([state, ...local, ...files])];
}

/** Of the repositories on this machine's disks. */
export function localPlaces({ repositories }: Config, s: Surroundings): { name: string; path: string }[] {
  return repositories.flatMap(({ name, location }) => {
    const path = location.replace(/^local:/, "");
    return /^[a-z0-9]+:/.test(path) ? [] : [{ name, path: resolve(s.cwd, path) }];
  });
}

export function systemdHere({ env }: Surroundings): Systemd {
  if (process.getuid?.() === 0) return { scope: "system", folder: "/etc/systemd/system" };
  const config = env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config");
  return { scope: "user", folder: join(config, "systemd", "user") };
}

/** What is not there when the service starts cannot be made within its walls. A repository's disk may be away just now. */
export async function makePlaces({ loaded, job, s }: Here): Promise<void> {
  await openStateFolder(loaded, s);
  const local = new Set(localPlaces(loaded.config, s).map(({ path }) => path));
  for (const path of job.writes) if (!local.has(path)) await makeFolders(path);
}

export async function lingerFindings({ scope }: Systemd, what: string): Promise<Finding[]> {
  const user = userInfo().username;
  if (scope === "system" || (await isLingering(user))) return [];
  return [
    {
      kind: "linger-off",
      level: "warning",
      message: `the ${what} of user '${user}' runs only while that user is logged in`,
      hint: `Run: loginctl enable-linger ${user}`,
    },
  ];
}

/** A timer has another environment than the shell that the configuration was tried in. */
export function variableFindings({ loaded }: Pick<Here, "loaded">): Finding[] {
  const file = join(dirname(loaded.path), "environment");
  if (!loaded.usesVariables || existsSync(file)) return [];
  return [
    {
      kind: "variables-unset",
      level: "warning",
      message: "the configuration names variables of the environment, which a timer does not have",
      hint: `Write them as NAME=value into '${file}' (chmod 600), which the service reads.`,
    },
  ];
}

/** What a Compose service on this machine reads, keeps and asks. */
export async function composeOptions(loaded: LoadedConfig, s: Surroundings): Promise<Omit<ManifestOptions, "image">> {
  const { config, path } = loaded;
  const { storage, root, code, kind } = config.installation;
  const reads = [...new Set([root, storage, code].filter((place) => place !== undefined))];
  const asksEngine = kind === "docker-compose" || kind === "swarm";
  return {
    reads: reads.map((place) => resolve(s.cwd, place)),
    stateDir: dirname((await findStateFolder(loaded, s)).path),
    owner: await stat(path),
    engine: asksEngine ? await findEngineAddress(s.env, (place) => place) : undefined,
  };
}
