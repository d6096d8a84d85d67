/** Where the journals of restores lie, and which place a restore without a target works on. */
import { readdir } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { InstallationKind } from "../installation/installation.ts";
import type { OwnIdentity, Place } from "../job/plan-whole.ts";
import {
  isUnfinished,
  type JournalValue,
  type KeptRestore,
  listRestores,
  restoreFindings,
  unreadableFinding,
} from "../job/restore-journals.ts";
import { lockRun, type RunLock } from "../system/run-lock.ts";
import { makeFolders } from "../system/folders.ts";
import { findConfig, loadConfig, type LoadedConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";
import { findStateFolder, openStateFolder, SYSTEM_STATE } from "./state-folder.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface OpenedPlace {
  readonly place: Place;
  readonly own: OwnIdentity | undefined;
  readonly loaded: LoadedConfig | undefined;
  readonly findings: readonly Finding[];
}

/** Kinds onto which a restore can go without a configuration, as people name them. */
export const ONTO_KINDS = ["linux-vm", "compose", "swarm", "kubernetes"] as const;
export type OntoKind = (typeof ONTO_KINDS)[number];

function kindOf(onto: OntoKind): InstallationKind {
  return onto === "compose" ? "docker-compose" : onto;
}

/**
 * The installation whose place is taken: the configured one, or with a kind whatever of that kind is on this machine.
 * @throws Failure `config/missing` where neither says which, `target/unsuitable` where it is of another kind.
 */
export async function openPlace(globals: Globals, onto: OntoKind | undefined, s: Surroundings): Promise<OpenedPlace> {
  const loaded = onto === undefined ? await loadConfig(globals, s) : await findConfig(globals, s);
  const { config } = loaded ?? {};
  const kind = onto === undefined ? undefined : kindOf(onto);
  const configured = config?.installation.kind;
  if (kind !== undefined && configured !== undefined && configured !== kind) {
    throw new Failure(
      "target/unsuitable",
      `the configuration says that this is a ${configured}, and --onto a ${kind}`,
      {
        hint: "Leave --onto out, or name the configuration of the other one with --config. One that came here from a lost machine is not needed: move it away.",
      },
    );
  }
  const settings = { ...config?.installation, ...(kind === undefined ? {} : { kind }) };
  const found = await openInstallation(settings, s, config?.database);
  return {
    place: {
      installation: found.installation,
      address: found.address(),
      storageSettings: await storageSettings(config, s),
      look: async () => (await openInstallation(settings, s, config?.database)).installation,
    },
    own: config === undefined ? undefined : { id: config.installation.id, name: config.installation.name },
    loaded,
    findings: found.findings,
  };
}

export interface RestoreHome {
  /** With a folder for each restore. */
  readonly path: string;
  /** That only one run at a time works on the installation. */
  readonly lock: string;
}

/** The folder of one installation's restores. Nothing is made. @param id Of the installation, where no configuration says it. */
export async function restoreHome(loaded: LoadedConfig | undefined, id: string, s: Surroundings): Promise<RestoreHome> {
  if (loaded !== undefined) {
    const { path, lock } = await findStateFolder(loaded, s);
    return { path: join(path, "restore"), lock };
  }
  const path = join(unconfiguredState(s), id);
  return { path: join(path, "restore"), lock: join(path, "run.lock") };
}

function unconfiguredState({ env }: Surroundings): string {
  if (process.getuid?.() === 0) return SYSTEM_STATE;
  const named = env["XDG_STATE_HOME"];
  return join(named === undefined || named === "" ? join(homedir(), ".local", "state") : named, "chatkeep");
}

/** While a restore works, no daily run begins, and no second restore. @throws Failure `run/locked`. */
export async function lockHome(loaded: LoadedConfig | undefined, home: RestoreHome, s: Surroundings): Promise<RunLock> {
  if (loaded !== undefined) await openStateFolder(loaded, s);
  else await makeFolders(join(home.path, ".."), 0o700);
  return await lockRun(home.lock, s);
}

export interface RememberedRestore {
  readonly loaded: LoadedConfig | undefined;
  readonly home: RestoreHome;
  readonly kept: KeptRestore;
}

/** Of the configured installation; without a configuration of each that this machine has restored. */
export async function restoreHomes(
  globals: Globals,
  s: Surroundings,
): Promise<{ loaded: LoadedConfig | undefined; home: RestoreHome }[]> {
  const loaded = await findConfig(globals, s);
  if (loaded !== undefined) return [{ loaded, home: await restoreHome(loaded, loaded.config.installation.id, s) }];
  return (await unconfiguredHomes(s)).map((home) => ({ loaded, home }));
}

/** Of each installation that was worked on here without a configuration. */
export async function unconfiguredHomes(s: Surroundings): Promise<RestoreHome[]> {
  const ids = await readdir(unconfiguredState(s)).catch(() => []);
  return await Promise.all(ids.map(async (id) => await restoreHome(undefined, id, s)));
}

/** What this machine remembers of restores, the newest first. */
export interface RememberedRestores {
  readonly restores: readonly RememberedRestore[];
  /** Whose journal cannot be read: cut, damaged, or of a newer version. */
  readonly unreadable: readonly { readonly id: string; readonly failure: Failure }[];
}

/** Those of this installation; without a configuration all that this machine remembers. */
export async function rememberedRestores(globals: Globals, s: Surroundings): Promise<RememberedRestores> {
  const restores: RememberedRestore[] = [];
  const unreadable: { id: string; failure: Failure }[] = [];
  for (const { loaded, home } of await restoreHomes(globals, s)) {
    const found = await listRestores(home.path);
    restores.push(...found.restores.map((kept) => ({ loaded, home, kept })));
    unreadable.push(...found.unreadable.map(({ folder, failure }) => ({ id: basename(folder), failure })));
  }
  return {
    restores: restores.toSorted((a, b) => (a.kept.id < b.kept.id ? 1 : -1)),
    unreadable: unreadable.toSorted((a, b) => (a.id < b.id ? 1 : -1)),
  };
}

/** A restore that somebody meant without naming it, and what is to be said of those that could not be looked at. */
export interface FoundRestore extends RememberedRestore {
  readonly findings: readonly Finding[];
}

/**
 * The one that is not finished, or else the newest that is meant. One that cannot be read, and is older, is told and passed over.
 * @throws Failure `restore/record` where one that cannot be read may be the one that is meant.
 */
export function chooseRestore(
  { restores, unreadable }: RememberedRestores,
  isMeant: (journal: JournalValue) => boolean,
): FoundRestore | undefined {
  const unfinished = restores.find(({ kept: { journal } }) => isUnfinished(journal.value));
  const found = unfinished ?? restores.find(({ kept: { journal } }) => isMeant(journal.value));
  // While one is unfinished none begins: what cannot be read had come to its end before.
  const inTheWay = unfinished === undefined ? unreadable.find(({ id }) => id > (found?.kept.id ?? "")) : undefined;
  if (inTheWay !== undefined) {
    const { message, hint } = unreadableFinding(inTheWay.failure);
    throw new Failure("restore/record", message, { hint, cause: inTheWay.failure });
  }
  if (found === undefined) return undefined;
  return { ...found, findings: unreadable.map(({ failure }) => unreadableFinding(failure)) };
}

/** What is to be said of a restore that is not finished. */
export async function findingsOfRestores(loaded: LoadedConfig, s: Surroundings): Promise<Finding[]> {
  return await restoreFindings((await restoreHome(loaded, loaded.config.installation.id, s)).path);
}
