/**
 * Where configuration becomes wired objects: the only place that opens stores and repositories.
 * `--repository` names a configured repository, or is a location, which needs no configuration at all.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { PointReader } from "../job/point-reader.ts";
import { listPoints, resolvePoint, type PointList } from "../job/points.ts";
import { openRepository, type Repository } from "../repo/repository.ts";
import { openStore } from "../store/open-store.ts";
import { type Config, findConfig, loadConfig, type LoadedConfig, type RepositoryConfig } from "./config.ts";
import { readPassword } from "./secrets.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface OpenedRepository {
  repository: Repository;
  /** The name in the configuration, or the location. */
  name: string;
  /** Undefined when no configuration was needed. */
  config: Config | undefined;
  configPath: string | undefined;
}

/** True for what is written as a location is: a path, or a scheme. */
function isLocation(text: string): boolean {
  return /^(\/|\.\.?\/|~\/|local:|sftp:|s3:|gs:|azure:|rest:|b2:|swift:|rclone:)/.test(text);
}

export async function openChosenRepository(globals: Globals, s: Surroundings): Promise<OpenedRepository> {
  const wanted = globals.repository;
  if (wanted !== undefined && isLocation(wanted)) {
    const loaded = await findConfig(globals, s);
    const known = loaded?.config.repositories.find((repository) => sameLocation(repository.location, wanted, s));
    const repository = await open(wanted, await readPassword(known, s), s);
    return {
      repository,
      name: known?.name ?? wanted,
      config: known && loaded?.config,
      configPath: known && loaded?.path,
    };
  }
  const loaded = await loadConfig(globals, s);
  const chosen = chooseRepository(loaded, wanted);
  const repository = await open(chosen.location, await readPassword(chosen, s), s);
  return { repository, name: chosen.name, config: loaded.config, configPath: loaded.path };
}

function chooseRepository({ config, path }: LoadedConfig, wanted: string | undefined): RepositoryConfig {
  const chosen =
    wanted === undefined ? config.repositories[0] : config.repositories.find((known) => known.name === wanted);
  if (chosen !== undefined) return chosen;
  throw new Failure("usage/invalid", `'${path}' has no repository named '${wanted ?? ""}'`, {
    hint: `It has ${config.repositories.map((known) => known.name).join(", ")}; a location begins with '/' or a scheme.`,
  });
}

function sameLocation(a: string, b: string, s: Surroundings): boolean {
  const real = (path: string) => {
    try {
      return realpathSync(resolve(s.cwd, path));
    } catch {
      return resolve(s.cwd, path);
    }
  };
  return a === b || real(a) === real(b);
}

async function open(location: string, password: string, s: Surroundings): Promise<Repository> {
  return await openRepository(await openStore(location), { password, signal: s.signal });
}

export interface OpenedPoint extends OpenedRepository {
  reader: PointReader;
  list: PointList;
}

/** Opens the repository and the point that a word means. */
export async function openPoint(globals: Globals, word: string, s: Surroundings): Promise<OpenedPoint> {
  const opened = await openChosenRepository(globals, s);
  const list = await listPoints(opened.repository, { signal: s.signal });
  const point = resolvePoint(list, word, opened.config?.installation.id);
  await opened.repository.loadIndex({ signal: s.signal });
  return { ...opened, list, reader: new PointReader(opened.repository, point, { signal: s.signal }) };
}
