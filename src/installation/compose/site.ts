/** Reading an installation in containers, whoever made them. The engine is only asked; nothing is run in a container. */
import { resolve } from "node:path";
import { plural } from "../../base/bytes.ts";
import { isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { activeStorageService, databaseOf, type DatabaseSetting, redisOf } from "../../chatwoot/environment.ts";
import { parseAppVersion, parseSchemaVersion } from "../../chatwoot/versions.ts";
import type { ImageDetails } from "../../system/container-details.ts";
import { describeEngine, type EngineApi } from "../../system/engine-api.ts";
import type { CodePlace, ImagePlace, Installation, InstallationKind, MadeFile } from "../installation.ts";
import type { Found, InstallationSettings, World } from "../kinds/kind.ts";
import { addFromFile, codeAt, commonNotes, storageIn } from "../kinds/on-disk.ts";
import { lookAt, type Machine, readTextIfAllowed } from "../places.ts";
import type { MigrateStep } from "../migration.ts";
import type { ProcessControl, Processes } from "../processes.ts";
import { environmentFindings, placeFindings } from "../worries.ts";
import { type Container, composeLabel, type Group, isOneOff, projectOf, serviceOf } from "./containers.ts";
import { dataFoldersOf } from "./data-folders.ts";
import { sourcesOf } from "./environment-sources.ts";
import type { ComposeFiles } from "./files.ts";
import { isSeen, unseenFindings } from "./inside.ts";
import { appFolder, hostPath, mountAt, storagePlace, type StoragePlace } from "./mounts.ts";
import { containerNamed, placeOf, reach, type Surrounding } from "./reach.ts";
import { serverNetwork } from "./server-network.ts";
import { composeFindings } from "./worries.ts";

const WEB_PORT = 3000;
const THIS_MACHINE = new Set(["localhost", "127.0.0.1", "::1"]);

/** One installation, and what is around it. */
export interface Site {
  engine: EngineApi;
  containers: readonly Container[];
  group: Group;
  leader: Container;
  /** Chatkeep's own container, where the engine runs it, too. */
  own: Container | undefined;
}

/** How one kind of these installations differs from the other. */
export interface Ways {
  kind: InstallationKind;
  /** For people: `the Compose project 'acme'`. */
  what: string;
  choice: NonNullable<Installation["choice"]>;
  /** The files that the containers were made of. */
  files: ComposeFiles;
  made: MadeFile[];
  /** How web and worker are stopped and started. */
  control: (members: readonly Container[]) => ProcessControl | undefined;
  /** How Chatwoot's migrations are run. */
  migrate?: MigrateStep;
  findings: readonly Finding[];
}

/** Reads all that is to be known of an installation in containers. */
export async function readSite(site: Site, ways: Ways, settings: InstallationSettings, world: World): Promise<Found> {
  const { group, leader, engine, own } = site;
  const { files } = ways;
  const { machine } = world;
  const around = surroundingOf(site);
  const { environment, commands } = await readEnvironment(site, world);
  const members = [...group.web, ...group.worker];
  const seesProcesses = own === undefined || own.details.HostConfig?.PidMode === "host";
  const places = members.map((member) => storagePlace(member, { seesProcesses }));
  const roots = rootsOf(places, own, machine);
  const app = appFolder(leader);
  const image = await readImage(engine, leader);
  const version = settings.version ?? parseAppVersion(await readInside(site, `${app}/config/app.yml`));
  const codeSchema = parseSchemaVersion(await readInside(site, `${app}/db/schema.rb`));
  const commit = (await readInside(site, `${app}/.git_sha`)).trim();
  const redis = redisOf(environment);
  const code = await codeOf(site, settings, world);
  const installation: Installation = {
    kind: ways.kind,
    choice: ways.choice,
    ...(files.envFile === undefined ? {} : { envFile: files.envFile }),
    environment,
    environmentFrom: sourcesOf(members, { kind: ways.kind, files, machine }),
    database: settings.databaseUrl === undefined ? databaseOf(environment) : { url: settings.databaseUrl },
    ...(settings.databaseUrl === undefined ? { reach: (host: string, port: number) => reach(host, port, around) } : {}),
    ...(redis === undefined ? {} : { redis }),
    storage: storageIn(settings, environment, roots),
    ...(version === undefined ? {} : { version }),
    ...(codeSchema === undefined ? {} : { codeSchema }),
    edition: await editionOf(site, environment),
    ...(/^[0-9a-f]{7,64}$/.test(commit) ? { commit } : {}),
    image,
    ...(code === undefined ? {} : { code }),
    configFiles: (settings.config ?? []).map((path) => resolve(path)),
    systemFiles: files.paths.filter((path) => path !== files.envFile),
    madeFiles: ways.made,
    processes: processesOf(site, ways, around),
    ...(own === undefined ? {} : { nameOf: (place: string) => machine.nameOf(place) }),
    notes: [],
  };
  const database = serverOf(hostOf(installation.database), around);
  const seen = {
    group,
    leader,
    environment,
    places,
    machine,
    engine,
    database,
    given: files.given,
    redis: redis === undefined ? undefined : serverOf(redis.host, around),
    seesProcesses,
  };
  installation.dataFolders = dataFoldersOf(seen, machine);
  const isNamed = settings.databaseUrl !== undefined;
  const databaseNetwork = serverNetwork(site, installation.database, { around, isNamed });
  if (databaseNetwork !== undefined) installation.databaseNetwork = databaseNetwork;
  const service =
    database === undefined || projectOf(database) !== group.project ? undefined : composeLabel(database, "service");
  if (service !== undefined) installation.databaseService = service;
  installation.notes = notesOf(site, ways, installation, { database, redis: seen.redis });
  const findings: Finding[] = [
    ...environmentFindings(installation, { commands, environmentFiles: [], idle: [] }),
    ...(await placesFindings(site, settings, installation, places)),
    ...files.findings,
    ...(await composeFindings(seen)),
    ...ways.findings,
  ];
  return { installation, findings };
}

/** Where uploaded files lie, as far as they can be read from here. */
function rootsOf(places: readonly StoragePlace[], own: Container | undefined, machine: Machine): string[] {
  const readable = own === undefined ? places : places.filter((place) => place.kind === "none" || isSeen(own, place));
  // What a running container has in itself is seen by its process, whose number is the machine's own.
  const at = ({ kind, path }: StoragePlace) => (own !== undefined && kind === "none" ? path : path && machine.at(path));
  return [...new Set(readable.map(at).filter((path) => path !== undefined))];
}

/** What the disk shows. Where a volume is not mounted into our own container, that says it all. */
async function placesFindings(
  { own }: Site,
  { storage }: InstallationSettings,
  installation: Installation,
  places: readonly StoragePlace[],
): Promise<Finding[]> {
  const found = await placeFindings(installation);
  const isLocal = activeStorageService(installation.environment) === "local";
  if (own === undefined || storage !== undefined || !isLocal) return found;
  const unseen = unseenFindings(own, places);
  return unseen.length === 0 ? found : [...found.filter(({ kind }) => kind !== "storage-unknown"), ...unseen];
}

function surroundingOf({ engine, containers, leader, own }: Site): Surrounding {
  const { address } = engine;
  const elsewhere = address.kind === "tcp" && !THIS_MACHINE.has(address.host) ? address.host : undefined;
  return {
    from: leader,
    containers,
    engineHost: elsewhere,
    reachesAddresses: elsewhere === undefined && process.platform === "linux",
    own,
  };
}

/** What the process was given, then what it reads from a `.env` that is mounted into its folder. */
async function readEnvironment(
  { leader }: Site,
  { machine }: World,
): Promise<{ environment: Map<string, string>; commands: string[] }> {
  const environment = new Map(leader.env);
  const inside = `${appFolder(leader)}/.env`;
  const place = mountAt(leader, inside) === undefined ? undefined : hostPath(leader, inside);
  const text = place === undefined ? undefined : await readTextIfAllowed(machine.at(place));
  return { environment, commands: text === undefined ? [] : addFromFile(environment, text).commands };
}

/** The leader, or where it has no container of its own, another one of its image. */
function withFiles({ group, leader }: Site): Container {
  if (leader.idleTasks === undefined) return leader;
  const others = [...group.web, ...group.worker].filter(({ details }) => details.Image === leader.details.Image);
  return others.find(({ idleTasks }) => idleTasks === undefined) ?? leader;
}

/** A small text file of the leader's image; empty where there is none. */
async function readInside(site: Site, path: string): Promise<string> {
  return (await site.engine.readFile(withFiles(site).details.Id, path))?.toString("utf8") ?? "";
}

async function readImage(engine: EngineApi, { details }: Container): Promise<ImagePlace> {
  const found = await engine.ask<ImageDetails>(`/images/${encodeURIComponent(details.Image)}/json`);
  const digest = found?.RepoDigests?.[0];
  return { name: details.Config.Image, id: details.Image, ...(digest === undefined ? {} : { digest }) };
}

async function editionOf(site: Site, env: ReadonlyMap<string, string>): Promise<"ee" | "ce"> {
  const named = env.get("CW_EDITION");
  if (named === "ee" || named === "ce") return named;
  const container = withFiles(site);
  return (await site.engine.hasPath(container.details.Id, `${appFolder(container)}/enterprise`)) ? "ee" : "ce";
}

/** A checkout that is mounted over the image's own code; else the image is the code. */
async function codeOf(
  { leader }: Site,
  settings: InstallationSettings,
  { machine }: World,
): Promise<CodePlace | undefined> {
  const app = appFolder(leader);
  const mount = mountAt(leader, app);
  const root = mount?.Destination === app && mount.Type === "bind" ? machine.at(mount.Source) : undefined;
  const isThere = root !== undefined && (await lookAt(root))?.isFolder === true;
  return await codeAt(settings, isThere ? root : undefined);
}

function hostOf(database: DatabaseSetting): string {
  if (database.url === undefined) return database.host;
  const url = URL.parse(database.url);
  return url?.searchParams.get("host") ?? url?.hostname ?? "";
}

/** Every container of the installation: its project's, or, without one, Chatwoot's own and the servers that it names. */
export function containersOf(site: Site): Container[] {
  const { containers, group, leader } = site;
  // A passing one (docker compose run) is no part of it; most often it is our own.
  const lasting = containers.filter((container) => !isOneOff(container));
  if (group.project !== undefined) return lasting.filter((container) => projectOf(container) === group.project);
  const around = surroundingOf(site);
  const hosts = [hostOf(databaseOf(leader.env)), redisOf(leader.env)?.host ?? ""];
  const servers = hosts.map((host) => serverOf(host, around));
  return containers.filter((one) => group.web.includes(one) || group.worker.includes(one) || servers.includes(one));
}

/** The container that a server's name stands for, if it is one. */
function serverOf(host: string, around: Surrounding): Container | undefined {
  return host === "" || host.startsWith("/") ? undefined : containerNamed(host, around);
}

function processesOf({ group }: Site, { control, migrate }: Ways, around: Surrounding): Processes {
  const [web, worker] = [control(group.web), control(group.worker)];
  const url = webAddress(group.web[0], around);
  return {
    ...(web === undefined ? {} : { web }),
    ...(worker === undefined ? {} : { worker }),
    ...(url === undefined ? {} : { health: { how: "http", url } }),
    ...(migrate === undefined ? {} : { migrate }),
  };
}

function webAddress(web: Container | undefined, around: Surrounding): string | undefined {
  if (web === undefined) return undefined;
  try {
    const { host, port } = placeOf(web, Number(web.env.get("PORT") ?? "") || WEB_PORT, around);
    return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  } catch (error) {
    // Behind a proxy of its own network, or stopped: there is nobody to ask.
    if (!isFailure(error, "database/unreachable")) throw error;
    return undefined;
  }
}

/** All that is needed to make containers again where the files that they were made of are gone. */
export function describeContainers(members: readonly Container[]): MadeFile {
  const described = members.map((container) => {
    const { Image, Cmd, Entrypoint, WorkingDir } = container.details.Config;
    return {
      name: container.name,
      service: serviceOf(container),
      image: { name: Image, id: container.details.Image },
      entrypoint: Entrypoint ?? null,
      command: Cmd ?? null,
      folder: WorkingDir ?? "",
      environment: Object.fromEntries([...container.env].toSorted(([a], [b]) => (a < b ? -1 : 1))),
      labels: container.labels,
      mounts: (container.details.Mounts ?? []).toSorted((a, b) => (a.Destination < b.Destination ? -1 : 1)),
      ports: container.details.NetworkSettings?.Ports ?? {},
      networks: Object.keys(container.details.NetworkSettings?.Networks ?? {}).toSorted(),
    };
  });
  return { path: "containers.json", text: `${JSON.stringify(described, null, 2)}\n` };
}

function namesOf(members: readonly Container[]): string {
  return members.length === 0 ? "no container" : members.map(({ name }) => name).join(", ");
}

/** For people. */
function serverNote(what: string, container: Container | undefined): string {
  return container === undefined
    ? `${what} is no container of this machine`
    : `${what} is in the container ${container.name}`;
}

function notesOf(
  site: Site,
  ways: Ways,
  installation: Installation,
  servers: { database: Container | undefined; redis: Container | undefined },
): string[] {
  const { group, leader, engine } = site;
  const { image, commit, code } = installation;
  const compose = composeLabel(leader, "version");
  return [
    `${ways.what} at ${describeEngine(engine.address)}${compose === undefined ? "" : `, made by Compose ${compose}`}`,
    `web: ${namesOf(group.web)}; worker: ${namesOf(group.worker)}`,
    `image ${image?.name ?? ""} (${image?.digest ?? `made here, ${image?.id.slice(0, 19) ?? ""}`})${commit === undefined ? "" : `, of commit ${commit.slice(0, 10)}`}`,
    serverNote("the database", servers.database),
    serverNote("Redis", servers.redis),
    ...commonNotes(installation, `the container ${leader.name}`),
    ...(code === undefined ? ["the code is the image's own"] : []),
    `configuration: ${plural(installation.systemFiles.length + (installation.envFile === undefined ? 0 : 1), "file")} that the containers were made of, and what the engine says of them`,
  ];
}
