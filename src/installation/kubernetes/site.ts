/** Reading an installation in a cluster. The API is only asked; nothing is run in a pod. */
import { resolve } from "node:path";
import { plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { databaseOf, type DatabaseSetting, redisOf } from "../../chatwoot/environment.ts";
import type { PodDetails, ServiceDetailsOfCluster } from "../../system/cluster-details.ts";
import type { ImagePlace, Installation } from "../installation.ts";
import type { Found, InstallationSettings, World } from "../kinds/kind.ts";
import { addFromFile, codeAt, commonNotes, storageIn } from "../kinds/on-disk.ts";
import type { ProcessControl, Processes } from "../processes.ts";
import { environmentFindings, placeFindings } from "../worries.ts";
import { belongingsOf, readManifests } from "./manifests.ts";
import { type Group, type Member, membersOf, mountedEnvFile } from "./members.ts";
import { describeWorkload, readExtras, selects, type Space } from "./objects.ts";
import { hostOf, type Position, reach, serviceNamed } from "./reach.ts";
import { findOwnPlaces, storagePlace } from "./storage.ts";
import { clusterFindings, imageIdOf, workloadsOf } from "./worries.ts";

const WEB_PORT = 3000;

/** One installation, and what is around it. */
export interface Site {
  space: Space;
  group: Group;
  leader: Member;
  isInside: boolean;
  /** Chatkeep's own pod, where it is in this namespace. */
  own: PodDetails | undefined;
}

/** For people. */
export function describeSite({ group, leader, space }: Site): string {
  const what = group.release === undefined ? describeWorkload(leader.workload) : `the release '${group.release}'`;
  return `${what} in the namespace '${space.api.namespace}'`;
}

/** Reads all that is to be known of an installation in a cluster. */
export async function readSite(site: Site, settings: InstallationSettings, { machine }: World): Promise<Found> {
  const { space, group, leader, own } = site;
  const { environment, commands } = await readEnvironment(site);
  const places = membersOf(group).map(storagePlace);
  const seenPlaces = findOwnPlaces(places, own);
  const roots = seenPlaces.roots.map((path) => machine.at(path));
  const redis = redisOf(environment);
  const database = settings.databaseUrl === undefined ? databaseOf(environment) : { url: settings.databaseUrl };
  const servers = serversOf(environment, redis?.host, space);
  const extras = await readExtras(space.api);
  const belongings = belongingsOf(
    group,
    space,
    [servers.database, servers.redis].flatMap((one) => one ?? []),
  );
  const manifests = await readManifests(group, belongings, space, extras);
  const code = await codeAt(settings, undefined);
  const version = settings.version ?? versionIn(leader.image);
  const edition = editionOf(environment, leader.image);
  const image = imageOf(leader, space);
  const installation: Installation = {
    kind: "kubernetes",
    choice: { namespace: space.api.namespace, deployment: leader.workload.name },
    environment,
    environmentFrom: [
      {
        of: leader.workload.name,
        files: [],
        fixed: "all",
        where: `the ConfigMaps and Secrets of the namespace ${space.api.namespace}, or the values of its chart`,
      },
    ],
    database,
    ...(settings.databaseUrl === undefined
      ? { reach: (host: string, port: number) => reach(host, port, positionOf(site)) }
      : {}),
    ...(redis === undefined ? {} : { redis }),
    storage: storageIn(settings, environment, roots),
    ...(version === undefined ? {} : { version }),
    ...(edition === undefined ? {} : { edition }),
    ...(image === undefined ? {} : { image }),
    ...(code === undefined ? {} : { code }),
    configFiles: (settings.config ?? []).map((path) => resolve(path)),
    systemFiles: [],
    madeFiles: manifests.files,
    processes: processesOf(site),
    notes: [],
  };
  installation.notes = notesOf(site, installation, servers);
  const seen = {
    ...site,
    environment,
    extras,
    places,
    unseen: seenPlaces.unseen,
    isStorageNamed: settings.storage !== undefined,
    ...servers,
    denied: manifests.denied,
  };
  const findings: Finding[] = [
    ...environmentFindings(installation, { commands, environmentFiles: [], idle: [] }),
    // Where no folder is known, what is below says why.
    ...(installation.storage.some(({ kind }) => kind === "local") ? await placeFindings(installation) : []),
    ...clusterFindings(seen),
  ];
  return { installation, findings };
}

function positionOf({ space, isInside, own }: Site): Position {
  return { space, isInside, own };
}

/** What the process is given, then what it reads from a `.env` that is mounted into its folder. */
async function readEnvironment({
  leader,
  space,
}: Site): Promise<{ environment: Map<string, string>; commands: string[] }> {
  const environment = new Map(leader.env);
  const text = await mountedEnvFile(leader, space);
  return { environment, commands: text === undefined ? [] : addFromFile(environment, text).commands };
}

interface Servers {
  database: ServiceDetailsOfCluster | undefined;
  redis: ServiceDetailsOfCluster | undefined;
}

/** The Services of what Chatwoot's own environment names, whatever way Chatkeep takes to them. */
function serversOf(environment: ReadonlyMap<string, string>, redisHost: string | undefined, space: Space): Servers {
  return {
    database: serviceNamed(hostIn(databaseOf(environment)), space),
    redis: redisHost === undefined ? undefined : serviceNamed(redisHost, space),
  };
}

function hostIn(database: DatabaseSetting): string {
  if (database.url === undefined) return database.host;
  const url = URL.parse(database.url);
  return url?.searchParams.get("host") ?? url?.hostname ?? "";
}

/** `v4.15.1`, `v4.15.1-ce`: the only word of a tag that means a version. */
function versionIn(image: string): string | undefined {
  return /:v?(\d+\.\d+\.\d+)(?:-(?:ce|ee))?(?:@.*)?$/.exec(image)?.[1];
}

/** The image's own variable is seen inside it only; upstream's tags say it. */
function editionOf(environment: ReadonlyMap<string, string>, image: string): "ee" | "ce" | undefined {
  const named = environment.get("CW_EDITION");
  if (named === "ee" || named === "ce") return named;
  if (!/^(?:docker\.io\/|index\.docker\.io\/)?chatwoot\/chatwoot[:@]/.test(image)) return undefined;
  return /-ce(?:@.*)?$/.test(image) ? "ce" : "ee";
}

/** Undefined where no pod runs that could say what its image is. */
function imageOf(leader: Member, { pods }: Space): ImagePlace | undefined {
  const running = imageIdOf(leader, pods);
  const [, named] = /@(sha256:[0-9a-f]+)$/.exec(leader.image) ?? [];
  const id = running?.replace(/^.*@/, "") ?? named;
  if (id === undefined) return undefined;
  const digest = running?.includes("@") === true ? running : named === undefined ? undefined : leader.image;
  return { name: leader.image, id, ...(digest === undefined ? {} : { digest }) };
}

function processesOf(site: Site): Processes {
  const { group } = site;
  const [web, worker] = [controlOf(site, group.web), controlOf(site, group.worker)];
  const url = site.isInside ? webAddress(site) : undefined;
  return {
    ...(web === undefined ? {} : { web }),
    ...(worker === undefined ? {} : { worker }),
    ...(url === undefined ? {} : { health: { how: "http", url } }),
  };
}

function controlOf({ space: { api } }: Site, members: readonly Member[]): ProcessControl | undefined {
  const workloads = workloadsOf(members);
  if (workloads.length === 0) return undefined;
  const scale = (replicas: (now: number) => number) =>
    workloads.map(({ resource, name, details }) => {
      return {
        how: "scale",
        cluster: api.address,
        namespace: api.namespace,
        resource,
        workload: name,
        replicas: replicas(details.spec.replicas ?? 1),
      } as const;
    });
  // One that is scaled to nothing now is meant to have a pod when it is started.
  return { stop: scale(() => 0), start: scale((now) => now || 1) };
}

/** The Service in front of the web pods. */
function webAddress(site: Site): string | undefined {
  const [web] = site.group.web;
  if (web === undefined) return undefined;
  const { ports: own = [] } = web.container;
  const named = Number(web.env.get("PORT") ?? "") || WEB_PORT;
  const port =
    own.find(({ containerPort }) => containerPort === named)?.containerPort ?? own[0]?.containerPort ?? named;
  const names = own.filter(({ containerPort }) => containerPort === port).map(({ name }) => name);
  for (const service of site.space.services) {
    if (!selects(service.spec.selector, web.workload.details.spec.template.metadata?.labels)) continue;
    const { ports = [] } = service.spec;
    const found = ports.find(({ targetPort, port: outer }) => {
      const target = targetPort ?? outer;
      return target === port || (typeof target === "string" && names.includes(target));
    });
    if (found !== undefined) return `http://${hostOf(service, positionOf(site))}:${found.port}`;
  }
  return undefined;
}

function namesOf(members: readonly Member[]): string {
  return members.length === 0 ? "none" : members.map(({ name }) => name).join(", ");
}

/** For people. */
function serverNote(what: string, service: ServiceDetailsOfCluster | undefined): string {
  return service === undefined
    ? `${what} is no Service of this namespace`
    : `${what} is behind the Service ${service.metadata.name}`;
}

/** `chatwoot-2.0.23`, as charts label what they make. */
function chartOf({ workload }: Member): string | undefined {
  const { labels } = workload.details.metadata;
  return labels?.["helm.sh/chart"] ?? labels?.["chart"];
}

function notesOf(site: Site, installation: Installation, servers: Servers): string[] {
  const { group, leader, space } = site;
  const { image, code } = installation;
  const chart = chartOf(leader);
  return [
    `${describeSite(site)} at ${space.api.server}${chart === undefined ? "" : `, of the chart ${chart}`}`,
    `web: ${namesOf(group.web)}; worker: ${namesOf(group.worker)}`,
    `image ${leader.image}${image === undefined ? ", which no pod runs now" : ` (${image.digest ?? image.id})`}`,
    serverNote("the database", servers.database),
    serverNote("Redis", servers.redis),
    ...commonNotes(installation, describeWorkload(leader.workload), "the image's tag"),
    ...(code === undefined ? ["the code is the image's own"] : []),
    `configuration: ${plural(installation.madeFiles.length, "manifest")} of what the cluster has of it`,
  ];
}
