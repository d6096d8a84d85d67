/** Finds an installation: by itself where cwctl installed it (`linux-vm`), or as the configuration names it (`manual`). */
import { join, resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { plural } from "../base/bytes.ts";
import {
  databaseOf,
  railsEnvOf,
  readEnvFile,
  type StorageService,
  storageServicesOf,
} from "../chatwoot/environment.ts";
import { parseAppVersion } from "../chatwoot/versions.ts";
import type { CodePlace, Installation, InstallationKind } from "./installation.ts";
import { lookAt, type Machine, machineAt, mayExist, readText, readTextIfAllowed } from "./places.ts";
import { findSystemFiles } from "./system-files.ts";
import { readUnits, type Units } from "./units.ts";
import { environmentFindings, placeFindings } from "./worries.ts";

/** What the configuration says of the installation; anything that is left out is looked for. */
export interface InstallationSettings {
  kind?: InstallationKind | undefined;
  root?: string | undefined;
  envFile?: string | undefined;
  databaseUrl?: string | undefined;
  /** The folder of the storage service `local`. */
  storage?: string | undefined;
  /** Further files and folders to save as configuration. */
  config?: readonly string[] | undefined;
  /** The folder of the code, a git checkout or not. */
  code?: string | undefined;
  version?: string | undefined;
}

export interface FindOptions {
  signal: AbortSignal;
  /** A folder that stands for `/`, for tests. */
  filesystemRoot?: string;
}

export interface Found {
  installation: Installation;
  findings: Finding[];
}

/** cwctl's place. */
const USUAL_ROOT = "/home/chatwoot/chatwoot";

/** What a folder of Chatwoot has, at least one of them. */
const SIGNS = ["config/app.yml", "config/storage.yml", ".env"] as const;

async function isChatwoot(folder: string): Promise<boolean> {
  for (const sign of SIGNS) if ((await lookAt(join(folder, sign))) !== undefined) return true;
  return false;
}

/** @throws Failure `installation/not-found` when it is certain that a folder which is named holds no Chatwoot. */
async function requireChatwoot(folder: string): Promise<void> {
  for (const sign of SIGNS) if (await mayExist(join(folder, sign))) return;
  throw new Failure(
    "installation/not-found",
    `there is no Chatwoot in ${folder}: it has neither ${SIGNS.join(" nor ")}`,
    {
      hint: "Name the folder that Chatwoot runs in as 'root', or name 'env-file' or 'database-url' and 'storage'.",
    },
  );
}

async function findRoot(settings: InstallationSettings, units: Units, machine: Machine): Promise<string | undefined> {
  if (settings.root !== undefined) {
    const root = resolve(settings.root);
    if ((await lookAt(root))?.isFolder === true) return root;
    throw new Failure(
      "installation/not-found",
      `there is no folder ${root}, which the configuration names as Chatwoot's`,
      {
        hint: "Correct 'root' under 'installation', or run Chatkeep as a user that may enter the folder.",
      },
    );
  }
  if (settings.kind === "manual") return undefined;
  for (const candidate of [units.workingFolder, machine.at(USUAL_ROOT)]) {
    if (candidate !== undefined && (await isChatwoot(candidate))) return candidate;
  }
  return undefined;
}

function notFound(units: Units, machine: Machine): Failure {
  const places = [units.workingFolder, machine.at(USUAL_ROOT)].filter((place) => place !== undefined);
  return new Failure("installation/not-found", "no Chatwoot was found on this machine", {
    hint: `Looked for systemd units chatwoot*.service and for Chatwoot in ${[...new Set(places)].join(", ")}. Name it in the configuration: 'root', or 'env-file' or 'database-url' and 'storage'.`,
  });
}

/** dotenv's own order: the first file that has a variable wins, and what the process was given wins over all. */
function envFileNames(rails: string): string[] {
  return [`.env.${rails}.local`, ...(rails === "test" ? [] : [".env.local"]), `.env.${rails}`, ".env"];
}

interface ReadEnvironment {
  environment: Map<string, string>;
  envFile: string | undefined;
  others: string[];
  commands: string[];
}

async function readEnvironment(
  settings: InstallationSettings,
  root: string | undefined,
  units: Units,
): Promise<ReadEnvironment> {
  const environment = new Map(units.environment);
  const named = settings.envFile === undefined ? undefined : resolve(settings.envFile);
  const main = named ?? (root === undefined ? undefined : join(root, ".env"));
  const files = root === undefined ? [] : envFileNames(railsEnvOf(units.environment)).map((name) => join(root, name));
  // One that is named counts before those that merely lie there.
  if (main !== undefined && !files.includes(main)) files.unshift(main);
  const result: ReadEnvironment = { environment, envFile: undefined, others: [], commands: [] };
  for (const file of files) {
    const text = await readText(file, "the environment file");
    if (text === undefined) continue;
    const read = readEnvFile(text, environment);
    for (const [name, value] of read.values) {
      if (environment.has(name)) continue;
      environment.set(name, value);
      if (read.commands.includes(name)) result.commands.push(name);
    }
    if (file === main) result.envFile = file;
    else result.others.push(file);
  }
  if (named !== undefined && result.envFile === undefined) {
    throw new Failure(
      "installation/not-found",
      `there is no environment file ${named}, which the configuration names`,
      {
        hint: "Correct 'env-file' under 'installation'; it is the .env that Chatwoot's processes load.",
      },
    );
  }
  return result;
}

function storageOf(
  settings: InstallationSettings,
  env: Map<string, string>,
  root: string | undefined,
): StorageService[] {
  const local = settings.storage === undefined ? undefined : resolve(settings.storage);
  return storageServicesOf(env, root ?? "/").flatMap((service): StorageService[] => {
    if (service.kind !== "local") return [service];
    if (local !== undefined) return [{ ...service, roots: [local] }];
    return root === undefined ? [] : [service];
  });
}

async function codeOfRoot(settings: InstallationSettings, root: string | undefined): Promise<CodePlace | undefined> {
  if (settings.code !== undefined) {
    const folder = resolve(settings.code);
    if ((await lookAt(folder)) === undefined) {
      throw new Failure(
        "installation/not-found",
        `there is no folder ${folder}, which the configuration names as code`,
        {
          hint: "Correct 'code' under 'installation', or take it out.",
        },
      );
    }
    return { kind: (await lookAt(join(folder, ".git"))) === undefined ? "files" : "git", root: folder };
  }
  const isGit = root !== undefined && (await lookAt(join(root, ".git"))) !== undefined;
  return isGit ? { kind: "git", root } : undefined;
}

/** The commit that a checkout is at, read without running git. */
async function commitOf(code: CodePlace | undefined): Promise<string | undefined> {
  if (code?.kind !== "git") return undefined;
  const folder = join(code.root, ".git");
  const head = (await readTextIfAllowed(join(folder, "HEAD")))?.trim() ?? "";
  const ref = /^ref: (refs\/[^\s]+)$/.exec(head)?.[1];
  if (ref === undefined) return /^[0-9a-f]{40,64}$/.test(head) ? head : undefined;
  const loose = ref.split("/").includes("..") ? undefined : (await readTextIfAllowed(join(folder, ref)))?.trim();
  if (loose !== undefined && /^[0-9a-f]{40,64}$/.test(loose)) return loose;
  const packed = (await readTextIfAllowed(join(folder, "packed-refs"))) ?? "";
  return packed
    .split("\n")
    .find((line) => line.endsWith(` ${ref}`))
    ?.split(" ")[0];
}

async function editionOf(env: Map<string, string>, root: string | undefined): Promise<"ee" | "ce" | undefined> {
  const named = env.get("CW_EDITION");
  if (named === "ee" || named === "ce") return named;
  if (root === undefined) return undefined;
  return (await lookAt(join(root, "enterprise")))?.isFolder === true ? "ee" : "ce";
}

async function versionOf(settings: InstallationSettings, root: string | undefined): Promise<string | undefined> {
  if (settings.version !== undefined || root === undefined) return settings.version;
  return parseAppVersion((await readTextIfAllowed(join(root, "config/app.yml"))) ?? "");
}

function notesOf(installation: Installation, units: Units): string[] {
  const { root, envFile, version, edition, code, commit } = installation;
  const notes: (string | undefined)[] = [
    units.files.length === 0
      ? undefined
      : `${plural(units.files.length, "systemd unit")} of Chatwoot in /etc/systemd/system`,
    root === undefined ? undefined : `Chatwoot's folder is ${root}`,
    envFile === undefined
      ? undefined
      : `environment: ${plural(installation.environment.size, "variable")} from ${envFile}`,
    version === undefined
      ? undefined
      : `Chatwoot ${version}${edition === undefined ? "" : ` (${edition})`} from config/app.yml`,
    ...installation.storage.map((service) =>
      service.kind === "local"
        ? `storage '${service.serviceName}' is ${service.roots.length === 1 ? "the folder" : "in the folders"} ${service.roots.join(" and ")}`
        : `storage '${service.serviceName}' is the bucket '${service.bucket}' (${service.kind})`,
    ),
    code === undefined
      ? "no code is saved: there is no git checkout, and the configuration names no folder of code"
      : `code: ${code.kind === "git" ? `git checkout at ${commit?.slice(0, 10) ?? "no commit"}` : "all files"} in ${code.root}`,
  ];
  return notes.filter((note) => note !== undefined);
}

/**
 * Finds the installation that the settings describe, or whatever is on this machine.
 *
 * @throws Failure `installation/not-found` when there is none, or what is named does not exist; `source/unreadable`
 *   when the environment file may not be read; `installation/invalid` when its database settings make no sense.
 */
export async function findInstallation(settings: InstallationSettings, options: FindOptions): Promise<Found> {
  options.signal.throwIfAborted();
  const machine = machineAt(options.filesystemRoot);
  const none: Units = { files: [], environment: new Map(), workingFolder: undefined, environmentFiles: [] };
  const units = settings.kind === "manual" ? none : await readUnits(machine);
  const root = await findRoot(settings, units, machine);
  const isNamed = [settings.envFile, settings.databaseUrl].some((value) => value !== undefined);
  if (root === undefined && !isNamed) throw notFound(units, machine);
  if (settings.root !== undefined && root !== undefined && !isNamed) await requireChatwoot(root);
  const isVm =
    units.files.length > 0 && root !== undefined && (settings.root === undefined || root === units.workingFolder);
  const kind = settings.kind ?? (isVm || root === machine.at(USUAL_ROOT) ? "linux-vm" : "manual");
  const used = kind === "linux-vm" ? units : none;
  const read = await readEnvironment(settings, root, used);
  const code = await codeOfRoot(settings, root);
  const [version, edition, commit] = [
    await versionOf(settings, root),
    await editionOf(read.environment, root),
    await commitOf(code),
  ];
  const isOnVm = kind === "linux-vm" && root !== undefined;
  const system = isOnVm ? await findSystemFiles(machine, root, read.environment.get("FRONTEND_URL")) : [];
  const installation: Installation = {
    kind,
    ...(root === undefined ? {} : { root }),
    ...(read.envFile === undefined ? {} : { envFile: read.envFile }),
    environment: read.environment,
    database: settings.databaseUrl === undefined ? databaseOf(read.environment) : { url: settings.databaseUrl },
    storage: storageOf(settings, read.environment, root),
    ...(version === undefined ? {} : { version }),
    ...(edition === undefined ? {} : { edition }),
    ...(commit === undefined ? {} : { commit }),
    ...(code === undefined ? {} : { code }),
    configFiles: [...read.others, ...(settings.config ?? []).map((path) => resolve(path))],
    systemFiles: [...used.files, ...system],
    notes: [],
  };
  installation.notes = notesOf(installation, used);
  const findings = [
    ...environmentFindings(installation, { commands: read.commands, environmentFiles: used.environmentFiles }),
    ...(await placeFindings(installation)),
  ];
  return { installation, findings };
}
