/**
 * `init`: finds the installation, asks what it must, creates the repository and its password, writes the
 * configuration and the recovery kit. Files that exist are never overwritten.
 */
import { randomUUID } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { stringify } from "yaml";
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { sortFindings } from "../base/findings.ts";
import type { Installation } from "../installation/installation.ts";
import { listPoints } from "../job/points.ts";
import type { InitSummary } from "../job/summaries.ts";
import { shellWord } from "../point/restore-script.ts";
import { createRepository, openRepository, type Repository } from "../repo/repository.ts";
import { openStore } from "../store/open-store.ts";
import { ownContainerId } from "../system/own-container.ts";
import { SYSTEM_CONFIG } from "./config.ts";
import { openInstallation, type FoundInstallation } from "./installation.ts";
import { restoreConfig } from "./init-from.ts";
import { kitPassword, requireNewKit, withoutLogin, writeKit } from "./kit.ts";
import { requireNew, writeNew } from "./new-file.ts";
import { makePassword } from "./new-password.ts";
import { absoluteLocation } from "./repository-place.ts";
import { readSecretFile } from "./secrets.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface InitFlags {
  name?: string | undefined;
  location?: string | undefined;
  root?: string | undefined;
  envFile?: string | undefined;
  databaseUrl?: string | undefined;
  storage?: string | undefined;
  code?: string | undefined;
  /** Which of several Compose projects. */
  project?: string | undefined;
  /** The namespace of a Kubernetes cluster. */
  namespace?: string | undefined;
  passwordFile?: string | undefined;
  /** One more repository, of this name, for the configuration that is there. */
  add?: string | undefined;
  /** A repository that exists: the configuration is read back from its newest point. */
  from?: string | undefined;
}

const DEFAULT_LOCATION = "/var/backups/chatkeep";

export async function runInit(globals: Globals, flags: InitFlags, s: Surroundings): Promise<InitSummary> {
  const path = configPath(globals, s);
  if (await exists(path)) {
    throw new Failure("config/invalid", `'${path}' exists already`, {
      hint: "Chatkeep is set up here: edit that file, or name another with --config.",
    });
  }
  await requireNew(path);
  if (flags.from !== undefined) return await restoreConfig(path, flags.from, flags.passwordFile, s);
  return await setUp(path, flags, s);
}

function configPath(globals: Globals, s: Surroundings): string {
  const named = globals.config ?? s.env["CHATKEEP_CONFIG"];
  if (named !== undefined && named !== "") return resolve(s.cwd, named);
  return userInfo().uid === 0 ? SYSTEM_CONFIG : join(s.cwd, "chatkeep.yaml");
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw new Failure("config/invalid", `cannot look at '${path}': ${error.message}`, {
        hint: "Name another place with --config.",
        cause: error,
      });
    },
  );
}

async function setUp(path: string, flags: InitFlags, s: Surroundings): Promise<InitSummary> {
  const kit = await requireNewKit(dirname(path));
  const settings = {
    root: absolute(flags.root, s),
    "env-file": absolute(flags.envFile, s),
    "database-url": flags.databaseUrl,
    storage: absolute(flags.storage, s),
    code: absolute(flags.code, s),
    "compose-project": flags.project,
    namespace: flags.namespace,
  };
  const found = await openInstallation(withoutUndefined(settings), s);
  const suggested = suggestName(found.installation);
  const name = flags.name ?? (await s.person?.text("Name of this installation", suggested)) ?? suggested;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) {
    throw new Failure("usage/invalid", `'${name}' cannot be the name of an installation`, {
      hint: "Use letters, digits, '.', '_' and '-', at most 63.",
    });
  }
  const given =
    flags.location ?? (await s.person?.text("Where the repository goes (best on another disk)", DEFAULT_LOCATION));
  const location = absoluteLocation(given ?? DEFAULT_LOCATION, s);
  const password = await choosePassword(flags.passwordFile ?? join(dirname(path), "chatkeep.password"), s);
  const { repository, created } = await openWith(password, { location, installation: name }, s);
  const id = randomUUID();
  await writeNew(
    path,
    formatConfig({ id, name, settings: withoutUndefined(settings), found, location, passwordFile: password.path }),
  );
  await writeKit(kit, {
    installation: { id, name },
    repositories: [
      {
        name: "primary",
        location: withoutLogin(location),
        opened: { id: repository.config.id, keyId: repository.keyId },
        password: kitPassword(password.value),
      },
    ],
    writtenAt: formatInstant(s.clock.now()),
  });
  const files = [...(password.isNew ? [password.path] : []), path, kit.page, kit.text];
  return {
    type: "summary",
    verb: "init",
    config: path,
    repository: location,
    created,
    files,
    kit: kit.text,
    kitPage: kit.page,
    ...(ownContainerId() === undefined ? {} : { inContainer: true }),
    notes: found.installation.notes,
    findings: sortFindings(found.findings),
  };
}

function suggestName({ choice }: Installation): string {
  const host =
    hostname()
      .split(".")[0]
      ?.replaceAll(/[^A-Za-z0-9_-]/g, "") ?? "";
  // A container's own name is its number, and the next one has another.
  const isNumber = /^[0-9a-f]{12}$/.test(host);
  if (isNumber && choice !== undefined && "project" in choice) return choice.project;
  return host === "" || host === "localhost" || isNumber ? "chatwoot" : host;
}

function absolute(path: string | undefined, s: Surroundings): string | undefined {
  return path === undefined ? undefined : resolve(s.cwd, path);
}

function withoutUndefined(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

interface ChosenPassword {
  value: string;
  path: string;
  isNew: boolean;
}

/** The password in that file, or a new one for it. */
export async function choosePassword(passwordFile: string, s: Surroundings): Promise<ChosenPassword> {
  const path = resolve(s.cwd, passwordFile);
  if (await exists(path))
    return { value: await readSecretFile(path, "the repository's password", s), path, isNew: false };
  const value = makePassword();
  s.hide([value]);
  return { value, path, isNew: true };
}

interface OpenedPlace {
  repository: Repository;
  created: boolean;
}

interface WantedPlace {
  location: string;
  /** The installation's name. */
  installation: string;
  /** The same installation may have points there already. */
  isSame?: boolean;
  chunkerPolynomial?: string;
}

/** A new password is written before the repository is made: a repository without its password is lost. */
export async function openWith(password: ChosenPassword, place: WantedPlace, s: Surroundings): Promise<OpenedPlace> {
  await writeNew(password.path, password.isNew ? `${password.value}\n` : undefined);
  try {
    return await openOrCreate(place, password.value, s);
  } catch (error) {
    if (password.isNew && (isFailure(error, "repo/exists") || !(await mayBeRepository(place.location, s))))
      await rm(password.path, { force: true });
    throw error;
  }
}

/** False only when it is certain that no repository is there, and none that was begun with this password. */
async function mayBeRepository(location: string, s: Surroundings): Promise<boolean> {
  // Whatever stopped the run must not stop this question.
  const { signal } = new AbortController();
  try {
    const store = await openStore(location, { env: s.env });
    s.atEnd?.(async () => await store.close());
    if ((await store.stat({ kind: "config", name: "" }, { signal })) !== undefined) return true;
    for await (const _key of store.list("keys", { signal })) return true;
    return false;
  } catch {
    return true;
  }
}

async function openOrCreate(place: WantedPlace, password: string, s: Surroundings): Promise<OpenedPlace> {
  const { location, installation: name } = place;
  const store = await openStore(location, { env: s.env });
  s.atEnd?.(async () => await store.close());
  try {
    const repository = await createRepository(store, {
      password,
      clock: s.clock,
      hostname: hostname(),
      username: userInfo().username,
      chunkerPolynomial: place.chunkerPolynomial,
      signal: s.signal,
    });
    return { repository, created: true };
  } catch (error) {
    if (!isFailure(error, "repo/exists")) throw error;
    // Without a config there is nothing to open, and the error says what to do.
    if ((await store.stat({ kind: "config", name: "" }, { signal: s.signal })) === undefined) throw error;
  }
  // Two installations may share a repository, kept apart by their ids; two of one name may not.
  const repository = await openRepository(store, { password, signal: s.signal }).catch((error: unknown) => {
    if (!isFailure(error, "repo/wrong-password")) throw error;
    throw new Failure("repo/exists", `there is a repository at '${location}' already, with another password`, {
      hint: "To take it up on this machine, use 'chatkeep init --from' with its password; for a new one, name another place.",
      cause: error,
    });
  });
  const { points } = await listPoints(repository, { signal: s.signal });
  if (place.isSame !== true && points.some((point) => point.snapshot.hostname === name)) {
    throw new Failure("repo/exists", `the repository at '${location}' holds another installation named '${name}'`, {
      hint: `Choose another --name; to take that one up on this machine, use 'chatkeep init --from ${shellWord(location)}'.`,
    });
  }
  return { repository, created: false };
}

interface ConfigParts {
  id: string;
  name: string;
  settings: Record<string, string>;
  found: FoundInstallation;
  location: string;
  passwordFile: string;
}

function formatConfig({ id, name, settings, found, location, passwordFile }: ConfigParts): string {
  const { installation } = found;
  const body = {
    installation: {
      id,
      name,
      kind: installation.kind,
      ...placeOf(installation),
      ...settings,
    },
    repositories: [{ name: "primary", location, "password-file": passwordFile }],
  };
  return `# Chatkeep's configuration. 'chatkeep help config' says what else can stand here.\n${stringify(body)}`;
}

/** What leads to the installation again; containers are found anew each time, and so are their files. */
function placeOf({ choice, root, envFile }: Installation): Record<string, string> {
  if (choice !== undefined) return "project" in choice ? { "compose-project": choice.project } : choice;
  return { ...(root === undefined ? {} : { root }), ...(envFile === undefined ? {} : { "env-file": envFile }) };
}
