/** Where a server that Chatwoot names is reached from where Chatkeep runs: in the cluster, or outside. */
import { Failure } from "../../base/errors.ts";
import type { PodDetails, ServiceDetailsOfCluster } from "../../system/cluster-details.ts";
import type { Reached } from "../installation.ts";
import type { Space } from "./objects.ts";

export interface Position {
  space: Space;
  /** In a pod of the cluster, of whatever namespace. */
  isInside: boolean;
  /** Chatkeep's own pod, where it is in this namespace. */
  own: PodDetails | undefined;
}

const THIS_HOST = new Set(["localhost", "127.0.0.1", "::1"]);

/** The Service that a host's name stands for, written as `name`, `name.namespace` or with `.svc` and more behind. */
export function serviceNamed(host: string, { services, api }: Space): ServiceDetailsOfCluster | undefined {
  const [name = "", namespace = api.namespace, svc = "svc"] = host.replace(/\.$/, "").split(".");
  if (namespace !== api.namespace || svc !== "svc") return undefined;
  return services.find(({ metadata }) => metadata.name === name);
}

/** `name`, which is known in its own namespace, or what is known in all of them. */
export function hostOf(service: ServiceDetailsOfCluster, { space, own }: Position): string {
  const { name } = service.metadata;
  return own === undefined ? `${name}.${space.api.namespace}.svc` : name;
}

/**
 * Where `host:port`, as Chatwoot's environment has it, is from here. What is no name of the cluster's is taken to be the same
 * from everywhere.
 * @throws Failure `database/unreachable` that says what to do.
 */
export function reach(host: string, port: number, position: Position): Reached {
  if (host.startsWith("/") || THIS_HOST.has(host)) return reachBeside(host, port, position);
  const { space, isInside } = position;
  const { namespace } = space.api;
  const service = serviceNamed(host, space);
  if (service === undefined) return reachElsewhere(host, port, position);
  const { name } = service.metadata;
  const { type, externalName = "" } = service.spec;
  if (type === "ExternalName" && externalName !== "")
    return { host: externalName, port, through: `the Service ${name}, which stands for ${externalName}` };
  if (isInside) return { host: hostOf(service, position), port, through: `the Service ${name}` };
  throw new Failure(
    "database/unreachable",
    `the server '${host}' is the Service ${name} of the namespace '${namespace}', which is reached inside the cluster only`,
    { hint: `Run Chatkeep in the cluster; or, ${howToForward(`service/${name}`, port, namespace)}` },
  );
}

function howToForward(target: string, port: number, namespace: string): string {
  return `while Chatkeep runs, forward the port: kubectl --namespace ${namespace} port-forward ${target} ${port}:${port}, and name 'database-url: postgresql://USER:PASSWORD@127.0.0.1:${port}/DATABASE' under 'installation'.`;
}

/** What is in Chatwoot's own pod: a proxy to a managed database, mostly. */
function reachBeside(host: string, port: number, { own, isInside }: Position): Reached {
  // A pod with such a proxy of its own has it in the same place.
  if (own !== undefined && own.spec.containers.length > 1) return { host, port };
  throw new Failure(
    "database/unreachable",
    `Chatwoot reaches its server at ${host}, inside its own pod, which ${isInside ? "Chatkeep's pod" : "this machine"} is not`,
    {
      hint: "Is it a proxy to a managed database? Give Chatkeep's pod the same, or name the server itself as 'database-url' under 'installation'.",
    },
  );
}

function reachElsewhere(host: string, port: number, { space, isInside }: Position): Reached {
  const { namespace } = space.api;
  const isAddress = host.includes(":") || /^[\d.]+$/.test(host);
  const [name = "", other = "", svc = ""] = host.split(".");
  if (!host.includes(".") && !isAddress) {
    throw new Failure(
      "database/unreachable",
      `Chatwoot's environment names the server '${host}', and no Service of the namespace '${namespace}' has that name`,
      { hint: `Was it removed? 'kubectl --namespace ${namespace} get services' lists those that are there.` },
    );
  }
  if (isInside || isAddress || svc !== "svc") return { host, port };
  throw new Failure("database/unreachable", `the server '${host}' is reached inside the cluster only`, {
    hint: `Run Chatkeep in the cluster; or, ${howToForward(`service/${name}`, port, other)}`,
  });
}
