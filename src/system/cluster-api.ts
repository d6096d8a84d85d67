/**
 * The API of a Kubernetes cluster, within one namespace: listing and reading what is in it, and scaling its workloads.
 *
 * Who we are and where the cluster is, the official client finds out, with all the ways there are to log in. The requests
 * themselves are ours: what is saved has to be what the cluster said, also of fields that the client does not know yet.
 */
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";
import { delimiter, join } from "node:path";
import { buffer } from "node:stream/consumers";
import type { KubeConfig } from "@kubernetes/client-node";
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { parseRetryAfter } from "../base/retry-after.ts";
import type { ClusterObject } from "./cluster-details.ts";
import { http, https } from "./late-modules.ts";

/** Where a cluster is and who we are there, as a value. */
export type ClusterAddress =
  /** This process runs in a pod of it. */
  { from: "pod"; server: string; accountFolder: string } | { from: "kubeconfig"; files: readonly string[] };

const GROUPS = {
  pods: "api/v1",
  services: "api/v1",
  configmaps: "api/v1",
  secrets: "api/v1",
  persistentvolumeclaims: "api/v1",
  deployments: "apis/apps/v1",
  statefulsets: "apis/apps/v1",
  ingresses: "apis/networking.k8s.io/v1",
  horizontalpodautoscalers: "apis/autoscaling/v2",
  cronjobs: "apis/batch/v1",
} as const;

export type Resource = keyof typeof GROUPS;

/** `apps/v1`, as a manifest names it. */
export function apiVersionOf(resource: Resource): string {
  return GROUPS[resource].replace(/^apis?\//, "");
}

/** Where Kubernetes puts the service account of a pod. */
const ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Where a cluster would be: what `KUBECONFIG` names, else this process's pod, else the kubeconfig in the home folder.
 * Nothing is looked at.
 * @param at Where a path of the machine really is.
 */
export function clusterAddress(
  env: Readonly<Record<string, string | undefined>>,
  at: (path: string) => string = (path) => path,
): ClusterAddress {
  const named = (env["KUBECONFIG"] ?? "").split(delimiter).filter((file) => file !== "");
  if (named.length > 0) return { from: "kubeconfig", files: named };
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  if (host !== "") {
    const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
    const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
    return { from: "pod", server, accountFolder: at(ACCOUNT_FOLDER) };
  }
  return { from: "kubeconfig", files: [join(env["HOME"] ?? "/root", ".kube/config")] };
}

interface Answer {
  status: number;
  retryAfterMs: number | undefined;
  body: Buffer;
}

/** A page of a list. */
interface Page<T> {
  items?: T[];
  metadata?: { continue?: string };
}

const PAGE = 200;
/** How often what a busy cluster puts off is asked for again, and how long it is waited for at most in between. */
const ATTEMPTS = 4;
const PATIENCE_MS = 10_000;
const BUSY = new Set([429, 503]);
const GONE = 410;

export class ClusterApi {
  readonly address: ClusterAddress;
  readonly namespace: string;
  /** Without a slash at its end. */
  readonly server: string;
  readonly #config: KubeConfig;
  readonly #signal: AbortSignal;

  constructor(
    address: ClusterAddress,
    config: KubeConfig,
    { namespace, server, signal }: { namespace: string; server: string; signal: AbortSignal },
  ) {
    this.address = address;
    this.namespace = namespace;
    this.server = server.replace(/\/+$/, "");
    this.#config = config;
    this.#signal = signal;
  }

  /**
   * All objects of one kind, as the cluster says them, in the order of their names.
   * @throws Failure `source/unreadable` without the right to; `program/failed` when the cluster does not answer.
   */
  async list<T extends ClusterObject>(resource: Resource, labelSelector?: string): Promise<T[]> {
    const found: T[] = [];
    for (let token = ""; ;) {
      const query = new URLSearchParams({ limit: String(PAGE) });
      if (labelSelector !== undefined) query.set("labelSelector", labelSelector);
      if (token !== "") query.set("continue", token);
      const answer = await this.#send("GET", `${this.#pathOf(resource)}?${query.toString()}`);
      // What a list stands at is kept for minutes only; then it is begun anew.
      if (answer.status === GONE && token !== "") {
        found.length = 0;
        token = "";
        continue;
      }
      this.#refuse(answer, "list", resource);
      const page = JSON.parse(answer.body.toString("utf8")) as Page<T>;
      found.push(...(page.items ?? []));
      token = page.metadata?.continue ?? "";
      if (token === "") return found.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    }
  }

  /** One object; undefined where there is none of this name. @throws as {@link list}. */
  async get<T>(resource: Resource, name: string, part?: "scale"): Promise<T | undefined> {
    const path = `${this.#pathOf(resource)}/${encodeURIComponent(name)}${part === undefined ? "" : `/${part}`}`;
    const answer = await this.#send("GET", path);
    if (answer.status === 404) return undefined;
    this.#refuse(answer, "get", part === undefined ? resource : `${resource}/${part}`);
    return JSON.parse(answer.body.toString("utf8")) as T;
  }

  /** Changes a part of an object, and returns what it is then. @throws as {@link list}. */
  async patchScale<T>(resource: Resource, name: string, replicas: number): Promise<T> {
    const path = `${this.#pathOf(resource)}/${encodeURIComponent(name)}/scale`;
    const answer = await this.#send("PATCH", path, { spec: { replicas } });
    this.#refuse(answer, "patch", `${resource}/scale`);
    return JSON.parse(answer.body.toString("utf8")) as T;
  }

  #pathOf(resource: Resource): string {
    return `/${GROUPS[resource]}/namespaces/${encodeURIComponent(this.namespace)}/${resource}`;
  }

  #refuse({ status, body }: Answer, verb: string, resource: string): void {
    if (status >= 200 && status < 300) return;
    const said = saidBy(body);
    if (status === 401) {
      throw new Failure("source/unreadable", `the cluster at ${this.server} does not accept who Chatkeep is`, {
        hint:
          this.address.from === "pod"
            ? `It said: ${said}. Is the service account's token mounted, and the account still there?`
            : `It said: ${said}. Log in again, or correct the kubeconfig.`,
      });
    }
    if (status === 403) {
      throw new Failure(
        "source/unreadable",
        `Chatkeep may not ${verb} ${resource} in the namespace '${this.namespace}'`,
        {
          hint: `It said: ${said}. deploy/kubernetes/${resource.endsWith("/scale") ? "scale" : "rbac"}.yaml grants what is needed. Is '${this.namespace}' the namespace that Chatwoot is in? 'namespace' under 'installation' names another.`,
        },
      );
    }
    throw new Failure("program/failed", `the cluster refused to ${verb} ${resource} with status ${status}`, {
      hint: `It said: ${said}`,
    });
  }

  async #send(method: string, path: string, content?: unknown): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#sendOnce(method, path, content);
      if (!BUSY.has(answer.status) || attempt === ATTEMPTS) return answer;
      await systemClock.sleep(Math.min(answer.retryAfterMs ?? attempt * 1000, PATIENCE_MS), this.#signal);
    }
  }

  async #sendOnce(method: string, path: string, content: unknown): Promise<Answer> {
    try {
      const response = await this.#request(method, path, content);
      const retryAfterMs = parseRetryAfter(response.headers["retry-after"]);
      return { status: response.statusCode ?? 0, retryAfterMs, body: await buffer(response) };
    } catch (cause) {
      this.#signal.throwIfAborted();
      if (isFailure(cause)) throw cause;
      throw new Failure("program/failed", `the cluster at ${this.server} does not answer: ${messageOf(cause)}`, {
        hint:
          this.address.from === "pod"
            ? "Does a network policy keep this pod from the cluster's own API?"
            : `Is it the one that is meant? It is named by ${this.address.files.join(", ")}.`,
        cause,
      });
    }
  }

  /** Adds the headers and certificates of who we are, which a program may have to be asked for. */
  async #logIn(options: RequestOptions): Promise<void> {
    try {
      await this.#config.applyToHTTPSOptions(options);
    } catch (cause) {
      throw new Failure("source/unreadable", `cannot log in to the cluster at ${this.server}: ${messageOf(cause)}`, {
        hint:
          this.address.from === "pod"
            ? "Is the service account's token mounted?"
            : `${this.address.files.join(", ")} says how; 'kubectl auth whoami' tries the same.`,
        cause,
      });
    }
  }

  async #request(method: string, path: string, content: unknown): Promise<IncomingMessage> {
    const options: RequestOptions = {
      method,
      signal: this.#signal,
      timeout: LIMITS.clusterAnswerMs,
      headers: {
        Accept: "application/json",
        ...(content === undefined ? {} : { "Content-Type": "application/merge-patch+json" }),
      },
    };
    await this.#logIn(options);
    const send = this.server.startsWith("https:") ? https().request : http().request;
    return await new Promise<IncomingMessage>((resolve, reject) => {
      const request = send(`${this.server}${path}`, options, resolve);
      request.on("timeout", () => request.destroy(new Error("it fell silent")));
      request.on("error", reject);
      request.end(content === undefined ? undefined : JSON.stringify(content));
    });
  }
}

/** The `message` of a `Status`, or what else stands there. */
function saidBy(body: Buffer): string {
  const text = body.toString("utf8").trim();
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === "string" ? message : text.slice(0, 200);
  } catch {
    return text.slice(0, 200);
  }
}

/** What Kubernetes calls the namespace where none is named. */
const USUAL_NAMESPACE = "default";

/**
 * Finds out how a cluster is spoken to; nothing is asked of it yet.
 * @param options.namespace The one that is meant; without it that of the pod, or of the kubeconfig's context.
 * @throws Failure `source/unreadable` when the service account or the kubeconfig cannot be read, or names no cluster.
 */
export async function openCluster(
  address: ClusterAddress,
  { namespace, signal }: { namespace?: string | undefined; signal: AbortSignal },
): Promise<ClusterApi> {
  // Large, and needed for this kind of installation alone.
  const { KubeConfig } = await import("./kube-config.ts");
  const config = new KubeConfig();
  if (address.from === "pod") {
    const own = await readAccount(address, config);
    return new ClusterApi(address, config, { namespace: namespace ?? own, server: address.server, signal });
  }
  const [first = "", ...others] = address.files;
  try {
    config.loadFromFile(first);
    for (const file of others) {
      const more = new KubeConfig();
      more.loadFromFile(file);
      // The first that names a current context is right, as kubectl has it.
      config.mergeConfig(more, config.getCurrentContext() !== undefined);
    }
  } catch (cause) {
    throw new Failure(
      "source/unreadable",
      `cannot read the kubeconfig ${address.files.join(", ")}: ${messageOf(cause)}`,
      {
        hint: "KUBECONFIG names it, or else it is ~/.kube/config. 'kubectl config view' shows what it says.",
        cause,
      },
    );
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    throw new Failure(
      "source/unreadable",
      `the kubeconfig ${address.files.join(", ")} has no current context with a cluster`,
      {
        hint: "Choose one: kubectl config use-context NAME.",
      },
    );
  }
  const chosen = config.getContextObject(config.getCurrentContext())?.namespace;
  return new ClusterApi(address, config, {
    namespace: namespace ?? chosen ?? USUAL_NAMESPACE,
    server: cluster.server,
    signal,
  });
}

/** Lets the client take the pod's own account, and returns the namespace of it. */
async function readAccount(
  { server, accountFolder }: Extract<ClusterAddress, { from: "pod" }>,
  config: KubeConfig,
): Promise<string> {
  const [tokenFile, caFile] = [join(accountFolder, "token"), join(accountFolder, "ca.crt")];
  try {
    const [namespace] = await Promise.all([
      readFile(join(accountFolder, "namespace"), "utf8"),
      readFile(tokenFile),
      readFile(caFile),
    ]);
    config.loadFromOptions({
      clusters: [{ name: "cluster", server, caFile, skipTLSVerify: false }],
      users: [{ name: "account", authProvider: { name: "tokenFile", config: { tokenFile } } }],
      contexts: [{ name: "pod", cluster: "cluster", user: "account", namespace: namespace.trim() }],
      currentContext: "pod",
    });
    return namespace.trim();
  } catch (cause) {
    throw new Failure("source/unreadable", `this pod's service account cannot be read: ${messageOf(cause)}`, {
      hint: `Its token, ca.crt and namespace should be in ${accountFolder}: give the pod 'serviceAccountName: chatkeep', and do not set 'automountServiceAccountToken: false'.`,
      cause,
    });
  }
}
