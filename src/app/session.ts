/**
 * Where configuration becomes wired objects: the only place that opens stores and repositories.
 * `--repository` names a configured repository, or is a location, which needs no configuration at all.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { type ErrorCode, Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { type AskedMoment, parseMoment } from "../point/moment.ts";
import type { Repository } from "../repo/repository.ts";
import { parseRestLocation, withoutPassword } from "../store/rest-location.ts";
import { type Config, findConfig, loadConfig, type LoadedConfig, type RepositoryConfig } from "./config.ts";
import { openAt } from "./repository-place.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface OpenedRepository {
  repository: Repository;
  /** The name in the configuration, or the location without a password: as `--repository` takes it. */
  name: string;
  /** Undefined when no configuration was needed. */
  config: Config | undefined;
  configPath: string | undefined;
  /** Why it is this one, where it is not the first of the configuration. */
  why?: string | undefined;
  /** What whoever brings something back from it must know of the other repositories. */
  findings?: readonly Finding[];
  /** When what is wanted of it was said, in milliseconds since 1970: `-5m` counts from then, however long opening it took. */
  saidAtMs?: number;
}

/** The moment that a word means which was said when the repository was chosen. */
export function askedOf(
  { saidAtMs }: Pick<OpenedRepository, "saidAtMs">,
  word: string,
  { clock }: Pick<Surroundings, "clock">,
): AskedMoment | undefined {
  return parseMoment(word, saidAtMs ?? clock.now());
}

/** A repository that was wanted first and does not answer, or could be read and did not take what was to be written. */
export interface PassedOver {
  name: string;
  failure: Failure;
  isRefusing?: boolean;
}

/** True for what is written as a location is: a path, or a scheme. */
function isLocation(text: string): boolean {
  return /^(\/|\.\.?\/|~\/|local:|export:|sftp:|s3:|gs:|azure:|rest:|b2:|swift:|rclone:)/.test(text);
}

/** The repository that `--repository` names, or the first of the configuration, and no other. */
export async function openChosenRepository(globals: Globals, s: Surroundings): Promise<OpenedRepository> {
  const wanted = globals.repository;
  if (wanted !== undefined && isLocation(wanted)) {
    const loaded = await findConfig(globals, s);
    const known = loaded?.config.repositories.find((repository) => sameLocation(repository.location, wanted, s));
    const repository = await openAt(wanted, known, s);
    return {
      repository,
      name: known?.name ?? withoutPassword(wanted),
      config: known && loaded?.config,
      configPath: known && loaded?.path,
    };
  }
  const loaded = await loadConfig(globals, s);
  const chosen = chooseRepository(loaded, wanted);
  return await openOf(loaded, chosen, s);
}

/** One of the configuration's. */
export async function openOf(
  loaded: LoadedConfig,
  chosen: RepositoryConfig,
  s: Surroundings,
): Promise<OpenedRepository> {
  const repository = await openAt(chosen.location, chosen, s);
  return { repository, name: chosen.name, config: loaded.config, configPath: loaded.path };
}

/**
 * What says that a repository is not to be had now: its place does not answer or refuses us, or its disk is not mounted.
 * A wrong password or damage is no reason to go elsewhere: somebody must look.
 */
const AWAY: readonly ErrorCode[] = ["store/unreachable", "store/denied", "repo/missing"];

export function isAway(error: unknown): error is Failure {
  return isFailure(error) && AWAY.includes(error.code);
}

/**
 * What says that a repository can be had and not be written to: mounted read-only, no right to, full; or that it went away
 * meanwhile. A disk that is full on this machine, or a database that fails, is no failure of a store.
 */
export function isRefusing(error: unknown): error is Failure {
  if (isAway(error) || isFailure(error, "store/full")) return true;
  // Its lock could not be refreshed for so long that the run had to end.
  return isFailure(error, "repo/locked") && (isAway(error.cause) || isFailure(error.cause, "store/full"));
}

/**
 * The repository that `--repository` names; without it, the first of the configuration that answers.
 * @param refusing those that were tried before.
 * @throws what the first one answered, when none does.
 */
export async function openAnsweringRepository(
  globals: Globals,
  s: Surroundings,
  refusing: readonly PassedOver[] = [],
): Promise<OpenedRepository & { passedOver: PassedOver[] }> {
  const loaded = globals.repository === undefined ? await loadConfig(globals, s) : undefined;
  if (loaded === undefined) return { ...(await openChosenRepository(globals, s)), passedOver: [] };
  const passedOver = [...refusing];
  const known = new Set(refusing.map(({ name }) => name));
  for (const candidate of loaded.config.repositories.filter(({ name }) => !known.has(name))) {
    try {
      return { ...(await openOf(loaded, candidate, s)), passedOver };
    } catch (error) {
      if (!isAway(error)) throw error;
      passedOver.push({ name: candidate.name, failure: error });
    }
  }
  throw passedOver[0]?.failure ?? new Failure("config/invalid", `'${loaded.path}' names no repository`);
}

/** One that answers, to read from; says so when it is not the first. */
export async function openToRead(globals: Globals, s: Surroundings): Promise<OpenedRepository> {
  const opened = await openAnsweringRepository(globals, s);
  for (const { name, failure } of opened.passedOver) {
    s.progress.say(`repository '${name}' does not answer (${failure.message}): reading from '${opened.name}'`);
  }
  return opened;
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
  const real = (location: string) => {
    if (location.startsWith("rest:")) return restUrl(location);
    const path = location.replace(/^local:/, "");
    try {
      return realpathSync(resolve(s.cwd, path));
    } catch {
      return resolve(s.cwd, path);
    }
  };
  return a === b || real(a) === real(b);
}

/** Without user and password: who may come in is no part of the place. */
function restUrl(location: string): string {
  try {
    return parseRestLocation(location).url.href;
  } catch {
    return location; // It will be refused where it is opened.
  }
}
