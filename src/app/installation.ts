/** From configuration to the installation it describes, and to the database that its application uses. */
import type { Finding } from "../base/findings.ts";
import { isFailure } from "../base/errors.ts";
import { secretsInCommand } from "../base/redact.ts";
import { databaseOf } from "../chatwoot/environment.ts";
import { secretValuesOf } from "../chatwoot/secrets.ts";
import type { InstallationSettings } from "../installation/find.ts";
import type { Installation } from "../installation/installation.ts";
import { parseDatabaseUrl, type ServerAddress } from "../postgres/address.ts";
import type { Config, InstallationConfig } from "./config.ts";
import { readSecretFile } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

export interface FoundInstallation {
  installation: Installation;
  findings: Finding[];
  /**
   * Where its database is reached from here.
   * @throws Failure `config/invalid` when its URL makes no sense, `database/unreachable` when it is in a container that
   *   does not run or cannot be reached.
   */
  address(): ServerAddress;
}

/**
 * Finds the installation that the configuration describes, or, with an empty one, whatever is there.
 * Every secret of its environment is hidden from then on.
 * @param database What the configuration says of the way to its database.
 */
export async function openInstallation(
  config: Partial<InstallationConfig>,
  s: Surroundings,
  database?: Config["database"],
): Promise<FoundInstallation> {
  const urlFile = config["database-url-file"];
  const databaseUrl =
    urlFile === undefined ? config["database-url"] : await readSecretFile(urlFile, "the database's URL", s);
  if (databaseUrl !== undefined) s.hide([databaseUrl]);
  s.hide(secretsInCommand(ownCommands(config)));
  const settings: InstallationSettings = {
    kind: config.kind,
    root: config.root,
    envFile: config["env-file"],
    databaseUrl,
    storage: config.storage,
    config: config.config,
    code: config.code,
    version: config.version,
    project: config["compose-project"],
    container: config.container,
    namespace: config.namespace,
    deployment: config.deployment,
    stop: config.stop,
    start: config.start,
    health: config.health,
    migrate: config.migrate,
  };
  // Most of a command's modules, and a command that only looks into a repository does without.
  const { findInstallation } = await import("../installation/find.ts");
  const { installation, findings } = await findInstallation(settings, { signal: s.signal, env: s.env });
  s.hide(secretValuesOf(installation.environment));
  return {
    installation,
    findings,
    address() {
      const address = withCommand(databaseAddress(installation), database);
      if (address.password !== undefined) s.hide([address.password]);
      const { host, port } = installation.reach?.(address.host, address.port) ?? address;
      return { ...address, host, port };
    },
  };
}

/** A person's own lines for the shell. */
function ownCommands({ stop, start, health, migrate }: Partial<InstallationConfig>): string[] {
  return [stop?.web, stop?.worker, start?.web, start?.worker, health, migrate].flatMap((line) => line ?? []);
}

/** What its application's databases are called: the one that is backed up, and the one that its environment names, if another. */
export function databaseNames(installation: Installation): Set<string> {
  const names = new Set([databaseAddress(installation).database]);
  try {
    names.add(databaseAddress({ ...installation, database: databaseOf(installation.environment) }).database);
  } catch (error) {
    // What makes no sense is no database's name.
    if (!isFailure(error)) throw error;
  }
  return names;
}

/** Where the standby is that the configuration names; undefined when it names none. */
export async function standbyAddress(
  database: Config["database"],
  s: Surroundings,
): Promise<ServerAddress | undefined> {
  const file = database?.["standby-url-file"];
  const url = file === undefined ? database?.["standby-url"] : await readSecretFile(file, "the standby's URL", s);
  return url === undefined ? undefined : withCommand(secretAddress(url, s), database);
}

/** The address that a configuration's URL names; what is secret in it is hidden from then on. @throws Failure `config/invalid`. */
export function secretAddress(url: string, s: Pick<Surroundings, "hide">): ServerAddress {
  s.hide([url]);
  const address = parseDatabaseUrl(url);
  if (address.password !== undefined) s.hide([address.password]);
  return address;
}

/** The command's word counts, whatever password is written elsewhere. */
function withCommand(address: ServerAddress, database: Config["database"]): ServerAddress {
  const passwordCommand = database?.["password-command"];
  return passwordCommand === undefined ? address : { ...address, password: undefined, passwordCommand };
}

/** A named database of the same role on the same server as the installation's own, without a password, has the same one. */
export async function withOwnPassword(
  named: ServerAddress,
  config: Config | undefined,
  s: Surroundings,
): Promise<ServerAddress> {
  if (named.password !== undefined || config?.database?.["password-command"] === undefined) return named;
  const address = (await openInstallation(config.installation, s, config.database)).address();
  const isSame = address.host === named.host && address.port === named.port && address.user === named.user;
  return isSame ? withCommand(named, config.database) : named;
}

function databaseAddress({ database }: Installation): ServerAddress {
  if (database.url !== undefined) return parseDatabaseUrl(database.url);
  const { host, port, user, password, database: name } = database;
  return { host, port, user, database: name, ...(password === undefined ? {} : { password }) };
}
