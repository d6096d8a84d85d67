/** Where the journals of restores lie, and which place a restore without a target works on. */
import { readdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { InstallationKind } from "../installation/installation.ts";
import type { OwnIdentity, Place } from "../job/plan-whole.ts";
import { type KeptRestore, listRestores, restoreFindings } from "../job/restore-journals.ts";
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
        hint: "Leave --onto out, or name the configuration of the other one with --config.",
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
  const ids = await readdir(unconfiguredState(s)).catch(() => []);
  return await Promise.all(ids.map(async (id) => ({ loaded, home: await restoreHome(loaded, id, s) })));
}

/** Those of this installation, the newest first; without a configuration all that this machine remembers. */
export async function rememberedRestores(globals: Globals, s: Surroundings): Promise<RememberedRestore[]> {
  const all: RememberedRestore[] = [];
  for (const { loaded, home } of await restoreHomes(globals, s)) {
    const { restores, unreadable } = await listRestores(home.path);
    const [first] = unreadable;
    if (first !== undefined) throw first.failure;
    all.push(...restores.map((kept) => ({ loaded, home, kept })));
  }
  return all.toSorted((a, b) => (a.kept.id < b.kept.id ? 1 : -1));
}

/** The first of {@link rememberedRestores}. */
export async function newestRestore(globals: Globals, s: Surroundings): Promise<RememberedRestore | undefined> {
  return (await rememberedRestores(globals, s))[0];
}

/** What is to be said of a restore that is not finished. */
export async function findingsOfRestores(loaded: LoadedConfig, s: Surroundings): Promise<Finding[]> {
  return await restoreFindings((await restoreHome(loaded, loaded.config.installation.id, s)).path);
}
