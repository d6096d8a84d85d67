/** Where a server that a container names is reached from this machine. */
import { Failure } from "../../base/errors.ts";
import type { ContainerDetails } from "../../system/container-details.ts";
import type { Reached } from "../installation.ts";
import { type Container, isSwarmTask, projectOf, serviceOf } from "./containers.ts";
import { seenFrom } from "./inside.ts";
import { hostPath } from "./mounts.ts";

export interface Surrounding {
  /** Who asks for the server. */
  from: Container;
  /** All containers of the engine. */
  containers: readonly Container[];
  /** The engine's machine, where it is another one. */
  engineHost: string | undefined;
  /** A container's own address can be connected to: on Linux, where the engine is on this machine. */
  reachesAddresses: boolean;
  /** The container that asks from here, where Chatkeep itself runs in one of the engine's. */
  own?: Container | undefined;
}

export const THIS_HOST = new Set(["localhost", "127.0.0.1", "::1"]);
/** As an engine says "all addresses". */
const EVERYWHERE = new Set(["", "0.0.0.0", "::"]);

function modeOf({ details }: Container): string {
  return details.HostConfig?.NetworkMode ?? "";
}

function networksOf({
  details,
}: Container): [string, NonNullable<NonNullable<ContainerDetails["NetworkSettings"]>["Networks"]>[string]][] {
  return Object.entries(details.NetworkSettings?.Networks ?? {});
}

/** Who lends a container its network: `network_mode: service:…`. */
function networkOwner(container: Container, containers: readonly Container[]): Container {
  const lender = /^container:(.+)$/.exec(modeOf(container))?.[1];
  if (lender === undefined) return container;
  return containers.find(({ details, name }) => details.Id === lender || name === lender) ?? container;
}

/** `link_container:alias`, as containers were joined before there were networks. */
function linkedAs(from: Container, host: string): string | undefined {
  const links = (from.details.HostConfig?.Links ?? []).map((link) => link.split(":"));
  const target = links.find(([, alias]) => alias?.split("/").at(-1) === host)?.[0];
  return target?.replace(/^\//, "");
}

/** The container that a name stands for, seen from another one. */
export function containerNamed(
  host: string,
  { from, containers }: Pick<Surrounding, "from" | "containers">,
): Container | undefined {
  const owner = networkOwner(from, containers);
  if (THIS_HOST.has(host)) return modeOf(owner) === "host" ? undefined : owner;
  const linked = linkedAs(from, host);
  // Every service of a Swarm that publishes a port is in its ingress network, and none finds another there.
  const mine = new Set(
    networksOf(owner)
      .map(([name]) => name)
      .filter((name) => name !== "ingress"),
  );
  const answering = containers.filter((container) => {
    if (container.name === linked) return true;
    return networksOf(container).some(([network, at]) => {
      if (!mine.has(network)) return false;
      const names = [
        ...(at?.Aliases ?? []),
        ...(at?.DNSNames ?? []),
        at?.IPAddress,
        container.name,
        serviceIn(from, container),
        ...(container.aliases ?? []),
      ];
      return names.includes(host);
    });
  });
  return answering.find(({ details }) => details.State.Running) ?? answering[0];
}

/** A service's name is known inside its own project. */
function serviceIn(from: Container, container: Container): string | undefined {
  const project = projectOf(from);
  return project !== undefined && project === projectOf(container) ? serviceOf(container) : undefined;
}

/** An `extra_hosts` entry; `host-gateway` is the engine's machine as the container sees it. */
function extraHost({ details }: Container, host: string): string | undefined {
  const entry = (details.HostConfig?.ExtraHosts ?? []).find(
    (line) => line.startsWith(`${host}:`) || line.startsWith(`${host}=`),
  );
  return entry?.slice(host.length + 1);
}

function gatewayOf(container: Container): string | undefined {
  return networksOf(container)
    .map(([, at]) => at?.Gateway ?? "")
    .find((gateway) => gateway !== "");
}

/**
 * The place of a container's port on this machine: published, or its address on a network.
 * @throws Failure `database/unreachable` that says what to start or to publish.
 */
export function placeOf(container: Container, port: number, around: Surrounding): Reached {
  const { name, details } = container;
  if (!details.State.Running) {
    throw new Failure("database/unreachable", `the container ${name}, which Chatwoot needs, is not running`, {
      hint: howToStart(container),
    });
  }
  const owner = networkOwner(container, around.containers);
  const here = networkHere(around);
  if (here !== undefined) return placeFromContainer({ container, owner, here }, port);
  if (modeOf(owner) === "host") return { host: around.engineHost ?? "127.0.0.1", port };
  const published = publishedAt(owner, port, around);
  if (published !== undefined) return published;
  if (owner.address !== undefined && around.reachesAddresses)
    return { host: owner.address, port, through: `the container ${name} on the machine's bridge` };
  const mesh = owner.meshPorts?.get(port);
  if (mesh !== undefined) {
    return { host: around.engineHost ?? "127.0.0.1", port: mesh, through: `port ${mesh}, which the Swarm publishes` };
  }
  for (const [network, at] of isSwarmTask(owner) ? [] : networksOf(owner)) {
    const address = at?.IPAddress ?? "";
    if (address !== "" && around.reachesAddresses)
      return { host: address, port, through: `the container ${name} on the network ${network}` };
  }
  throw new Failure(
    "database/unreachable",
    `port ${port} of the container ${name} cannot be reached from this machine`,
    {
      hint: howToPublish(container, port),
    },
  );
}

/** Whose network is ours; undefined where it is the machine's own. */
function networkHere({ own, containers }: Surrounding): Container | undefined {
  if (own === undefined) return undefined;
  const owner = networkOwner(own, containers);
  return modeOf(owner) === "host" ? undefined : owner;
}

/** As {@link placeOf}, from another container: by a network that both have, or a port that the machine opens to all. */
function placeFromContainer(
  { container, owner, here }: { container: Container; owner: Container; here: Container },
  port: number,
): Reached {
  if (owner === here) return { host: "127.0.0.1", port };
  const mine = new Set(networksOf(here).map(([name]) => name));
  for (const [network, at] of networksOf(owner)) {
    const address = at?.IPAddress ?? "";
    if (address !== "" && network !== "ingress" && mine.has(network))
      return { host: address, port, through: `the container ${container.name} on the network ${network}` };
  }
  const machine = gatewayOf(here);
  if (machine !== undefined) {
    if (modeOf(owner) === "host") return { host: machine, port, through: "this machine" };
    const mesh = owner.meshPorts?.get(port);
    if (mesh !== undefined) return { host: machine, port: mesh, through: `port ${mesh}, which the Swarm publishes` };
    const published = publishedAt(owner, port, { engineHost: machine });
    if (published !== undefined) return published;
  }
  const networks = networksOf(owner).map(([name]) => name);
  throw new Failure(
    "database/unreachable",
    `port ${port} of the container ${container.name} cannot be reached from Chatkeep's own container`,
    {
      hint: `They have no network in common: give Chatkeep's service a network of ${serviceOf(container)} (${networks.join(", ")}) under 'networks' in the Compose file.`,
    },
  );
}

/** What a person does about a container that does not run. */
export function howToStart(container: Container): string {
  const { name, idleTasks } = container;
  if (idleTasks !== undefined) return `Start it: docker service scale ${serviceOf(container)}=${idleTasks}`;
  if (isSwarmTask(container)) return `'docker service ps ${serviceOf(container)}' says why no task of it runs.`;
  return `Start it: docker start ${name}. 'docker logs ${name}' says why it stopped.`;
}

function howToPublish(container: Container, port: number): string {
  const service = serviceOf(container);
  return isSwarmTask(container)
    ? `Publish it, and close it to others by a firewall: docker service update --publish-add mode=host,published=${port},target=${port} ${service}`
    : `Publish it to this machine alone: add  ports: ["127.0.0.1:${port}:${port}"]  to the service ${service} in the Compose file, and run 'docker compose up --detach'.`;
}

/** The container whose network a server in a container is in; undefined where that is the machine's. */
export function ownNetworkOf(container: Container, containers: readonly Container[]): Container | undefined {
  const owner = networkOwner(container, containers);
  return modeOf(owner) === "host" ? undefined : owner;
}

/** The container that publishes a port of this machine, and which of its ports that is. */
export function publisherOf(
  port: number,
  containers: readonly Container[],
): { container: Container; port: number } | undefined {
  for (const container of containers) {
    for (const [own, bindings] of Object.entries(container.details.NetworkSettings?.Ports ?? {})) {
      const isIt = own.endsWith("/tcp") && (bindings ?? []).some(({ HostPort }) => Number(HostPort) === port);
      if (isIt) return { container, port: Number.parseInt(own, 10) };
    }
  }
  return undefined;
}

function publishedAt(
  owner: Container,
  port: number,
  { engineHost }: Pick<Surrounding, "engineHost">,
): Reached | undefined {
  const bindings = owner.details.NetworkSettings?.Ports?.[`${port}/tcp`] ?? [];
  // A port of `[::]` alone does not answer at 127.0.0.1: one that is published by IPv4, too, has a binding of its own.
  const byFamily = bindings.toSorted((a, b) => Number(a.HostIp.includes(":")) - Number(b.HostIp.includes(":")));
  for (const { HostIp, HostPort } of byFamily) {
    const isHere = THIS_HOST.has(HostIp);
    if (engineHost !== undefined && isHere) continue;
    const here = HostIp === "::" ? "::1" : "127.0.0.1";
    const host = EVERYWHERE.has(HostIp) ? (engineHost ?? here) : HostIp;
    return { host, port: Number(HostPort), through: `port ${HostPort}, which the container ${owner.name} publishes` };
  }
  return undefined;
}

/**
 * Where `host:port`, as a container's environment has it, is from here. What is no container of the engine is taken to be
 * the same from everywhere.
 * @throws Failure `database/unreachable` that says what to start or to publish.
 */
export function reach(host: string, port: number, around: Surrounding): Reached {
  if (host.startsWith("/")) return { host: reachSocket(host, around), port };
  const here = networkHere(around);
  const extra = extraHost(around.from, host);
  if (extra !== undefined) {
    const address =
      extra === "host-gateway" ? (around.engineHost ?? gatewayOf(here ?? around.from) ?? "127.0.0.1") : extra;
    return { host: address, port, through: `extra_hosts of the container ${around.from.name}` };
  }
  const container = containerNamed(host, around);
  if (container !== undefined) return placeOf(container, port, around);
  if (!host.includes(".") && !host.includes(":") && !THIS_HOST.has(host)) {
    throw new Failure(
      "database/unreachable",
      `Chatwoot's environment names the server '${host}', and no container of its networks has that name`,
      {
        hint: "Was it removed? 'docker compose up --detach' makes it again. If the name is known to this machine alone, give its address as 'database-url'.",
      },
    );
  }
  // Of Chatwoot on the machine's own network: the machine itself.
  if (here !== undefined && THIS_HOST.has(host)) return { host: gatewayOf(here) ?? host, port };
  return { host, port };
}

/** A folder with a socket, which a mount may bring to this machine. */
function reachSocket(folder: string, { from, own }: Surrounding): string {
  const place = hostPath(from, folder);
  const here = place === undefined || own === undefined ? place : seenFrom(own, place);
  if (here !== undefined) return here;
  throw new Failure(
    "database/unreachable",
    `Chatwoot reaches its database by a socket in ${folder} of the container ${from.name}, which this machine does not see`,
    {
      hint: "Mount that folder from this machine, or publish the server's port and name it as 'database-url'.",
    },
  );
}
