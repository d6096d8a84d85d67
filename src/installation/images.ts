/** What the containers of a Compose project run, so that the same can run again after an upgrade that went wrong. */
import { join, resolve } from "node:path";
import { mapConcurrent } from "../base/concurrent.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ImageDetails } from "../system/container-details.ts";
import { EngineApi, type EngineAddress } from "../system/engine-api.ts";
import { runProgram } from "../system/process.ts";
import { type Container, isChatwoot, isOneOff, projectOf, readContainers, serviceOf } from "./compose/containers.ts";
import { composeCallOf, projectArguments, upArguments } from "./compose/up-command.ts";
import type { Installation } from "./installation.ts";
import { lookAt } from "./places.ts";

export interface ServiceImage {
  service: string;
  /** As the container names it: a tag, which may mean another image tomorrow. */
  name: string;
  /** The image's own id, `sha256:…`. */
  id: string;
  /** `name@sha256:…`, as a registry knows it; null for one that was made here. */
  digest: string | null;
  /** One of Chatwoot's own processes, and not its database or Redis. */
  isChatwoot: boolean;
  /** How many containers it has; absent where that was not noted. */
  count?: number;
  /** The names of the volumes in which it keeps PostgreSQL's data; absent where there are none. */
  dataVolumes?: string[];
}

/** A Compose project as its containers say it: plain JSON. */
export interface ComposeProject {
  engine: EngineAddress;
  name: string;
  folder: string;
  /** The Compose files, in order. */
  files: string[];
  /** Those that were named for the variables of the files; none where the usual `.env` was taken. */
  envFiles: string[];
  /** In the order of their services; of several containers of a service the first. */
  images: ServiceImage[];
}

/** Undefined for whatever is no Compose project. @throws Failure `program/failed` when the engine does not answer. */
export async function readComposeProject(
  { kind, choice, processes }: Pick<Installation, "kind" | "choice" | "processes">,
  { signal }: { signal: AbortSignal },
): Promise<ComposeProject | undefined> {
  if (kind !== "docker-compose" || choice === undefined || !("project" in choice)) return undefined;
  const step = [processes.web, processes.worker]
    .flatMap((one) => one?.start ?? [])
    .find(({ how }) => how === "container");
  if (step?.how !== "container") return undefined;
  const engine = new EngineApi(step.engine, { signal });
  const containers = (await readContainers(engine, { signal })).filter(
    (one) => projectOf(one) === choice.project && !isOneOff(one),
  );
  // Others may have been added with files of their own.
  const first = containers.find(isChatwoot) ?? containers[0];
  const call = first === undefined ? undefined : composeCallOf(first);
  if (call === undefined) return undefined;
  const images = await mapConcurrent(
    [...Map.groupBy(containers, serviceOf).values()],
    LIMITS.smallReads,
    async (members) => await imageOf(engine, members),
    { signal },
  );
  return {
    engine: step.engine,
    name: call.name,
    folder: call.folder,
    files: [...call.files],
    envFiles: [...call.envFiles],
    images: images.flatMap((image) => image ?? []).toSorted((a, b) => (a.service < b.service ? -1 : 1)),
  };
}

/** Of the containers of one service. */
async function imageOf(engine: EngineApi, members: readonly Container[]): Promise<ServiceImage | undefined> {
  const [container] = members;
  if (container === undefined) return undefined;
  const { Image: id, Config, Mounts } = container.details;
  const details = await engine.ask<ImageDetails>(`/images/${encodeURIComponent(id)}/json`);
  const digest = details?.RepoDigests?.[0] ?? null;
  const dataVolumes = (Mounts ?? []).flatMap(({ Type, Name, Destination }) =>
    Type === "volume" && Name !== undefined && /postgres|pgsql/.test(Destination) ? [Name] : [],
  );
  return {
    service: serviceOf(container),
    name: Config.Image,
    id,
    digest,
    isChatwoot: isChatwoot(container),
    count: members.length,
    ...(dataVolumes.length === 0 ? {} : { dataVolumes }),
  };
}

/** Those services that run another image than before, or are gone. */
export function movedServices(before: ComposeProject, now: ComposeProject | undefined): ServiceImage[] {
  return before.images.filter(({ service, id }) => now?.images.find((one) => one.service === service)?.id !== id);
}

/** The files that say what a project's containers are made of: Compose files, and those with variables for them. */
export function projectFiles({ folder, files, envFiles }: ComposeProject): string[] {
  return [...files, ...(envFiles.length > 0 ? envFiles : [join(folder, ".env")])].map((path) => resolve(folder, path));
}

/** Images that are no longer on the engine's machine. */
export async function goneImages(
  { engine: address }: ComposeProject,
  images: readonly ServiceImage[],
  { signal }: { signal: AbortSignal },
): Promise<ServiceImage[]> {
  const engine = new EngineApi(address, { signal });
  const looks = await mapConcurrent(
    images,
    LIMITS.smallReads,
    async ({ id }) => await engine.ask<ImageDetails>(`/images/${encodeURIComponent(id)}/json`),
    { signal },
  );
  return images.filter((_, at) => looks[at] === undefined);
}

/** Volumes with PostgreSQL's data that are no longer there, by name: an image that is run again would begin with empty ones. */
export async function goneData(
  { engine: address }: ComposeProject,
  images: readonly ServiceImage[],
  { signal }: { signal: AbortSignal },
): Promise<string[]> {
  const engine = new EngineApi(address, { signal });
  const gone: string[] = [];
  for (const name of images.flatMap(({ dataVolumes = [] }) => dataVolumes)) {
    if ((await engine.ask(`/volumes/${encodeURIComponent(name)}`)) === undefined) gone.push(name);
  }
  return gone;
}

/** A name of our own keeps an image from clean-ups that remove what has none. */
export async function keepImages(
  { engine: address, images }: ComposeProject,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const engine = new EngineApi(address, { signal });
  for (const { id } of images) await engine.tag(id, `chatkeep-guard:${id.replace(/^sha256:/, "").slice(0, 12)}`);
}

/**
 * Lets the names mean these images again, and makes the containers of them anew where they run another one.
 * @param options.isStarted false: containers that are made anew are not started.
 * @throws Failure `program/failed` with what Docker said, `program/missing` without `docker`.
 */
export async function runImages(
  project: ComposeProject,
  images: readonly ServiceImage[],
  { isStarted, signal }: { isStarted: boolean; signal: AbortSignal },
): Promise<void> {
  if (images.length === 0) return;
  const engine = new EngineApi(project.engine, { signal });
  for (const { id, name } of images) {
    // One that is named by its digest is that image, and cannot be given to another.
    if (!name.includes("@") && name !== id) await engine.tag(id, name);
  }
  await runCompose(project, upArguments(project, images, { isStarted }), { signal });
}

async function runCompose(
  { folder, engine }: ComposeProject,
  args: readonly string[],
  { signal }: { signal: AbortSignal },
): Promise<string> {
  const { stdout } = await runProgram("docker", args, { cwd: folder, env: engineEnvironment(engine), signal });
  return stdout.toString("utf8");
}

/** For `docker`, which asks the same engine. */
function engineEnvironment(address: EngineAddress): Record<string, string | undefined> {
  if (address.kind === "socket") return { DOCKER_HOST: `unix://${address.path}`, DOCKER_CONTEXT: undefined };
  return {
    DOCKER_HOST: `tcp://${address.host}:${address.port}`,
    DOCKER_CONTEXT: undefined,
    ...(address.certificates === undefined ? {} : { DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: address.certificates }),
  };
}

/**
 * What keeps the containers of these services from being made again as they are; undefined where nothing does: Docker's program with
 * Compose is here, the files are, and they name the images that the containers run, for which they may need variables of the shell
 * that they were started from.
 */
export async function remakeTrouble(
  project: ComposeProject,
  images: readonly ServiceImage[],
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  if (!(await isFolder(project.folder))) return `the project's folder ${project.folder} is not on this machine`;
  for (const { service, name } of images) {
    try {
      const said = await runCompose(project, [...projectArguments(project), "config", "--images", service], { signal });
      const named = said.split("\n").filter(Boolean);
      if (!named.includes(name)) {
        return `${service} runs ${name}, and by the Compose files as they are now it would run another image`;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error)) throw error;
      return error.code === "program/missing" ? error.message : `${error.message}. ${error.hint ?? ""}`.trim();
    }
  }
  return undefined;
}

async function isFolder(path: string): Promise<boolean> {
  return (await lookAt(path))?.isFolder === true;
}

/** What stands in the way of `docker compose`; undefined where it can be run. */
export async function composeTrouble({ signal }: { signal: AbortSignal }): Promise<string | undefined> {
  try {
    await runProgram("docker", ["compose", "version"], { signal });
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return error.message;
  }
}
