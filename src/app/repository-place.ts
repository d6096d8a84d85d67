/** Opening one repository: its place, the credentials that only it uses, and its password. */
import { isAbsolute, join, resolve } from "node:path";
import { formatSeconds } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { openRepository, Repository } from "../repo/repository.ts";
import { caching } from "../store/caching.ts";
import { assertLocation, openStore } from "../store/open-store.ts";
import { lacksPassword, secretsInLocation, withPassword } from "../store/rest-location.ts";
import type { Store, StoreSettings } from "../store/store.ts";
import type { RepositoryConfig } from "./config.ts";
import { readPassword, readVariables } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

/**
 * The environment that a repository's place is reached with: this process's own, then the file of `env-file`, then
 * `env`. Nobody else sees what is added, and what is secret in it is hidden from then on.
 * @throws Failure `config/invalid` when the file cannot be read.
 */
async function environmentOf(repository: RepositoryConfig | undefined, s: Surroundings): Promise<Surroundings["env"]> {
  return { ...s.env, ...(await readVariables(repository ?? {}, `repository '${repository?.name ?? ""}'`, s)) };
}

/** From the configuration's KiB. */
export function bytesOf(kib: number | undefined): number | undefined {
  return kib === undefined ? undefined : kib * 1024;
}

function settingsOf(
  repository: RepositoryConfig | undefined,
  { rates, atMs, mayFill = false }: Surroundings,
): StoreSettings {
  return {
    leavesRoom: !mayFill,
    connections: repository?.connections,
    uploadRate: rates?.upload ?? bytesOf(repository?.["limit-upload"]),
    downloadRate: rates?.download ?? bytesOf(repository?.["limit-download"]),
    ...(atMs === undefined ? {} : { atMs }),
    ...retentionOf(repository),
  };
}

const DAY_MS = 24 * 3_600_000;

function retentionOf({ immutable, location = "" }: Partial<RepositoryConfig> = {}): Pick<StoreSettings, "retention"> {
  if (immutable === undefined) return {};
  // On Azure what can be lifted can be lifted by whoever may extend it.
  const usual = location.startsWith("azure:") ? "compliance" : "governance";
  const { for: time, mode = usual } = typeof immutable === "string" ? { for: immutable } : immutable;
  return { retention: { forMs: Number.parseInt(time, 10) * DAY_MS, mode } };
}

/**
 * As it is to stand in a configuration that is read in any folder.
 * @throws Failure `usage/invalid` for what is no location, before it is taken for a folder.
 */
export function absoluteLocation(location: string, s: Surroundings): string {
  assertLocation(location);
  const path = location.replace(/^local:(?=.)/, "");
  return /^[a-z0-9]+:/.test(path) ? location : resolve(s.cwd, path);
}

/**
 * A location whose password was left out where it was kept or printed: the configuration has it, or the environment, or whoever
 * is at the terminal.
 */
async function completed(
  location: string,
  repository: RepositoryConfig | undefined,
  { env, person }: Surroundings,
): Promise<string> {
  if (repository !== undefined && !lacksPassword(repository.location)) return repository.location;
  const { RESTIC_REST_PASSWORD: given = "" } = env;
  if (given !== "") return withPassword(location, given);
  if (person !== undefined) return withPassword(location, await person.secret(`The password of ${location}:`));
  throw new Failure("config/invalid", `the password in the location '${location}' was left out, and is not given`, {
    hint: "A password in a location is never kept. Set RESTIC_REST_PASSWORD, or name the repository again with its password: --repository 'rest:https://USER:PASSWORD@HOST/PATH/'.",
  });
}

/** The store of a repository, with the credentials that the configuration gives it. */
export async function openPlace(
  named: string,
  repository: RepositoryConfig | undefined,
  s: Surroundings,
): Promise<Store> {
  const env = await environmentOf(repository, s);
  const location = lacksPassword(named) ? await completed(named, repository, { ...s, env }) : named;
  s.hide(secretsInLocation(location));
  if (s.atMs !== undefined && s.atMs > s.clock.now()) {
    throw new Failure("usage/invalid", `--at-time ${formatInstant(s.atMs)} lies in the future`, {
      hint: "Give a time that has passed, or leave it out to read what is there now. Is this machine's clock right?",
    });
  }
  const store = await openStore(location, {
    settings: settingsOf(repository, s),
    env,
    clock: s.clock,
    onRetry: ({ message, waitMs }) => s.progress.say(`${message}; trying again in ${formatSeconds(waitMs / 1000)}`),
  });
  s.atEnd?.(async () => await store.close());
  return store;
}

/** Opens the repository at a location, as the configuration describes it if it does. */
export async function openAt(
  location: string,
  repository: RepositoryConfig | undefined,
  s: Surroundings,
): Promise<Repository> {
  const store = await openPlace(location, repository, s);
  const password = await readPassword(repository, s);
  const opened = await openRepository(store, { password, signal: s.signal });
  const home = cacheHome(s);
  if (home === undefined) return opened;
  const { keys, config, keyId } = opened;
  const folder = join(home, "chatkeep", config.id);
  const isRemote = store.spec?.kind === "remote";
  return new Repository({
    store: isRemote ? caching(store, { folder, clock: s.clock }) : store,
    keys,
    config,
    keyId,
    keptIndex: join(folder, "kept-index"),
  });
}

/** Where caches lie, as the XDG rules have it; undefined for none. */
function cacheHome({ env, isCached, atMs }: Surroundings): string | undefined {
  // The cache follows what is there now.
  if (isCached === false || atMs !== undefined) return undefined;
  const [named = "", home = ""] = [env["XDG_CACHE_HOME"], env["HOME"]];
  if (isAbsolute(named)) return named;
  return isAbsolute(home) ? join(home, ".cache") : undefined;
}
