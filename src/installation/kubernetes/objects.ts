/** What a namespace holds, read once: the parts that Chatwoot needs, and the others as far as Chatkeep may see them. */
import { isFailure } from "../../base/errors.ts";
import type {
  AutoscalerDetails,
  ClaimDetails,
  ClusterObject,
  ConfigMapDetails,
  CronJobDetails,
  IngressDetails,
  PodDetails,
  PodTemplate,
  SecretDetails,
  ServiceDetailsOfCluster,
  Volume,
  WorkloadDetails,
} from "../../system/cluster-details.ts";
import type { ClusterApi, Resource } from "../../system/cluster-api.ts";

export type WorkloadKind = "Deployment" | "StatefulSet";

/** A Deployment or a StatefulSet. */
export interface Workload {
  kind: WorkloadKind;
  resource: "deployments" | "statefulsets";
  name: string;
  details: WorkloadDetails;
}

/** For people. */
export function describeWorkload({ kind, name }: Pick<Workload, "kind" | "name">): string {
  return `the ${kind} ${name}`;
}

export function helmReleaseOf({ metadata: { annotations } }: ClusterObject): string | undefined {
  return annotations?.["meta.helm.sh/release-name"];
}

/** What was deployed together: the Helm release, or what a label says, as after `helm template`. */
export function releaseOf(object: ClusterObject): string | undefined {
  const { labels } = object.metadata;
  return helmReleaseOf(object) ?? labels?.["app.kubernetes.io/instance"] ?? labels?.["release"];
}

/** ConfigMaps and Secrets, each read when it is asked for. */
export class NamedObjects {
  readonly #api: ClusterApi;
  readonly #known = new Map<string, Promise<unknown>>();

  constructor(api: ClusterApi) {
    this.#api = api;
  }

  /** Undefined where there is none of this name. @throws Failure `source/unreadable` without the right to read it. */
  async configMap(name: string): Promise<ConfigMapDetails | undefined> {
    return await this.#read<ConfigMapDetails>("configmaps", name);
  }

  async secret(name: string): Promise<SecretDetails | undefined> {
    return await this.#read<SecretDetails>("secrets", name);
  }

  async #read<T>(resource: Resource, name: string): Promise<T | undefined> {
    const key = `${resource}/${name}`;
    const reading = this.#known.get(key) ?? this.#api.get<T>(resource, name);
    this.#known.set(key, reading);
    return (await reading) as T | undefined;
  }
}

/** All that Chatkeep must see of a namespace. */
export interface Space {
  api: ClusterApi;
  named: NamedObjects;
  workloads: readonly Workload[];
  pods: readonly PodDetails[];
  services: readonly ServiceDetailsOfCluster[];
  claims: readonly ClaimDetails[];
}

/** What is welcome and not needed. */
export interface Extras {
  ingresses: readonly IngressDetails[];
  autoscalers: readonly AutoscalerDetails[];
  cronJobs: readonly CronJobDetails[];
  /** Kinds that may not be listed. */
  denied: string[];
}

/** @throws Failure `source/unreadable` without the right to, `program/failed` when the cluster does not answer. */
export async function readSpace(api: ClusterApi): Promise<Space> {
  const [deployments, statefulSets, pods, services, claims] = await Promise.all([
    api.list<WorkloadDetails>("deployments"),
    api.list<WorkloadDetails>("statefulsets"),
    api.list<PodDetails>("pods"),
    api.list<ServiceDetailsOfCluster>("services"),
    api.list<ClaimDetails>("persistentvolumeclaims"),
  ]);
  const workloads = [
    ...deployments.map((details): Workload => asWorkload("Deployment", "deployments", details)),
    ...statefulSets.map((details): Workload => asWorkload("StatefulSet", "statefulsets", details)),
  ];
  return { api, named: new NamedObjects(api), workloads, pods, services, claims };
}

function asWorkload(kind: WorkloadKind, resource: Workload["resource"], details: WorkloadDetails): Workload {
  return { kind, resource, name: details.metadata.name, details };
}

export async function readExtras(api: ClusterApi): Promise<Extras> {
  const denied: string[] = [];
  const [ingresses, autoscalers, cronJobs] = await Promise.all([
    listIfAllowed<IngressDetails>(api, "ingresses", denied),
    listIfAllowed<AutoscalerDetails>(api, "horizontalpodautoscalers", denied),
    listIfAllowed<CronJobDetails>(api, "cronjobs", denied),
  ]);
  return { ingresses, autoscalers, cronJobs, denied };
}

/** Nothing without the right to; what it was is added to `denied` then. */
export async function listIfAllowed<T extends ClusterObject>(
  api: ClusterApi,
  resource: Resource,
  denied: string[],
  labelSelector?: string,
): Promise<T[]> {
  try {
    return await api.list<T>(resource, labelSelector);
  } catch (error) {
    if (!isFailure(error, "source/unreadable")) throw error;
    denied.push(resource);
    return [];
  }
}

/** True where a Service's or a workload's plain selector takes these labels; an empty one takes none. */
export function selects(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([name, value]) => labels?.[name] === value);
}

/** The pods of a workload that are meant to run: what has ended and is kept for its log is none. */
export function podsOf({ details }: Workload, pods: readonly PodDetails[]): PodDetails[] {
  const { matchLabels, matchExpressions = [] } = details.spec.selector;
  return pods.filter(({ metadata: { labels }, status }) => {
    if (status?.phase === "Succeeded" || status?.phase === "Failed") return false;
    if (matchLabels === undefined && matchExpressions.length === 0) return false;
    if (matchLabels !== undefined && !selects(matchLabels, labels)) return false;
    return matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels?.[key];
      if (operator === "Exists") return value !== undefined;
      if (operator === "DoesNotExist") return value === undefined;
      const isIn = value !== undefined && values.includes(value);
      return operator === "In" ? isIn : !isIn;
    });
  });
}

/** Names of the Secrets, ConfigMaps and claims that pods of a template use. */
export interface Uses {
  secrets: Set<string>;
  configMaps: Set<string>;
  claims: Set<string>;
}

export function usesOf(templates: readonly PodTemplate[]): Uses {
  const uses: Uses = { secrets: new Set(), configMaps: new Set(), claims: new Set() };
  for (const { spec } of templates) {
    for (const { env = [], envFrom = [] } of [...spec.containers, ...(spec.initContainers ?? [])]) {
      for (const { secretRef, configMapRef } of envFrom) {
        if (secretRef !== undefined) uses.secrets.add(secretRef.name);
        if (configMapRef !== undefined) uses.configMaps.add(configMapRef.name);
      }
      for (const { valueFrom } of env) {
        if (valueFrom?.secretKeyRef !== undefined) uses.secrets.add(valueFrom.secretKeyRef.name);
        if (valueFrom?.configMapKeyRef !== undefined) uses.configMaps.add(valueFrom.configMapKeyRef.name);
      }
    }
    for (const volume of spec.volumes ?? []) addVolume(uses, volume);
    for (const { name } of spec.imagePullSecrets ?? []) uses.secrets.add(name);
  }
  return uses;
}

function addVolume(uses: Uses, { secret, configMap, projected, persistentVolumeClaim }: Volume): void {
  if (secret !== undefined) uses.secrets.add(secret.secretName);
  if (configMap !== undefined) uses.configMaps.add(configMap.name);
  if (persistentVolumeClaim !== undefined) uses.claims.add(persistentVolumeClaim.claimName);
  for (const source of projected?.sources ?? []) {
    if (source.secret !== undefined) uses.secrets.add(source.secret.name);
    if (source.configMap !== undefined) uses.configMaps.add(source.configMap.name);
  }
}
