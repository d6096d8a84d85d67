/** Which containers of an engine are Chatwoot's, what each of them does, and which belong together. */
import { resolve } from "node:path";
import { mapConcurrent } from "../../base/concurrent.ts";
import { LIMITS } from "../../base/limits.ts";
import type { ContainerDetails } from "../../system/container-details.ts";
import type { EngineApi } from "../../system/engine-api.ts";
import { isChatwootProcess, isPassingCommand, isWorkerCommand } from "../recognition.ts";

export interface Container {
  details: ContainerDetails;
  /** Without the slash. */
  name: string;
  env: ReadonlyMap<string, string>;
  labels: Readonly<Record<string, string>>;
  /** Names that others know it by, beside those that it is inspected with. */
  aliases?: readonly string[];
  /** Its address on this machine, where those of its networks are good only inside them. */
  address?: string | undefined;
  /** Ports that a Swarm publishes for it, by its own. */
  meshPorts?: ReadonlyMap<number, number>;
  /** It stands for a Swarm's service that is scaled to none, which is started with so many tasks. */
  idleTasks?: number;
}

/** Chatwoot's containers that were started together. */
export interface Group {
  /** Undefined where no Compose made them. */
  project: string | undefined;
  /** Those that answer browsers. Where it cannot be told what a container does, it is taken for one of these. */
  web: Container[];
  worker: Container[];
}

const COMPOSE = "com.docker.compose";
const SWARM_SERVICE = "com.docker.swarm.service.name";

/** The Compose project, or the stack of a Swarm. */
export function projectOf({ labels }: Container): string | undefined {
  return labels[`${COMPOSE}.project`] ?? labels["com.docker.stack.namespace"];
}

export function serviceOf({ labels, name }: Container): string {
  return labels[`${COMPOSE}.service`] ?? labels[SWARM_SERVICE] ?? name;
}

export function composeLabel({ labels }: Container, name: string): string | undefined {
  return labels[`${COMPOSE}.${name}`];
}

/** `a.yml,b.yml`; relative ones, as version 1 has written them, are in the project's folder. */
export function labelledPaths(container: Container, label: string): string[] {
  const folder = composeLabel(container, "project.working_dir") ?? "/";
  return (composeLabel(container, label) ?? "")
    .split(",")
    .map((path) => path.trim())
    .filter((path) => path !== "" && path !== "-")
    .map((path) => resolve(folder, path));
}

/** All containers of the engine, running or not, in the order of their names. */
export async function readContainers(engine: EngineApi, { signal }: { signal: AbortSignal }): Promise<Container[]> {
  const listed = (await engine.ask<{ Id: string }[]>("/containers/json?all=1")) ?? [];
  const inspected = await mapConcurrent(
    listed,
    LIMITS.smallReads,
    async ({ Id }) => await engine.ask<ContainerDetails>(`/containers/${Id}/json`),
    { signal },
  );
  // One that went while we looked is not there.
  const containers = inspected.filter((details) => details !== undefined).map(asContainer);
  return containers.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What is read of a container. */
export function asContainer(details: ContainerDetails): Container {
  return {
    details,
    name: details.Name.replace(/^\//, ""),
    env: environmentOf(details.Config.Env ?? []),
    labels: details.Config.Labels ?? {},
  };
}

function environmentOf(lines: readonly string[]): Map<string, string> {
  return new Map(
    lines
      .filter((line) => line.indexOf("=") > 0)
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

function commandOf({ details: { Config } }: Container): string {
  return [...(Config.Entrypoint ?? []), ...(Config.Cmd ?? [])].join(" ");
}

/** Made by `docker compose run` for one command. */
export function isOneOff(container: Container): boolean {
  return composeLabel(container, "oneoff")?.toLowerCase() === "true";
}

export function isChatwoot(container: Container): boolean {
  if (isOneOff(container)) return false;
  return isChatwootProcess({
    image: container.details.Config.Image,
    command: commandOf(container),
    env: container.env,
  });
}

/** A task of a Swarm service: stopped, it is started again by whoever manages it. */
export function isSwarmTask({ labels }: Container): boolean {
  return labels[SWARM_SERVICE] !== undefined;
}

/** Chatwoot's containers, by Compose project; those without one by the secret that they share. */
export function groupChatwoot(containers: readonly Container[]): Group[] {
  const ours = containers.filter((container) => isChatwoot(container) && !isPassingCommand(commandOf(container)));
  const groups = Map.groupBy(
    ours,
    (container) => projectOf(container) ?? `\0${container.env.get("SECRET_KEY_BASE") ?? container.name}`,
  );
  return [...groups.values()].map((members) => {
    const worker = members.filter((container) => isWorkerCommand(commandOf(container)));
    const web = members.filter((container) => !worker.includes(container));
    const [first] = members;
    return { project: first === undefined ? undefined : projectOf(first), web, worker };
  });
}

/** The one that speaks for the others: the first web process, or else the first worker. */
export function leaderOf({ web, worker }: Group): Container | undefined {
  return web.find(({ details }) => details.State.Running) ?? web[0] ?? worker[0];
}
