/** Objects of Kubernetes as files have them, and what the API would say of them: by its own description, as npm carries it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as client from "@kubernetes/client-node";
import { parseAllDocuments } from "yaml";

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  [field: string]: unknown;
}

export interface Mount {
  name: string;
  mountPath: string;
  readOnly?: boolean;
}

interface SecretSource {
  secretName?: string;
  name?: string;
}

export interface Volume {
  name: string;
  secret?: SecretSource;
  projected?: { sources: { secret?: SecretSource }[] };
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
  emptyDir?: { medium?: string };
  ephemeral?: object;
}

export interface Container {
  image: string;
  command?: string[];
  args?: string[];
  env?: { name: string; value?: string }[];
  envFrom?: { secretRef?: { name: string; optional?: boolean } }[];
  volumeMounts: Mount[];
  [field: string]: unknown;
}

export interface PodSpec {
  serviceAccountName: string;
  containers: [Container];
  volumes: Volume[];
  [field: string]: unknown;
}

/** Every object of a YAML text, empty documents left out. */
export function objectsIn(text: string): KubernetesObject[] {
  return parseAllDocuments(text).flatMap((document) => {
    assert.deepEqual("errors" in document ? document.errors : [], []);
    const value = (document as { toJS(): KubernetesObject | null }).toJS();
    return value === null ? [] : [value];
  });
}

export function objectsOf(file: string): KubernetesObject[] {
  return objectsIn(readFileSync(file, "utf8"));
}

/** The one object of that kind. */
export function oneOf(objects: readonly KubernetesObject[], kind: string, name?: string): KubernetesObject {
  const found = objects.filter((one) => one.kind === kind && (name === undefined || one.metadata.name === name));
  const [one] = found;
  assert.ok(one !== undefined && found.length === 1, `${found.length} objects ${kind} ${name ?? ""}`);
  return one;
}

interface Template {
  spec: PodSpec;
  metadata: { labels: Record<string, string> };
}

/** What the pods of an object are made of; undefined for one that has none. */
export function podOf(object: KubernetesObject): Template | undefined {
  if (object.kind === "Pod") return object as unknown as Template;
  if (object.kind === "Deployment") return (object as unknown as { spec: { template: Template } }).spec.template;
  if (object.kind !== "CronJob") return undefined;
  return (object as unknown as { spec: { jobTemplate: { spec: { template: Template } } } }).spec.jobTemplate.spec
    .template;
}

/** Names of the Secrets that a pod cannot start without. */
export function secretsOf({ spec }: Template): string[] {
  const mounted = spec.volumes.flatMap(({ secret, projected }) => [
    secret?.secretName,
    ...(projected?.sources ?? []).map((source) => source.secret?.name),
  ]);
  const read = (spec.containers[0].envFrom ?? []).map(({ secretRef }) =>
    secretRef?.optional === true ? undefined : secretRef?.name,
  );
  return [...mounted, ...read].filter((name) => name !== undefined);
}

const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const LABEL = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

interface Model {
  getAttributeTypeMap?: () => Attribute[];
}

interface Attribute {
  baseName: string;
  type: string;
}

/** Asserts that the official client knows every field: the API would drop a misspelt one without a word. */
function assertKnown(value: unknown, type: string, path: string): void {
  const inner = /^Array<(.*)>$/.exec(type)?.[1] ?? /^\{ \[key: string\]: (.*?);? \}$/.exec(type)?.[1];
  if (inner !== undefined) {
    for (const [key, one] of Object.entries(value as object)) assertKnown(one, inner, `${path}.${key}`);
    return;
  }
  const model = (client as Record<string, unknown>)[type] as Model | undefined;
  const known = model?.getAttributeTypeMap?.();
  if (known === undefined || typeof value !== "object" || value === null) return;
  for (const [key, one] of Object.entries(value)) {
    const attribute: Attribute | undefined = known.find(({ baseName }) => baseName === key);
    assert.ok(attribute !== undefined, `${path}.${key}: ${type} has no such field`);
    assertKnown(one, attribute.type, `${path}.${key}`);
  }
}

/** Asserts what the API server would: fields, their types, what must be there, names and labels. */
export async function assertValid(object: KubernetesObject): Promise<void> {
  const what = `${object.kind} ${object.metadata.name}`;
  const models = (await import(`kubernetes-models/${object.apiVersion}/${object.kind}`)) as Record<
    string,
    new (data: object) => { validate(): void }
  >;
  const Model = models[object.kind];
  assert.ok(Model !== undefined, `there is no ${object.apiVersion} ${object.kind}`);
  try {
    new Model(object).validate();
  } catch (error) {
    assert.fail(`${what}: ${(error as Error).message}`);
  }
  const version = object.apiVersion.split("/").at(-1) ?? "";
  const type = `${version.charAt(0).toUpperCase()}${version.slice(1)}${object.kind}`;
  assert.ok(type in client, type);
  assertKnown(object, type, what);
  assert.match(object.metadata.name, NAME, what);
  // What a CronJob and its Jobs append to it fits, too.
  assert.ok(object.metadata.name.length <= (object.kind === "CronJob" ? 52 : 63), what);
  for (const labels of [object.metadata.labels, podOf(object)?.metadata.labels]) {
    for (const [name, value] of Object.entries(labels ?? {})) {
      assert.ok(name.length <= 63 && value.length <= 63 && LABEL.test(value), `${what}: label ${name}: ${value}`);
    }
  }
  assertWhole(object);
}

/** Every mount has its volume, and every volume its mount. */
function assertWhole(object: KubernetesObject): void {
  const pod = podOf(object);
  if (pod === undefined) return;
  const [container] = pod.spec.containers;
  assert.deepEqual(
    container.volumeMounts.map(({ name }) => name).toSorted(),
    pod.spec.volumes.map(({ name }) => name).toSorted(),
    object.metadata.name,
  );
  const places = container.volumeMounts.map(({ mountPath }) => mountPath);
  assert.equal(new Set(places).size, places.length, places.join(", "));
}

/** What volumes a namespace takes that enforces the strictest of Kubernetes' own standards for pods. */
const RESTRICTED_VOLUMES = new Set(["emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]);

/** Asserts that a pod meets the standard `restricted`, as the admission of such a namespace would ask it. */
export function assertRestricted({ spec }: Template): void {
  const pod = spec["securityContext"] as Record<string, unknown> | undefined;
  assert.equal(pod?.["runAsNonRoot"], true);
  assert.ok(Number(pod["runAsUser"]) > 0);
  assert.deepEqual(pod["seccompProfile"], { type: "RuntimeDefault" });
  for (const shared of ["hostNetwork", "hostPID", "hostIPC", "initContainers"]) assert.equal(spec[shared], undefined);
  for (const { name, ...kinds } of spec.volumes)
    for (const kind of Object.keys(kinds)) assert.ok(RESTRICTED_VOLUMES.has(kind), `${name}: ${kind}`);
  for (const container of spec.containers) {
    const own = container["securityContext"] as Record<string, unknown> | undefined;
    assert.equal(own?.["allowPrivilegeEscalation"], false);
    assert.equal(own["privileged"], undefined);
    assert.deepEqual(own["capabilities"], { drop: ["ALL"] });
    assert.equal(container["ports"], undefined);
  }
}
