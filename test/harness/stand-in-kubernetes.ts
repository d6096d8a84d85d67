/**
 * A stand-in for the API server of a Kubernetes cluster: HTTPS with a certificate of its own, bearer tokens, the rights that a
 * manifest of roles grants and no other, and a namespace's objects in the real one's shapes. Scaling makes pods come and go.
 */
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import type { ClusterObject, PodDetails, WorkloadDetails } from "../../src/system/cluster-details.ts";
import { makeAuthority } from "./certificates.ts";
import { discovery, type KindOfObject, KINDS } from "./cluster-discovery.ts";
import { type Right, rightsIn } from "./cluster-rights.ts";
import { temporaryFolder } from "./temporary.ts";

const MANIFESTS = resolve(import.meta.dirname, "../../deploy/kubernetes");
export const RBAC = join(MANIFESTS, "rbac.yaml");
/** The role for stopping and starting, which nothing applies by itself. */
const SCALE = join(MANIFESTS, "scale.yaml");
const ACCOUNT_FOLDER = "var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN = "token-of-chatkeep";

/** What a namespace holds, by resource; a test may change it while the server runs. */
export type ClusterWorld = Record<string, ClusterObject[]>;

export interface StandInOptions {
  namespace?: string;
  /** A manifest with service accounts, roles and bindings; without one, those of deploy/kubernetes/rbac.yaml and scale.yaml. */
  rbac?: string;
  /** How many answers more show a pod that is ending. */
  endingLooks?: number;
  /** Called when a workload was scaled, as a controller that watches would be. */
  onScale?: (workload: WorkloadDetails) => void;
}

export interface StandInCluster extends AsyncDisposable {
  server: string;
  /** Stands for `/` of Chatkeep's pod: with its service account. */
  root: string;
  /** What a pod has in its environment. */
  podEnv: Record<string, string>;
  kubeconfig: string;
  /** Requests, as `list deployments` or `patch deployments/scale acme-web`. */
  requests: string[];
  /** `Role/chatkeep#0 apps deployments list` of every right that was used. */
  usedRights: Set<string>;
  /** Of every right that the manifest grants. */
  grantedRights: Set<string>;
  /** Answers so many requests with a status that asks to come back later. */
  putOff(count: number): void;
}

interface Call {
  group: string;
  version: string;
  namespace: string;
  resource: string;
  name: string | undefined;
  part: string | undefined;
  verb: string;
  query: URLSearchParams;
}

/** `/apis/apps/v1/namespaces/NS/deployments/NAME/scale`. */
function callOf(request: IncomingMessage): Call | undefined {
  const url = new URL(request.url ?? "/", "https://cluster");
  const found =
    /^\/(?:api|apis\/(?<group>[^/]+))\/(?<version>[^/]+)\/namespaces\/(?<namespace>[^/]+)\/(?<resource>[^/]+)(?:\/(?<name>[^/]+))?(?:\/(?<part>[^/]+))?$/.exec(
      url.pathname,
    )?.groups;
  if (found === undefined) return undefined;
  const { group = "", version = "", namespace = "", resource = "", name, part } = found;
  const verbs: Record<string, string> = { GET: name === undefined ? "list" : "get", PATCH: "patch", PUT: "update" };
  const verb = verbs[request.method ?? ""] ?? (request.method ?? "").toLowerCase();
  return { group, version, namespace, resource, name, part, verb, query: url.searchParams };
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

/** @param about What the refusal is about, where it is about a thing. */
function refuse(response: ServerResponse, code: number, reason: string, message: string, about?: Call): void {
  const details = about === undefined ? {} : { name: about.name, group: about.group, kind: about.resource };
  const status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, details, code };
  answer(response, code, status);
}

/** `a=b,c!=d,e in (f,g),h,!i`. */
export function matchesSelector(selector: string, labels: Record<string, string> = {}): boolean {
  const terms = selector.match(/[^,(]+(?:\([^)]*\))?/g) ?? [];
  return terms.every((term) => {
    const [, key = "", operator, list = ""] = /^\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*$/.exec(term) ?? [];
    if (operator !== undefined) {
      const isIn = list
        .split(",")
        .map((one) => one.trim())
        .includes(labels[key] ?? "\0");
      return operator === "in" ? isIn : !isIn;
    }
    const [, name = "", sign, value = ""] = /^\s*([^=!]+)(==?|!=)([^=]*)$/.exec(term) ?? [];
    if (sign !== undefined) return (labels[name.trim()] === value.trim()) === (sign !== "!=");
    return term.trim().startsWith("!") ? !(term.trim().slice(1) in labels) : term.trim() in labels;
  });
}

function selectorOf({ spec: { selector } }: WorkloadDetails): string {
  const equal = Object.entries(selector.matchLabels ?? {}).map(([name, value]) => `${name}=${value}`);
  const others = (selector.matchExpressions ?? []).map(({ key, operator, values = [] }) =>
    operator === "Exists" ? key : `${key} ${operator.toLowerCase()} (${values.join(",")})`,
  );
  return [...equal, ...others].join(",");
}

/** What the cluster writes into every object, and changes whenever it likes. */
function withNoise(object: ClusterObject, version: number): object {
  const { metadata } = object;
  return {
    ...object,
    metadata: {
      ...metadata,
      uid: `00000000-0000-4000-8000-${String(version).padStart(12, "0")}`,
      resourceVersion: String(version),
      generation: version,
      creationTimestamp: "2026-01-01T00:00:00Z",
      managedFields: [{ manager: "kubectl", operation: "Update", time: `2026-01-01T00:00:${version % 60}Z` }],
    },
  };
}

/** A pod of a workload, as its controller makes it and a node runs it. */
export function makePod(workload: WorkloadDetails, suffix: string, digest = "d"): PodDetails {
  const { name } = workload.metadata;
  const { metadata, spec } = workload.spec.template;
  const claims = (workload.spec.volumeClaimTemplates ?? []).map((claim) => ({
    name: claim.metadata.name,
    persistentVolumeClaim: { claimName: `${claim.metadata.name}-${name}-${suffix}` },
  }));
  return {
    metadata: { name: `${name}-${suffix}`, labels: metadata?.labels ?? {} },
    spec: { ...spec, nodeName: "node-1", volumes: [...(spec.volumes ?? []), ...claims] },
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: spec.containers.map((container) => ({
        name: container.name,
        ready: true,
        imageID: `docker.io/${(container.image ?? "").replace(/[:@][^/]*$/, "")}@sha256:${digest.repeat(64)}`,
        state: { running: {} },
      })),
    },
  };
}

class Server {
  readonly requests: string[] = [];
  readonly usedRights = new Set<string>();
  readonly rights: Right[];
  putOff = 0;
  readonly #world: ClusterWorld;
  readonly #options: Required<Pick<StandInOptions, "namespace" | "endingLooks">> & StandInOptions;
  /** Looks left, of pods that are ending. */
  readonly #ending = new Map<ClusterObject, number>();
  readonly #pages = new Map<string, object[]>();
  #version = 1000;

  constructor(world: ClusterWorld, options: StandInOptions) {
    this.#world = world;
    this.#options = { endingLooks: 0, namespace: "chatwoot", ...options };
    this.rights = rightsIn(
      options.rbac ?? [RBAC, SCALE].map((path) => readFileSync(path, "utf8")).join("---\n"),
      this.#options.namespace,
    );
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.headers.authorization !== `Bearer ${TOKEN}`)
      return refuse(response, 401, "Unauthorized", "Unauthorized");
    if (this.putOff > 0) {
      this.putOff -= 1;
      response.setHeader("retry-after", "0");
      return refuse(response, 429, "TooManyRequests", "too many requests, please try again later");
    }
    const said = discovery(new URL(request.url ?? "/", "https://cluster").pathname);
    if (said !== undefined) return answer(response, 200, said);
    const call = callOf(request);
    const known = call === undefined ? undefined : KINDS[call.resource];
    if (call === undefined || known?.group !== call.group || known.version !== call.version)
      return refuse(response, 404, "NotFound", "the server could not find the requested resource");
    const what = call.part === undefined ? call.resource : `${call.resource}/${call.part}`;
    this.requests.push([call.verb, what, call.name].filter((part) => part !== undefined).join(" "));
    const right = this.rights.find(
      (one) => one.group === call.group && one.resource === what && one.verb === call.verb,
    );
    if (right === undefined || call.namespace !== this.#options.namespace) return this.#forbid(response, call, what);
    this.usedRights.add(right.id);
    if (call.verb === "list") return this.#list(response, call, known);
    const object = this.#objects(call.resource).find(({ metadata }) => metadata.name === call.name);
    if (object === undefined) {
      const full = call.group === "" ? call.resource : `${call.resource}.${call.group}`;
      return refuse(response, 404, "NotFound", `${full} "${call.name}" not found`, call);
    }
    if (call.part === "scale") return await this.#scale(request, response, object as WorkloadDetails);
    const { group, version, kind } = known;
    answer(response, 200, { kind, apiVersion: group === "" ? version : `${group}/${version}`, ...this.#shown(object) });
  }

  #objects(resource: string): ClusterObject[] {
    return (this.#world[resource] ??= []);
  }

  #shown(object: ClusterObject): object {
    this.#version += 1;
    return withNoise(object, this.#version);
  }

  #forbid(response: ServerResponse, call: Call, what: string): void {
    const { group, namespace, name = "", verb } = call;
    const full =
      group === "" ? what : `${what.split("/")[0]}.${group}${what.includes("/") ? `/${what.split("/")[1]}` : ""}`;
    const user = `system:serviceaccount:${this.#options.namespace}:chatkeep`;
    const of = name === "" ? "" : ` "${name}"`;
    refuse(
      response,
      403,
      "Forbidden",
      `${full}${of} is forbidden: User "${user}" cannot ${verb} resource "${what}" in API group "${group}" in the namespace "${namespace}"`,
      call,
    );
  }

  /** Pages as the real one makes them: each has a token for the next, and items without kind and version. */
  #list(response: ServerResponse, { resource, query }: Call, { group, version, kind }: KindOfObject): void {
    this.#endPods();
    const token = query.get("continue") ?? "";
    const kept = token === "" ? undefined : this.#pages.get(token);
    if (token !== "" && kept === undefined)
      return refuse(response, 410, "Expired", "The provided continue parameter is too old");
    this.#pages.delete(token);
    const selector = query.get("labelSelector") ?? "";
    const all =
      kept ??
      this.#objects(resource)
        .filter(({ metadata }) => selector === "" || matchesSelector(selector, metadata.labels))
        .map((object) => this.#shown(object));
    // A server may give fewer than it is asked for.
    const items = all.slice(0, Math.min(3, Number(query.get("limit") ?? 500)));
    const rest = all.slice(items.length);
    const next = rest.length === 0 ? undefined : `page-${this.#version}-${rest.length}`;
    if (next !== undefined) this.#pages.set(next, rest);
    answer(response, 200, {
      kind: `${kind}List`,
      apiVersion: group === "" ? version : `${group}/${version}`,
      metadata: { resourceVersion: String(this.#version), ...(next === undefined ? {} : { continue: next }) },
      items,
    });
  }

  /** Those whose time has come are gone. */
  #endPods(): void {
    for (const [pod, looks] of this.#ending) {
      if (looks > 0) this.#ending.set(pod, looks - 1);
      else {
        this.#ending.delete(pod);
        this.#world["pods"] = this.#objects("pods").filter((one) => one !== pod);
      }
    }
  }

  async #scale(request: IncomingMessage, response: ServerResponse, workload: WorkloadDetails): Promise<void> {
    if (request.method === "PATCH") {
      if (request.headers["content-type"] !== "application/merge-patch+json")
        return refuse(response, 415, "UnsupportedMediaType", "the body of the request was in an unknown format");
      const { spec } = JSON.parse(await text(request)) as { spec: { replicas: number } };
      workload.spec.replicas = spec.replicas;
      this.#followScale(workload);
      this.#options.onScale?.(workload);
    }
    const { name } = workload.metadata;
    const pods = this.#podsOf(workload);
    answer(response, 200, {
      kind: "Scale",
      apiVersion: "autoscaling/v1",
      ...this.#shown({ metadata: { name } }),
      // As the real one leaves out what is 0.
      spec: workload.spec.replicas === 0 ? {} : { replicas: workload.spec.replicas ?? 1 },
      status: { replicas: pods.length, selector: selectorOf(workload) },
    });
  }

  #podsOf(workload: WorkloadDetails): ClusterObject[] {
    const selector = selectorOf(workload);
    return this.#objects("pods").filter(({ metadata }) => matchesSelector(selector, metadata.labels));
  }

  #followScale(workload: WorkloadDetails): void {
    const pods = this.#podsOf(workload).filter((pod) => !this.#ending.has(pod));
    const wanted = workload.spec.replicas ?? 1;
    for (const pod of pods.slice(wanted)) {
      pod.metadata.deletionTimestamp = "2026-01-01T00:00:00Z";
      this.#ending.set(pod, this.#options.endingLooks);
    }
    for (let count = pods.length; count < wanted; count += 1)
      this.#objects("pods").push(makePod(workload, `new-${count}`));
  }
}

export interface ClusterCertificate {
  key: Buffer;
  cert: Buffer;
  /** That of who signed it. */
  authority: Buffer;
}

/** Of an API server at `localhost`, and of a root of its own. */
export async function makeCertificate(): Promise<ClusterCertificate> {
  await using folder = await temporaryFolder();
  const authority = await makeAuthority(folder.path, "cluster");
  const signed = await authority.sign("api", ["localhost"]);
  const [key, cert] = [readFileSync(signed.key), readFileSync(signed.certificate)];
  return { key, cert, authority: readFileSync(authority.certificate) };
}

/** Made once for all clusters of a process. */
let certificate: Promise<ClusterCertificate> | undefined;

/** Starts it, on a port of its own. */
export async function startStandInCluster(world: ClusterWorld, options: StandInOptions = {}): Promise<StandInCluster> {
  const folder = await temporaryFolder();
  certificate ??= makeCertificate();
  const { key, cert, authority } = await certificate;
  const handler = new Server(world, options);
  const { namespace = "chatwoot" } = options;
  const server = createServer({ key, cert }, (request, response) => void handler.handle(request, response));
  server.listen(0, "localhost");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const root = folder.at("root");
  const account = join(root, ACCOUNT_FOLDER);
  await mkdir(account, { recursive: true });
  await writeFile(join(account, "token"), TOKEN);
  await writeFile(join(account, "namespace"), namespace);
  const authorityFile = join(account, "ca.crt");
  await writeFile(authorityFile, authority);
  const kubeconfig = folder.at("kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(`https://localhost:${port}`, authorityFile, namespace));
  return {
    server: `https://localhost:${port}`,
    root,
    podEnv: { KUBERNETES_SERVICE_HOST: "localhost", KUBERNETES_SERVICE_PORT: String(port) },
    kubeconfig,
    requests: handler.requests,
    usedRights: handler.usedRights,
    grantedRights: new Set(handler.rights.map(({ id }) => id)),
    putOff(count) {
      handler.putOff = count;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

function kubeconfigOf(server: string, authority: string, namespace: string): string {
  return `apiVersion: v1
kind: Config
current-context: desk
clusters: [{ name: cluster, cluster: { server: "${server}", certificate-authority: ${authority} } }]
users: [{ name: admin, user: { token: ${TOKEN} } }]
contexts: [{ name: desk, context: { cluster: cluster, user: admin, namespace: ${namespace} } }]
`;
}
