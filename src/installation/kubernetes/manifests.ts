/** What an installation consists of in its cluster, as manifests: with them it can be made again. The same things give the same bytes. */
import { stringify } from "yaml";
import type {
  ClusterObject,
  PodTemplate,
  SecretDetails,
  ServiceDetailsOfCluster,
} from "../../system/cluster-details.ts";
import { apiVersionOf, type Resource } from "../../system/cluster-api.ts";
import type { MadeFile } from "../installation.ts";
import { mayBeChatwoot } from "../recognition.ts";
import { type Group, membersOf } from "./members.ts";
import { type Extras, listIfAllowed, releaseOf, selects, type Space, usesOf, type Workload } from "./objects.ts";

const KINDS: Partial<Record<Resource, string>> = {
  deployments: "Deployment",
  statefulsets: "StatefulSet",
  services: "Service",
  ingresses: "Ingress",
  configmaps: "ConfigMap",
  secrets: "Secret",
  persistentvolumeclaims: "PersistentVolumeClaim",
  horizontalpodautoscalers: "HorizontalPodAutoscaler",
  cronjobs: "CronJob",
};

/** What the cluster writes into an object for itself, and into a new one anew. */
const OF_THE_CLUSTER = new Set([
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "managedFields",
  "selfLink",
  "ownerReferences",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
]);

const NOTED_BY_THE_CLUSTER =
  /^(?:deployment\.kubernetes\.io\/revision|kubectl\.kubernetes\.io\/last-applied-configuration|pv\.kubernetes\.io\/.*|volume\.(?:beta\.)?kubernetes\.io\/(?:selected-node|storage-provisioner))$/;

type Plain = Record<string, unknown>;

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `metadata` of an object or of a template. */
function cleanMetadata(metadata: Plain): Plain {
  const kept = Object.entries(metadata).filter(([key]) => !OF_THE_CLUSTER.has(key));
  return Object.fromEntries(
    kept.flatMap(([key, value]): [string, unknown][] => {
      if (key !== "annotations" || !isPlain(value)) return [[key, value]];
      const notes = Object.entries(value).filter(([name]) => !NOTED_BY_THE_CLUSTER.test(name));
      return notes.length === 0 ? [] : [[key, Object.fromEntries(notes)]];
    }),
  );
}

/** Everywhere below, too: templates have metadata, and claims of a StatefulSet a status. */
function clean(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clean);
  if (!isPlain(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]): [string, unknown][] => {
      if (key === "status" && isPlain(inner)) return [];
      return [[key, key === "metadata" && isPlain(inner) ? cleanMetadata(inner) : clean(inner)]];
    }),
  );
}

/** The place that a cluster gave to a Service or a claim is no part of what it is. */
function withoutPlace(resource: Resource, object: Plain): Plain {
  const { spec } = object;
  if (!isPlain(spec)) return object;
  if (resource === "services" && spec["clusterIP"] !== "None") {
    const { clusterIP: _one, clusterIPs: _all, healthCheckNodePort: _port, ...rest } = spec;
    return { ...object, spec: rest };
  }
  if (resource === "persistentvolumeclaims") {
    const { volumeName: _name, ...rest } = spec;
    return { ...object, spec: rest };
  }
  return object;
}

/** One object as a manifest, below `config/kubernetes/`. */
export function formatManifest(resource: Resource, object: ClusterObject): MadeFile {
  const kind = KINDS[resource] ?? resource;
  // Data of ConfigMaps and Secrets is anybody's, and may have any key.
  const { data, binaryData, stringData: _none, ...rest } = object as unknown as Plain;
  const body = withoutPlace(resource, clean(rest) as Plain);
  const manifest = {
    ...body,
    apiVersion: apiVersionOf(resource),
    kind,
    ...(data === undefined ? {} : { data }),
    ...(binaryData === undefined ? {} : { binaryData }),
  };
  return {
    path: `kubernetes/${kind.toLowerCase()}-${object.metadata.name}.yaml`,
    text: stringify(manifest, { sortMapEntries: true, lineWidth: 0 }),
  };
}

/** Chatkeep's own things are saved as its configuration, and hold the password of what they are saved in. */
function isChatkeep({ metadata: { labels } }: ClusterObject): boolean {
  return labels?.["app.kubernetes.io/name"] === "chatkeep";
}

/** What of a namespace belongs to an installation. */
export interface Belongings {
  workloads: Workload[];
  services: ServiceDetailsOfCluster[];
}

/**
 * The workloads of a group, what was deployed with them, and what stands behind the servers that they name.
 * @param servers The Services of database and Redis.
 */
export function belongingsOf(group: Group, space: Space, servers: readonly ServiceDetailsOfCluster[]): Belongings {
  const own = new Set(membersOf(group).map(({ workload }) => workload));
  const isReleased = (object: ClusterObject) => group.release !== undefined && releaseOf(object) === group.release;
  const workloads = space.workloads.filter((workload) => {
    if (isChatkeep(workload.details)) return false;
    const labels = workload.details.spec.template.metadata?.labels;
    return (
      own.has(workload) || isReleased(workload.details) || servers.some(({ spec }) => selects(spec.selector, labels))
    );
  });
  const services = space.services.filter((service) => {
    const isBefore = ({ details }: Workload) => selects(service.spec.selector, details.spec.template.metadata?.labels);
    return servers.includes(service) || isReleased(service) || workloads.some(isBefore);
  });
  return { workloads, services };
}

/** All manifests of an installation, and the kinds of objects that Chatkeep may not see. */
export async function readManifests(
  group: Group,
  { workloads, services }: Belongings,
  space: Space,
  extras: Extras,
): Promise<{ files: MadeFile[]; denied: string[] }> {
  const isReleased = (object: ClusterObject) =>
    group.release !== undefined && releaseOf(object) === group.release && !isChatkeep(object);
  const names = new Set(services.map(({ metadata }) => metadata.name));
  const ingresses = extras.ingresses.filter(
    (ingress) => isReleased(ingress) || backendsOf(ingress.spec).some((name) => names.has(name)),
  );
  const autoscalers = extras.autoscalers.filter(({ spec: { scaleTargetRef } }) =>
    workloads.some(({ kind, name }) => kind === scaleTargetRef.kind && name === scaleTargetRef.name),
  );
  const cronJobs = extras.cronJobs.filter(
    (job) => !isChatkeep(job) && (isReleased(job) || runsChatwoot(job.spec.jobTemplate.spec.template)),
  );
  const templates = [
    ...workloads.map(({ details }) => details.spec.template),
    ...cronJobs.map(({ spec }) => spec.jobTemplate.spec.template),
  ];
  const uses = usesOf(templates);
  for (const { spec } of ingresses)
    for (const { secretName } of spec.tls ?? []) if (secretName !== undefined) uses.secrets.add(secretName);
  const claims = space.claims.filter(
    (claim) =>
      uses.claims.has(claim.metadata.name) ||
      isReleased(claim) ||
      workloads.some((workload) => isClaimOf(workload, claim.metadata.name)),
  );
  const denied = [...extras.denied];
  const releases = await newestRelease(group, space, denied);
  const secrets = [...(await readNamed([...uses.secrets], (name) => space.named.secret(name))), ...releases];
  const configMaps = await readNamed([...uses.configMaps], (name) => space.named.configMap(name));
  const files = [
    ...workloads.map(({ resource, details }) => formatManifest(resource, details)),
    ...services.map((one) => formatManifest("services", one)),
    ...ingresses.map((one) => formatManifest("ingresses", one)),
    ...autoscalers.map((one) => formatManifest("horizontalpodautoscalers", one)),
    ...cronJobs.map((one) => formatManifest("cronjobs", one)),
    ...claims.map((one) => formatManifest("persistentvolumeclaims", one)),
    ...configMaps.map((one) => formatManifest("configmaps", one)),
    ...secrets.map((one) => formatManifest("secrets", one)),
  ];
  return { files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)), denied };
}

function backendsOf(spec: Extras["ingresses"][number]["spec"]): string[] {
  const paths = (spec.rules ?? []).flatMap(({ http }) => http?.paths ?? []);
  return [spec.defaultBackend, ...paths.map(({ backend }) => backend)].flatMap(
    (backend) => backend?.service?.name ?? [],
  );
}

function runsChatwoot({ spec }: PodTemplate): boolean {
  return spec.containers.some(({ image = "", command = [], args = [] }) =>
    mayBeChatwoot({ image, command: [...command, ...args].join(" ") }),
  );
}

/** `data-acme-postgresql-0`: a claim that a StatefulSet made for one of its pods. */
export function isClaimOf({ name, details }: Workload, claim: string): boolean {
  return (details.spec.volumeClaimTemplates ?? []).some(({ metadata }) => {
    const prefix = `${metadata.name}-${name}-`;
    return claim.startsWith(prefix) && /^\d+$/.test(claim.slice(prefix.length));
  });
}

function versionOf({ metadata }: SecretDetails): number {
  return Number(metadata.labels?.["version"] ?? 0);
}

/** The Secret in which Helm keeps its newest release: the chart and the values. */
async function newestRelease(group: Group, { api }: Space, denied: string[]): Promise<SecretDetails[]> {
  if (group.release === undefined) return [];
  const selector = `owner=helm,name=${group.release}`;
  const found = await listIfAllowed<SecretDetails>(api, "secrets", denied, selector);
  const [newest] = found.toSorted((a, b) => versionOf(b) - versionOf(a));
  return newest === undefined ? [] : [newest];
}

/** Those that are there; what is not is told where the environment is read. */
async function readNamed<T>(names: readonly string[], read: (name: string) => Promise<T | undefined>): Promise<T[]> {
  const found = await Promise.all(names.map(read));
  return found.filter((one) => one !== undefined);
}
