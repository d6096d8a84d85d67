/**
 * Chatwoot in containers of a Docker Engine (or Podman) on this machine: Docker Compose of either version, Portainer,
 * Coolify, or started by hand.
 */
import { type Container, isSwarmTask } from "../compose/containers.ts";
import { type EngineKind, lookAtEngine } from "../compose/engine-look.ts";
import { findComposeFiles } from "../compose/files.ts";
import { containersOf, describeContainers, type Site } from "../compose/site.ts";
import type { ProcessControl } from "../processes.ts";
import type { Kind } from "./kind.ts";

const COMPOSE: EngineKind = {
  name: "docker-compose",
  lookedFor: (where) => `containers of Chatwoot at ${where}`,
  choose: async (containers) => containers.filter((container) => !isSwarmTask(container)),
  whatOf({ group, leader }) {
    const coolify = leader.labels["coolify.name"] ?? leader.labels["coolify.serviceName"];
    if (group.project === undefined) return `the container ${leader.name}`;
    return `the Compose project '${group.project}'${coolify === undefined ? "" : ` (in Coolify: ${coolify})`}`;
  },
  async waysOf(site, { machine }) {
    const { group, containers } = site;
    return {
      files: await findComposeFiles(machine, [...group.web, ...group.worker], containers),
      made: [describeContainers(containersOf(site))],
      control: (members) => controlOf(site, members),
      migrate: { how: "container", engine: site.engine.address, container: site.leader.name },
      findings: [],
    };
  },
};

function controlOf({ engine }: Site, members: readonly Container[]): ProcessControl | undefined {
  if (members.length === 0) return undefined;
  const steps = (action: "stop" | "start") =>
    members.map(({ name }) => ({ how: "container", engine: engine.address, container: name, action }) as const);
  return { stop: steps("stop"), start: steps("start") };
}

export const DOCKER_COMPOSE: Kind = {
  name: "docker-compose",
  look: async (settings, world) => await lookAtEngine(COMPOSE, settings, world),
};
