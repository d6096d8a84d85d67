/** What a Linux machine and a manual installation have in common: Chatwoot's folder and files are on this machine. */
import { join, resolve } from "node:path";
import { listSome, plural } from "../../base/bytes.ts";
import { Failure } from "../../base/errors.ts";
import {
  databaseOf,
  type EnvFile,
  railsEnvOf,
  readEnvFile,
  redisOf,
  type RedisPlace,
  type StorageService,
  storageServicesOf,
} from "../../chatwoot/environment.ts";
import { parseAppVersion, parseSchemaVersion } from "../../chatwoot/versions.ts";
import { unitFindings } from "../in-force.ts";
import { type CodePlace, type EnvironmentSource, type Installation, LOST_ENVIRONMENT } from "../installation.ts";
import { lookAt, type Machine, mayExist, readText, readTextIfAllowed } from "../places.ts";
import { knownPasswordFinding } from "../process-worries.ts";
import type { Processes } from "../processes.ts";
import { findSystemFiles } from "../system-files.ts";
import type { Units } from "../units.ts";
import { environmentFindings, placeFindings } from "../worries.ts";
import type { Found, InstallationSettings, World } from "./kind.ts";

/** What a folder of Chatwoot has, at least one of them. */
const SIGNS = ["config/app.yml", "config/storage.yml", ".env"] as const;

export async function isChatwoot(folder: string): Promise<boolean> {
  for (const sign of SIGNS) if ((await lookAt(join(folder, sign))) !== undefined) return true;
  return false;
}

/** @throws Failure `installation/not-found` when it is certain that a folder which is named holds no Chatwoot. */
export async function requireChatwoot(folder: string): Promise<void> {
  for (const sign of SIGNS) if (await mayExist(join(folder, sign))) return;
  throw new Failure(
    "installation/not-found",
    `there is no Chatwoot in ${folder}: it has neither ${SIGNS.join(" nor ")}`,
    {
      hint: "Name the folder that Chatwoot runs in as 'root', or name 'env-file' or 'database-url' and 'storage'.",
    },
  );
}

/** The folder that the configuration names as Chatwoot's. @throws Failure `installation/not-found`. */
export async function namedRoot(named: string): Promise<string> {
  const root = resolve(named);
  if ((await lookAt(root))?.isFolder === true) return root;
  throw new Failure(
    "installation/not-found",
    `there is no folder ${root}, which the configuration names as Chatwoot's`,
    {
      hint: "Correct 'root' under 'installation', or run Chatkeep as a user that may enter the folder.",
    },
  );
}

/** dotenv's own order: the first file that has a variable wins, and what the process was given wins over all. */
function envFileNames(rails: string): string[] {
  return [`.env.${rails}.local`, ...(rails === "test" ? [] : [".env.local"]), `.env.${rails}`, ".env"];
}

interface ReadEnvironment {
  environment: Map<string, string>;
  envFile: string | undefined;
  /** Those that are there, and the main one, in the order in which they count. */
  inOrder: string[];
  others: string[];
  commands: string[];
  /** Lines that say nothing, by file. */
  idle: { file: string; lines: readonly number[] }[];
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
  const result: ReadEnvironment = {
    environment,
    envFile: undefined,
    inOrder: [],
    others: [],
    commands: [],
    idle: [],
  };
  for (const file of files) {
    const text = await readText(file, "the environment file");
    if (text !== undefined || file === main) result.inOrder.push(file);
    if (text === undefined) continue;
    const { commands, idleLines } = addFromFile(environment, text);
    result.commands.push(...commands);
    if (idleLines.length > 0) result.idle.push({ file, lines: idleLines });
    if (file === main) result.envFile = file;
    else result.others.push(file);
  }
  if (named !== undefined && result.envFile === undefined) {
    throw new Failure(
      "installation/not-found",
      `there is no environment file ${named}, which the configuration names`,
      {
        hint: `Correct 'env-file' under 'installation'; it is the .env that Chatwoot's processes load. ${LOST_ENVIRONMENT}`,
      },
    );
  }
  return result;
}

/** Adds what a `.env` file has and the environment has not; of the commands, those whose value would have counted. */
export function addFromFile(environment: Map<string, string>, text: string): Pick<EnvFile, "commands" | "idleLines"> {
  const read = readEnvFile(text, environment);
  const added = [...read.values].filter(([name]) => !environment.has(name));
  for (const [name, value] of added) environment.set(name, value);
  const commands = added.map(([name]) => name).filter((name) => read.commands.includes(name));
  return { commands, idleLines: read.idleLines };
}

/** The services of an environment; `roots` are the folders of `local`, where they are known. */
export function storageIn(
  settings: InstallationSettings,
  env: ReadonlyMap<string, string>,
  roots: readonly string[],
): StorageService[] {
  const [first, ...others] = settings.storage === undefined ? roots : [resolve(settings.storage)];
  return storageServicesOf(env, "/").flatMap((service): StorageService[] => {
    if (service.kind !== "local") return [service];
    return first === undefined ? [] : [{ ...service, roots: [first, ...others] }];
  });
}

/** The folder that the configuration names as code, or else `root` where that is a git checkout. */
export async function codeAt(settings: InstallationSettings, root: string | undefined): Promise<CodePlace | undefined> {
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

async function codeSchemaOf(root: string | undefined): Promise<string | undefined> {
  return root === undefined
    ? undefined
    : parseSchemaVersion((await readTextIfAllowed(join(root, "db/schema.rb"))) ?? "");
}

/** What was found of any kind, and from where. */
export function commonNotes(
  installation: Installation,
  environmentFrom: string | undefined,
  versionFrom = "config/app.yml",
): string[] {
  const { version, edition, code, commit } = installation;
  const notes: (string | undefined)[] = [
    environmentFrom === undefined
      ? undefined
      : `environment: ${plural(installation.environment.size, "variable")} from ${environmentFrom}`,
    version === undefined
      ? undefined
      : `Chatwoot ${version}${edition === undefined ? "" : ` (${edition})`} from ${versionFrom}`,
    ...installation.storage.map((service) =>
      service.kind === "local"
        ? `storage '${service.serviceName}' is ${service.roots.length === 1 ? "the folder" : "in the folders"} ${service.roots.join(" and ")}`
        : `storage '${service.serviceName}' is the bucket '${service.bucket}' (${service.kind})`,
    ),
    code === undefined
      ? undefined
      : `code: ${code.kind === "git" ? `git checkout at ${commit?.slice(0, 10) ?? "no commit"}` : "all files"} in ${code.root}`,
  ];
  return notes.filter((note) => note !== undefined);
}

function notesOf(installation: Installation, units: Units): string[] {
  const { root, envFile, code, kind } = installation;
  const isGiven = kind === "environment";
  const notes = commonNotes(installation, envFile ?? (isGiven ? "Chatkeep's own environment" : undefined));
  if (root !== undefined) notes.unshift(`Chatwoot's folder is ${root}`);
  if (units.files.length > 0)
    notes.unshift(`${plural(units.files.length, "systemd unit")} of Chatwoot in /etc/systemd/system`);
  if (isGiven && code === undefined) notes.push("the code is that of Chatwoot's image, which is not seen from here");
  else if (code === undefined)
    notes.push("no code is saved: there is no git checkout, and the configuration names no folder of code");
  return notes;
}

export interface OnDisk {
  kind: "linux-vm" | "manual" | "environment";
  /** Chatwoot's folder, where it is known. */
  root: string | undefined;
  units: Units;
  processesOf: (environment: ReadonlyMap<string, string>) => Processes;
  /** The folder of uploaded files, where it is not Chatwoot's folder's. */
  storage?: string;
  /** Files to save as configuration. */
  found?: readonly string[];
}

function foldersOf(storage: string | undefined, root: string | undefined): string[] {
  if (storage !== undefined) return [storage];
  return root === undefined ? [] : [join(root, "storage")];
}

/** Where Debian's and its own packages' Redis keeps its data. A server of PostgreSQL is asked itself. */
const REDIS_FOLDER = "/var/lib/redis";

async function dataFoldersOf(
  redis: RedisPlace | undefined,
  machine: Machine,
): Promise<NonNullable<Installation["dataFolders"]>> {
  if (redis === undefined || !/^(localhost|127\.[\d.]+|::1)$/.test(redis.host) || redis.port !== 6379) return [];
  const path = machine.at(REDIS_FOLDER);
  return (await lookAt(path))?.isFolder === true ? [{ server: "Redis", path }] : [];
}

/** What the processes of this machine read when they start. */
function sourceOf(kind: OnDisk["kind"], units: Units, files: readonly string[]): EnvironmentSource {
  const where =
    kind === "environment"
      ? "what Chatwoot's containers are given"
      : `Environment= in ${units.files.length === 0 ? "the units" : listSome(units.files)}`;
  return {
    of: "web and worker",
    files: files.map((path) => ({ path, isMounted: false, isReadAtStart: true })),
    fixed: kind === "environment" ? "all" : new Set(units.environment.keys()),
    where,
  };
}

/** Reads an installation whose files are on this machine. */
export async function readOnDisk(
  { kind, root, units, processesOf, storage, found = [] }: OnDisk,
  settings: InstallationSettings,
  { machine }: World,
): Promise<Found> {
  const read = await readEnvironment(settings, root, units);
  const { environment } = read;
  const code = await codeAt(settings, root);
  const [version, edition, commit] = [
    await versionOf(settings, root),
    await editionOf(environment, root),
    await commitOf(code),
  ];
  const codeSchema = await codeSchemaOf(root);
  const isOnVm = kind === "linux-vm" && root !== undefined;
  const system = isOnVm ? await findSystemFiles(machine, root, environment.get("FRONTEND_URL")) : [];
  const redis = environment.size === 0 ? undefined : redisOf(environment);
  const installation: Installation = {
    kind,
    ...(root === undefined ? {} : { root }),
    ...(read.envFile === undefined ? {} : { envFile: read.envFile }),
    environment,
    environmentFrom: [sourceOf(kind, units, read.inOrder)],
    database: settings.databaseUrl === undefined ? databaseOf(environment) : { url: settings.databaseUrl },
    ...(redis === undefined ? {} : { redis }),
    dataFolders: await dataFoldersOf(redis, machine),
    storage: storageIn(settings, environment, foldersOf(storage, root)),
    ...(version === undefined ? {} : { version }),
    ...(codeSchema === undefined ? {} : { codeSchema }),
    ...(edition === undefined ? {} : { edition }),
    ...(commit === undefined ? {} : { commit }),
    ...(code === undefined ? {} : { code }),
    configFiles: [...read.others, ...(settings.config ?? []).map((path) => resolve(path))],
    systemFiles: [...units.files, ...system, ...found],
    madeFiles: [],
    processes: processesOf(environment),
    notes: [],
  };
  installation.notes = notesOf(installation, units);
  const findings = [
    ...environmentFindings(installation, {
      commands: read.commands,
      environmentFiles: units.environmentFiles,
      idle: read.idle,
    }),
    ...knownPasswordFinding(environment),
    ...(await placeFindings(installation)),
    ...(await unitFindings(units.files, installation, machine)),
  ];
  return { installation, findings };
}
