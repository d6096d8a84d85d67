/**
 * Chatwoot as services of a Docker Swarm whose tasks run on this machine: CapRover, Easypanel, Dokploy, `docker stack`.
 * A kind of its own, because a task that is stopped is started again: services are scaled instead.
 */
import type { Finding } from "../../base/findings.ts";
import type { NetworkDetails, ServiceDetails } from "../../system/container-details.ts";
import type { EngineApi } from "../../system/engine-api.ts";
import { isFailure } from "../../base/errors.ts";
import { type Container, isSwarmTask, serviceOf } from "../compose/containers.ts";
import { type EngineKind, lookAtEngine } from "../compose/engine-look.ts";
import { findComposeFiles } from "../compose/files.ts";
import { containersOf, describeContainers, type Site } from "../compose/site.ts";
import type { MadeFile } from "../installation.ts";
import type { ProcessControl } from "../processes.ts";
import { containersOfIdle, isIdle, tasksOf } from "../swarm/idle-services.ts";
import type { Kind } from "./kind.ts";

/** Every task has an address on this bridge of its machine; those of the services' own networks are good only inside. */
const BRIDGE = "docker_gwbridge";

const SERVICES: EngineKind = {
  name: "swarm",
  lookedFor: () => "services of a Swarm there",
  async choose(containers, engine, { signal }) {
    const tasks = newestTasks(containers.filter(isSwarmTask));
    const services = new Map((await readServices(engine))?.map((service) => [service.Spec.Name, service]));
    const seen = new Set(tasks.map(serviceOf));
    const idle = [...services.values()].filter((service) => isIdle(service) && !seen.has(service.Spec.Name));
    const all = [...tasks, ...(await containersOfIdle(idle, engine, { signal }))];
    if (all.length === 0) return [];
    const bridge = await engine.ask<NetworkDetails>(`/networks/${BRIDGE}`);
    return all.map((task) => withService(task, services.get(serviceOf(task)), bridge));
  },
  whatOf: ({ group, leader }) =>
    group.project === undefined ? `the service ${serviceOf(leader)}` : `the stack '${group.project}'`,
  async waysOf(site, { machine }) {
    const { group, containers, engine, leader } = site;
    const members = [...group.web, ...group.worker];
    const services = await readServices(engine);
    return {
      files: await findComposeFiles(machine, members, containers),
      made: [describeContainers(containersOf(site)), describeServices(services ?? [], containersOf(site))],
      control: (some) => controlOf(site, some, services ?? []),
      ...(services === undefined
        ? {}
        : { migrate: { how: "service", engine: engine.address, service: serviceOf(leader) } as const }),
      findings: services === undefined ? [notManager()] : [],
    };
  },
};

/** Undefined on a machine that does not manage the Swarm: only a manager says what its services are. */
async function readServices(engine: EngineApi): Promise<ServiceDetails[] | undefined> {
  try {
    return await engine.ask<ServiceDetails[]>("/services");
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    return undefined;
  }
}

function notManager(): Finding {
  return {
    kind: "swarm-not-manager",
    level: "note",
    message: "this machine does not manage the Swarm, so its services can be neither described nor stopped from here",
    hint: "Tasks that run here are found and saved. Run Chatkeep on a manager that the tasks run on, if there is one.",
  };
}

function isBetter({ details: one }: Container, { details: other }: Container): boolean {
  if (one.State.Running !== other.State.Running) return one.State.Running;
  return (one.Created ?? "") > (other.Created ?? "");
}

/** Of each service the task that runs, or else the one that was made last. */
function newestTasks(tasks: readonly Container[]): Container[] {
  return [...Map.groupBy(tasks, serviceOf).values()].map((all) =>
    all.reduce((best, one) => (isBetter(one, best) ? one : best)),
  );
}

/** What the service and the bridge add to what the container says. */
function withService(
  task: Container,
  service: ServiceDetails | undefined,
  bridge: NetworkDetails | undefined,
): Container {
  const name = serviceOf(task);
  const networks = service?.Spec.TaskTemplate?.Networks ?? [];
  const ports = (service?.Endpoint?.Ports ?? []).flatMap(({ TargetPort, PublishedPort, Protocol = "tcp" }) =>
    Protocol === "tcp" && PublishedPort !== undefined ? [[TargetPort, PublishedPort] as const] : [],
  );
  const address = bridge?.Containers?.[task.details.Id]?.IPv4Address?.split("/")[0];
  const isStopped = service !== undefined && isIdle(service) && !task.details.State.Running;
  return {
    ...task,
    ...(isStopped ? { idleTasks: tasksOf(service) } : {}),
    aliases: [name, `tasks.${name}`, ...networks.flatMap(({ Aliases }) => Aliases ?? [])],
    address,
    meshPorts: new Map(ports),
  };
}

function controlOf(
  { engine }: Site,
  members: readonly Container[],
  services: readonly ServiceDetails[],
): ProcessControl | undefined {
  const counted = members.flatMap((member) => {
    const service = services.find(({ Spec }) => Spec.Name === serviceOf(member));
    return service?.Spec.Mode.Replicated === undefined ? [] : [service];
  });
  if (counted.length === 0) return undefined;
  const scale = (replicas: (service: ServiceDetails) => number) =>
    counted.map((service) => {
      return {
        how: "service",
        engine: engine.address,
        service: service.Spec.Name,
        replicas: replicas(service),
      } as const;
    });
  return { stop: scale(() => 0), start: scale(tasksOf) };
}

/** The services of some tasks as the Swarm keeps them: what they were deployed from is kept nowhere. */
function describeServices(services: readonly ServiceDetails[], containers: readonly Container[]): MadeFile {
  const names = new Set(containers.map(serviceOf));
  const described = services.filter(({ Spec }) => names.has(Spec.Name)).map(({ Spec }) => Spec);
  const ordered = described.toSorted((a, b) => (a.Name < b.Name ? -1 : 1));
  return { path: "services.json", text: `${JSON.stringify(ordered, null, 2)}\n` };
}

export const SWARM: Kind = {
  name: "swarm",
  look: async (settings, world) => await lookAtEngine(SERVICES, settings, world),
};
