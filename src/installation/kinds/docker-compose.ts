/**
 * Chatwoot in containers of a Docker Engine (or Podman) on this machine: Docker Compose of either version, Portainer,
 * Coolify, or started by hand. The engine is only asked; nothing is run in a container.
 */
import { resolve } from "node:path";
import { plural } from "../../base/bytes.ts";
import { Failure, isFailure } from "../../base/errors.ts";
import type { Finding } from "../../base/findings.ts";
import { databaseOf, type DatabaseSetting, redisOf } from "../../chatwoot/environment.ts";
import { parseAppVersion } from "../../chatwoot/versions.ts";
import type { ImageDetails } from "../../system/container-details.ts";
import { describeEngine, engineAddress, EngineApi, openEngine } from "../../system/engine-api.ts";
import {
  type Container,
  composeLabel,
  groupChatwoot,
  type Group,
  isSwarmTask,
  leaderOf,
  projectOf,
  readContainers,
  serviceOf,
} from "../compose/containers.ts";
import { findComposeFiles } from "../compose/files.ts";
import { appFolder, hostPath, mountAt, storagePlace } from "../compose/mounts.ts";
import { containerNamed, placeOf, reach, type Surrounding } from "../compose/reach.ts";
import { composeFindings } from "../compose/worries.ts";
import type { CodePlace, ImagePlace, Installation, MadeFile } from "../installation.ts";
import { lookAt, readTextIfAllowed } from "../places.ts";
import type { ProcessControl, Processes } from "../processes.ts";
import { environmentFindings, placeFindings } from "../worries.ts";
import type { Found, InstallationSettings, Kind, Look, Sighting, World } from "./kind.ts";
import { addFromFile, codeAt, commonNotes, storageIn } from "./on-disk.ts";

const WEB_PORT = 3000;
const THIS_MACHINE = new Set(["localhost", "127.0.0.1", "::1"]);

/** One installation, and what is around it. */
interface Site {
  engine: EngineApi;
  containers: readonly Container[];
  group: Group;
  leader: Container;
}

export const DOCKER_COMPOSE: Kind = {
  name: "docker-compose",
  async look(settings, world): Promise<Look> {
    const address = engineAddress(world.env, (path) => world.machine.at(path));
    const lookedFor = `containers of Chatwoot at the Docker Engine ${describeEngine(address)}`;
    const engine = await openEngine(address, world);
    if (!(engine instanceof EngineApi)) {
      const isMeant =
        settings.kind === "docker-compose" || settings.project !== undefined || settings.container !== undefined;
      if (isMeant) throw new Failure("source/unreadable", engine.why, { hint: engine.remedy });
      return { sightings: [], lookedFor, ...(engine.isDenied ? { blocked: engine } : {}) };
    }
    const containers = await readContainers(engine, world);
    const groups = groupChatwoot(containers);
    const sites = groups.flatMap((group): Site[] => {
      const leader = leaderOf(group);
      return leader === undefined ? [] : [{ engine, containers, group, leader }];
    });
    const meant = sites.filter((site) => isMeantBy(settings, site));
    if (meant.length === 0 && sites.length > 0) throw notThere(settings, sites);
    return {
      sightings: meant.map((site) => sight(site, settings, world)),
      lookedFor: containers.some(isSwarmTask) ? `${lookedFor} (tasks of a Swarm are not taken)` : lookedFor,
    };
  },
};

function isMeantBy({ project, container }: InstallationSettings, { group }: Site): boolean {
  if (project !== undefined && group.project !== project) return false;
  return container === undefined || [...group.web, ...group.worker].some(({ name }) => name === container);
}

function notThere({ project, container }: InstallationSettings, sites: readonly Site[]): Failure {
  const wanted = project === undefined ? `container named '${container ?? ""}'` : `Compose project '${project}'`;
  return new Failure("installation/not-found", `no Chatwoot is in a ${wanted} of this machine`, {
    hint: `There ${sites.length === 1 ? "is" : "are"} ${sites.map(whatOf).join("; ")}.`,
  });
}

function whatOf({ group, leader }: Site): string {
  const coolify = leader.labels["coolify.name"] ?? leader.labels["coolify.serviceName"];
  if (group.project === undefined) return `the container ${leader.name}`;
  return `the Compose project '${group.project}'${coolify === undefined ? "" : ` (in Coolify: ${coolify})`}`;
}

function sight(site: Site, settings: InstallationSettings, world: World): Sighting {
  const { project } = site.group;
  return {
    what: whatOf(site),
    choice:
      project === undefined
        ? `'container: ${site.leader.name}' under 'installation'`
        : `--project ${project}, in the configuration 'compose-project: ${project}'`,
    read: async () => await read(site, settings, world),
  };
}

async function read(site: Site, settings: InstallationSettings, world: World): Promise<Found> {
  const { group, leader, containers, engine } = site;
  const { machine } = world;
  const around = surroundingOf(site);
  const { environment, commands } = await readEnvironment(site, world);
  const members = [...group.web, ...group.worker];
  const places = members.map(storagePlace);
  const roots = [...new Set(places.flatMap(({ path }) => (path === undefined ? [] : [machine.at(path)])))];
  const files = await findComposeFiles(machine, members, containers);
  const app = appFolder(leader);
  const image = await readImage(engine, leader);
  const version = settings.version ?? parseAppVersion(await readInside(site, `${app}/config/app.yml`));
  const commit = (await readInside(site, `${app}/.git_sha`)).trim();
  const redis = redisOf(environment);
  const code = await codeOf(site, settings, world);
  const installation: Installation = {
    kind: "docker-compose",
    choice: group.project === undefined ? { container: leader.name } : { project: group.project },
    ...(files.envFile === undefined ? {} : { envFile: files.envFile }),
    environment,
    database: settings.databaseUrl === undefined ? databaseOf(environment) : { url: settings.databaseUrl },
    ...(settings.databaseUrl === undefined ? { reach: (host: string, port: number) => reach(host, port, around) } : {}),
    ...(redis === undefined ? {} : { redis }),
    storage: storageIn(settings, environment, roots),
    ...(version === undefined ? {} : { version }),
    edition: await editionOf(site, environment),
    ...(/^[0-9a-f]{7,64}$/.test(commit) ? { commit } : {}),
    image,
    ...(code === undefined ? {} : { code }),
    configFiles: (settings.config ?? []).map((path) => resolve(path)),
    systemFiles: files.paths.filter((path) => path !== files.envFile),
    madeFiles: [describeContainers(containers, group)],
    processes: processesOf(site, around),
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
    redis: redis === undefined ? undefined : serverOf(redis.host, around),
  };
  installation.notes = notesOf(site, installation, database);
  const findings: Finding[] = [
    ...environmentFindings(installation, { commands, environmentFiles: [] }),
    ...(await placeFindings(installation)),
    ...files.findings,
    ...(await composeFindings(seen)),
  ];
  return { installation, findings };
}

function surroundingOf({ engine, containers, leader }: Site): Surrounding {
  const { address } = engine;
  const elsewhere = address.kind === "tcp" && !THIS_MACHINE.has(address.host) ? address.host : undefined;
  return {
    from: leader,
    containers,
    engineHost: elsewhere,
    reachesAddresses: elsewhere === undefined && process.platform === "linux",
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
  return { environment, commands: text === undefined ? [] : addFromFile(environment, text) };
}

/** A small text file of the leader's; empty where there is none. */
async function readInside({ engine, leader }: Site, path: string): Promise<string> {
  return (await engine.readFile(leader.details.Id, path))?.toString("utf8") ?? "";
}

async function readImage(engine: EngineApi, { details }: Container): Promise<ImagePlace> {
  const found = await engine.ask<ImageDetails>(`/images/${encodeURIComponent(details.Image)}/json`);
  const digest = found?.RepoDigests?.[0];
  return { name: details.Config.Image, id: details.Image, ...(digest === undefined ? {} : { digest }) };
}

async function editionOf({ engine, leader }: Site, env: ReadonlyMap<string, string>): Promise<"ee" | "ce"> {
  const named = env.get("CW_EDITION");
  if (named === "ee" || named === "ce") return named;
  return (await engine.hasPath(leader.details.Id, `${appFolder(leader)}/enterprise`)) ? "ee" : "ce";
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

/** The container that a server's name stands for, if it is one. */
function serverOf(host: string, around: Surrounding): Container | undefined {
  return host === "" || host.startsWith("/") ? undefined : containerNamed(host, around);
}

function processesOf({ group, engine }: Site, around: Surrounding): Processes {
  const control = (members: readonly Container[]): ProcessControl | undefined => {
    if (members.length === 0) return undefined;
    const steps = (action: "stop" | "start") =>
      members.map(({ name }) => ({ how: "container", engine: engine.address, container: name, action }) as const);
    return { stop: steps("stop"), start: steps("start") };
  };
  const [web, worker] = [control(group.web), control(group.worker)];
  const url = webAddress(group.web[0], around);
  return {
    ...(web === undefined ? {} : { web }),
    ...(worker === undefined ? {} : { worker }),
    ...(url === undefined ? {} : { health: { how: "http", url } }),
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

/** All that is needed to make the containers again where the Compose files are gone: those of the project, with their environment. */
function describeContainers(containers: readonly Container[], group: Group): MadeFile {
  const members = containers.filter((container) =>
    group.project === undefined
      ? [...group.web, ...group.worker].includes(container)
      : projectOf(container) === group.project,
  );
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

function notesOf(site: Site, installation: Installation, database: Container | undefined): string[] {
  const { group, leader, engine } = site;
  const { image, commit, code } = installation;
  const compose = composeLabel(leader, "version");
  return [
    `${whatOf(site)} at ${describeEngine(engine.address)}${compose === undefined ? "" : `, made by Compose ${compose}`}`,
    `web: ${namesOf(group.web)}; worker: ${namesOf(group.worker)}`,
    `image ${image?.name ?? ""} (${image?.digest ?? `made here, ${image?.id.slice(0, 19) ?? ""}`})${commit === undefined ? "" : `, of commit ${commit.slice(0, 10)}`}`,
    database === undefined
      ? "the database is no container of this machine"
      : `database: the container ${database.name}`,
    ...commonNotes(installation, `the container ${leader.name}`),
    ...(code === undefined ? ["the code is the image's own"] : []),
    `configuration: ${plural(installation.systemFiles.length + (installation.envFile === undefined ? 0 : 1), "file")} that the containers were made of, and what the engine says of them`,
  ];
}
