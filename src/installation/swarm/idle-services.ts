/** Services of a Swarm that are scaled to none. Their containers are gone, so the service says what they would be. */
import { mapConcurrent } from "../../base/concurrent.ts";
import { LIMITS } from "../../base/limits.ts";
import type {
  ContainerDetails,
  ContainerMount,
  ContainerNetwork,
  ImageDetails,
  NetworkDetails,
  ServiceDetails,
  ServiceMount,
  VolumeDetails,
} from "../../system/container-details.ts";
import { type EngineApi, tasksBefore } from "../../system/engine-api.ts";
import { asContainer, type Container } from "../compose/containers.ts";

/** Where no service says how many tasks it had. */
const USUAL_TASKS = 1;

/** Whether a service of which tasks are counted is meant to have none. */
export function isIdle({ Spec }: ServiceDetails): boolean {
  return Spec.Mode.Replicated !== undefined && (Spec.Mode.Replicated.Replicas ?? 0) === 0;
}

/** How many tasks a service has when it is started: never none. */
export function tasksOf(service: ServiceDetails): number {
  return service.Spec.Mode.Replicated?.Replicas || (tasksBefore(service) ?? USUAL_TASKS);
}

/**
 * Containers that stand for those of idle services: with the image, environment, volumes and labels that a task would be given.
 * They have no files that could be read.
 */
export async function containersOfIdle(
  services: readonly ServiceDetails[],
  engine: EngineApi,
  { signal }: { signal: AbortSignal },
): Promise<Container[]> {
  const made = await mapConcurrent(
    services,
    LIMITS.smallReads,
    async (service) => asContainer(await detailsOf(service, engine)),
    { signal },
  );
  return made.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function detailsOf({ ID, Spec }: ServiceDetails, engine: EngineApi): Promise<ContainerDetails> {
  const { ContainerSpec: task = {}, Networks } = Spec.TaskTemplate ?? {};
  const named = task.Image ?? "";
  const image = await engine.ask<ImageDetails>(`/images/${encodeURIComponent(named)}/json`);
  const ofImage = image?.Config ?? {};
  // A command of the service's own leaves nothing of the image's arguments.
  const args = task.Args ?? (task.Command == null ? ofImage.Cmd : []);
  const networks = await Promise.all(
    (Networks ?? []).map(async ({ Target = "" }) => await nameOfNetwork(Target, engine)),
  );
  return {
    Id: ID,
    Name: `/${Spec.Name}`,
    Image: image?.Id ?? named,
    State: { Status: "scaled to none", Running: false },
    Config: {
      Image: named,
      Env: [...(ofImage.Env ?? []), ...(task.Env ?? [])],
      Entrypoint: task.Command ?? ofImage.Entrypoint ?? null,
      Cmd: args ?? null,
      Labels: {
        ...task.Labels,
        "com.docker.swarm.service.id": ID,
        "com.docker.swarm.service.name": Spec.Name,
      },
      WorkingDir: task.Dir ?? ofImage.WorkingDir ?? "",
    },
    HostConfig: { NetworkMode: "default" },
    Mounts: await Promise.all((task.Mounts ?? []).map(async (mount) => await placeOfMount(mount, engine))),
    NetworkSettings: { Networks: Object.fromEntries(networks.map((name): [string, ContainerNetwork] => [name, {}])) },
  };
}

async function nameOfNetwork(id: string, engine: EngineApi): Promise<string> {
  const found = await engine.ask<NetworkDetails>(`/networks/${encodeURIComponent(id)}`);
  return found?.Name ?? id;
}

/** A volume that is not on this machine has no place here. */
async function placeOfMount({ Type, Source = "", Target }: ServiceMount, engine: EngineApi): Promise<ContainerMount> {
  if (Type !== "volume" || Source === "") return { Type, Source, Destination: Target };
  const volume = await engine.ask<VolumeDetails>(`/volumes/${encodeURIComponent(Source)}`);
  return { Type, Name: Source, Source: volume?.Mountpoint ?? "", Destination: Target };
}
