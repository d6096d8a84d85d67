/** Which workloads of a namespace are Chatwoot's, what each of them does, and which belong together. */
import type { ContainerSpec, Volume, VolumeMount } from "../../system/cluster-details.ts";
import { isChatwootProcess, isPassingCommand, isWorkerCommand, mayBeChatwoot } from "../recognition.ts";
import { decodeSecret, resolveEnvironment } from "./environment.ts";
import { helmReleaseOf, releaseOf, type Space, type Workload } from "./objects.ts";

/** A container of a workload that runs Chatwoot. */
export interface Member {
  /** The workload's name, and the container's where there are several of Chatwoot's in it. */
  name: string;
  workload: Workload;
  container: ContainerSpec;
  image: string;
  env: ReadonlyMap<string, string>;
  /** What its environment asks for and is not there. */
  lacking: readonly string[];
}

/** Chatwoot's workloads that were deployed together. */
export interface Group {
  /** Undefined where neither Helm nor a label has a name for it. */
  release: string | undefined;
  web: Member[];
  worker: Member[];
}

function commandOf({ command = [], args = [] }: ContainerSpec): string {
  return [...command, ...args].join(" ");
}

/** @throws Failure `source/unreadable` without the right to read an environment. */
async function readMembers(space: Space, named: string | undefined): Promise<Member[]> {
  const members: Member[] = [];
  for (const workload of space.workloads) {
    const { template } = workload.details.spec;
    // One that somebody names may have an image of any name, and leave to it what it runs.
    const isNamed = workload.name === named;
    const candidates = template.spec.containers.filter((container) => {
      const command = commandOf(container);
      if (isPassingCommand(command)) return false;
      return isNamed || mayBeChatwoot({ image: container.image ?? "", command });
    });
    const found: Member[] = [];
    for (const container of candidates) {
      const { image = "" } = container;
      const sources = { ...space, namespace: space.api.namespace, metadata: template.metadata };
      const { values, lacking } = await resolveEnvironment(container, sources);
      const isOurs = isChatwootProcess({ image, command: commandOf(container), env: values });
      if (!isOurs && !(isNamed && values.has("SECRET_KEY_BASE"))) continue;
      found.push({ name: workload.name, workload, container, image, env: values, lacking });
    }
    const isOnly = found.length === 1;
    members.push(
      ...found.map((member) => (isOnly ? member : { ...member, name: `${member.name}/${member.container.name}` })),
    );
  }
  return members;
}

/**
 * Chatwoot's workloads by their Helm release; those of none, by the secret that they share.
 * @param named One that somebody says is Chatwoot's.
 */
export async function findGroups(space: Space, named: string | undefined): Promise<Group[]> {
  const members = await readMembers(space, named);
  const groups = Map.groupBy(
    members,
    ({ workload, env, name }) =>
      `${helmReleaseOf(workload.details) ?? ""}\0${helmReleaseOf(workload.details) === undefined ? (env.get("SECRET_KEY_BASE") ?? name) : ""}`,
  );
  return [...groups.values()].map((all) => {
    const worker = all.filter(({ container }) => isWorkerCommand(commandOf(container)));
    const [release, ...others] = new Set(all.map(({ workload }) => releaseOf(workload.details)));
    return {
      release: others.length > 0 ? undefined : release,
      web: all.filter((member) => !worker.includes(member)),
      worker,
    };
  });
}

/** The one that speaks for the others: the first web process, or else the first worker. */
export function leaderOf({ web, worker }: Group): Member | undefined {
  return web.find(({ workload }) => workload.details.spec.replicas !== 0) ?? web[0] ?? worker[0];
}

export function membersOf({ web, worker }: Group): Member[] {
  return [...web, ...worker];
}

/** Chatwoot's folder in its container. */
export function appFolder({ container }: Member): string {
  const folder = container.workingDir ?? "";
  return folder === "" || folder === "/" ? "/app" : folder.replace(/\/$/, "");
}

/** The mount that a path in a container lies in; of several the innermost. */
export function mountAt({ volumeMounts = [] }: ContainerSpec, path: string): VolumeMount | undefined {
  return volumeMounts
    .filter(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath.replace(/\/$/, "")}/`))
    .toSorted((a, b) => b.mountPath.length - a.mountPath.length)[0];
}

export function volumeNamed({ workload }: Member, name: string): Volume | undefined {
  return workload.details.spec.template.spec.volumes?.find((volume) => volume.name === name);
}

/** The text of a `.env` that is mounted into Chatwoot's folder from a Secret or a ConfigMap; undefined where none is. */
export async function mountedEnvFile(member: Member, { named }: Space): Promise<string | undefined> {
  const path = `${appFolder(member)}/.env`;
  const mount = mountAt(member.container, path);
  const volume = mount === undefined ? undefined : volumeNamed(member, mount.name);
  if (mount === undefined || volume === undefined) return undefined;
  const inside = mount.mountPath === path ? (mount.subPath ?? ".env") : path.slice(mount.mountPath.length + 1);
  const { secret, configMap } = volume;
  const items = (secret ?? configMap)?.items;
  const key = items === undefined ? inside : items.find((item) => item.path === inside)?.key;
  if (key === undefined) return undefined;
  if (secret !== undefined) return decodeSecret((await named.secret(secret.secretName))?.data)?.[key];
  return configMap === undefined ? undefined : (await named.configMap(configMap.name))?.data?.[key];
}
