/** The environment of a container as the kubelet makes it: ConfigMaps and Secrets as a whole, then each variable in its order. */
import type {
  ConfigMapDetails,
  ContainerSpec,
  EnvVar,
  ObjectMeta,
  SecretDetails,
  ServiceDetailsOfCluster,
} from "../../system/cluster-details.ts";
import type { NamedObjects } from "./objects.ts";

export interface ResolvedEnvironment {
  values: Map<string, string>;
  /** What is asked for and is not there, for people: pods of such a container do not start. */
  lacking: string[];
}

export interface EnvironmentSources {
  named: NamedObjects;
  namespace: string;
  services: readonly ServiceDetailsOfCluster[];
  /** Of the pods' template, for what the container is told of itself. */
  metadata: Partial<ObjectMeta> | undefined;
}

/**
 * Resolves it. What differs from pod to pod (a pod's name, its address, its node) is left out.
 * @throws Failure `source/unreadable` without the right to read what it comes from.
 */
export async function resolveEnvironment(
  container: ContainerSpec,
  sources: EnvironmentSources,
): Promise<ResolvedEnvironment> {
  const resolved: ResolvedEnvironment = { values: new Map(), lacking: [] };
  await addWholeObjects(container, sources, resolved);
  const around = serviceVariables(sources.services);
  for (const variable of container.env ?? []) {
    const value = await valueOf(variable, sources, resolved, around);
    if (value !== undefined) resolved.values.set(variable.name, value);
  }
  return resolved;
}

async function addWholeObjects(
  { envFrom = [] }: ContainerSpec,
  { named }: EnvironmentSources,
  { values, lacking }: ResolvedEnvironment,
): Promise<void> {
  for (const { prefix = "", secretRef, configMapRef } of envFrom) {
    const [what, reference] = secretRef === undefined ? ["ConfigMap", configMapRef] : ["Secret", secretRef];
    if (reference === undefined) continue;
    const data =
      secretRef === undefined
        ? dataOf(await named.configMap(reference.name))
        : decodeSecret(dataOf(await named.secret(reference.name)));
    if (data === undefined && reference.optional !== true) lacking.push(`the ${what} '${reference.name}'`);
    for (const [key, value] of Object.entries(data ?? {})) {
      // A name with '=' is no name of a variable, and the kubelet passes it over.
      if (!key.includes("=")) values.set(`${prefix}${key}`, value);
    }
  }
}

/** Undefined where there is no such object; one that holds nothing has no data at all. */
function dataOf(object: ConfigMapDetails | SecretDetails | undefined): Record<string, string> | undefined {
  return object === undefined ? undefined : (object.data ?? {});
}

export function decodeSecret(data: Record<string, string> | undefined): Record<string, string> | undefined {
  if (data === undefined) return undefined;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString("utf8")]),
  );
}

async function valueOf(
  { value = "", valueFrom }: EnvVar,
  sources: EnvironmentSources,
  { values, lacking }: ResolvedEnvironment,
  around: ReadonlyMap<string, string>,
): Promise<string | undefined> {
  if (value !== "" || valueFrom === undefined) return expand(value, (name) => values.get(name) ?? around.get(name));
  const { secretKeyRef, configMapKeyRef, fieldRef } = valueFrom;
  const reference = secretKeyRef ?? configMapKeyRef;
  if (reference === undefined) return fieldRef === undefined ? undefined : fieldOf(fieldRef.fieldPath, sources);
  const data =
    secretKeyRef === undefined
      ? (await sources.named.configMap(reference.name))?.data
      : decodeSecret((await sources.named.secret(reference.name))?.data);
  const found = data?.[reference.key];
  if (found === undefined && reference.optional !== true) {
    lacking.push(
      `'${reference.key}' of the ${secretKeyRef === undefined ? "ConfigMap" : "Secret"} '${reference.name}'`,
    );
  }
  return found;
}

/** `$(NAME)` of what is known so far; `$$` stands for a dollar, and what is not known stays as it is written. */
export function expand(text: string, lookUp: (name: string) => string | undefined): string {
  return text.replaceAll(/\$(?:\$|\(([^)]*)\))/g, (whole: string, name: string | undefined) =>
    name === undefined ? "$" : (lookUp(name) ?? whole),
  );
}

function fieldOf(path: string, { namespace, metadata }: EnvironmentSources): string | undefined {
  if (path === "metadata.namespace") return namespace;
  const [, of, key = ""] = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path) ?? [];
  if (of === undefined) return undefined;
  return (of === "labels" ? metadata?.labels : metadata?.annotations)?.[key];
}

/** What every container is told of the Services beside it; here only to fill in others with. */
function serviceVariables(services: readonly ServiceDetailsOfCluster[]): Map<string, string> {
  const variables = new Map<string, string>();
  for (const { metadata, spec } of services) {
    const { clusterIP = "None", ports = [] } = spec;
    const [first] = ports;
    if (clusterIP === "" || clusterIP === "None" || first === undefined) continue;
    const name = metadata.name.toUpperCase().replaceAll("-", "_");
    variables.set(`${name}_SERVICE_HOST`, clusterIP);
    variables.set(`${name}_SERVICE_PORT`, String(first.port));
  }
  return variables;
}
