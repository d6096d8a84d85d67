/** Docker or Podman on this machine, by their command lines. Nothing is ever pulled from a registry. */
import { messageOf } from "../base/errors.ts";
import { isFailure } from "../base/errors.ts";
import type { ContainerDetails, ImageDetails } from "./container-details.ts";
import { isMarkOver, ownMark } from "./leftovers.ts";
import { ownContainerId } from "./own-container.ts";
import { runProgram } from "./process.ts";

/** On every container that is ours: whose it is. */
const LABEL = "chatkeep.owner";

export interface Engine {
  /** `docker` or `podman`. */
  program: string;
  /** The engine runs as a user: numbers of users are others inside. */
  isRootless: boolean;
}

/** Why no container can be run. */
export interface NoEngine {
  why: string;
  remedy: string;
}

/** The engine that answers: Docker's before Podman. */
export async function findEngine({ signal }: { signal: AbortSignal }): Promise<Engine | NoEngine> {
  let said: NoEngine | undefined;
  for (const program of ["docker", "podman"]) {
    try {
      const { stdout, stderr } = await runProgram(program, ["info", "--format", "{{json .}}"], { signal });
      const info = readInfo(stdout.toString("utf8"));
      if (!isSilent(info)) return { program, isRootless: isRootless(info) };
      said ??= doesNotAnswer(program, info.ServerErrors?.[0] ?? stderr);
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (error.code === "program/missing") continue;
      said ??= doesNotAnswer(program, error.hint ?? messageOf(error));
    }
  }
  return said ?? { why: "neither docker nor podman is installed", remedy: "Install one of them, or another server." };
}

function doesNotAnswer(program: string, printed: string): NoEngine {
  return {
    why: `${program} does not answer: ${lastLine(printed)}`,
    remedy: `Start it, or run Chatkeep as a user that may use it.`,
  };
}

/** What `info` says: Docker's without an engine, too, which ends well all the same; Podman's has no `ID`. */
interface EngineInfo {
  ID?: string;
  ServerErrors?: string[] | null;
  SecurityOptions?: string[] | null;
  host?: { security?: { rootless?: boolean } };
}

function readInfo(text: string): EngineInfo {
  try {
    return JSON.parse(text) as EngineInfo;
  } catch {
    return {};
  }
}

function isSilent({ ID, ServerErrors }: EngineInfo): boolean {
  return ID === "" || (ServerErrors ?? []).length > 0;
}

function isRootless({ SecurityOptions, host }: EngineInfo): boolean {
  const options = SecurityOptions ?? [];
  return options.some((option) => option.includes("rootless")) || host?.security?.rootless === true;
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}

/** Whether this process runs in a container of that engine: then a folder of ours is no folder of its machine. */
export async function isWithin({ program }: Engine, { signal }: { signal: AbortSignal }): Promise<boolean> {
  const id = ownContainerId();
  if (id === undefined) return false;
  const { status } = await runProgram(program, ["container", "inspect", id], { signal, allowStatus: [1, 125] });
  return status === 0;
}

export interface Image {
  /** `sha256:…`: what is run, whatever its name stands for meanwhile. */
  id: string;
  /** As it was named, or as its container names it. */
  name: string;
  /** Its environment. */
  env: readonly string[];
}

/** An image that is on this machine; undefined when it is not. */
export async function findImage(
  { program }: Engine,
  name: string,
  { signal }: { signal: AbortSignal },
): Promise<Image | undefined> {
  const { status, stdout } = await runProgram(program, ["image", "inspect", name], { signal, allowStatus: [1, 125] });
  const [found] = status === 0 ? (JSON.parse(stdout.toString("utf8")) as ImageDetails[]) : [];
  if (found === undefined) return undefined;
  return asImage(found, name);
}

function asImage({ Id, Config }: ImageDetails, name: string): Image {
  const id = Id.startsWith("sha256:") ? Id : `sha256:${Id}`;
  return { id, name, env: Config?.Env ?? [] };
}

/** This machine, in every way that a configuration names it. */
const HERE = new Set(["localhost", "127.0.0.1", "::1"]);

/** An image of this machine whose environment has a line; undefined when there is none. */
export async function findImageWith(
  { program }: Engine,
  line: string,
  options: { signal: AbortSignal },
): Promise<Image | undefined> {
  const { stdout } = await runProgram(program, ["image", "ls", "--quiet", "--no-trunc"], options);
  const ids = [...new Set(stdout.toString("utf8").split("\n").filter(Boolean))];
  if (ids.length === 0) return undefined;
  const inspected = await runProgram(program, ["image", "inspect", ...ids], { ...options, allowStatus: [1, 125] });
  const images = JSON.parse(inspected.stdout.toString("utf8")) as ImageDetails[];
  const found = images.find(({ Config }) => Config?.Env?.includes(line) === true);
  return found === undefined ? undefined : asImage(found, found.RepoTags?.[0] ?? found.Id);
}

/** The image of the running container that answers at an address of this machine; undefined where none can be told. */
export async function findImageAt(
  engine: Engine,
  { host, port }: { host: string; port: number },
  options: { signal: AbortSignal },
): Promise<Image | undefined> {
  const { stdout } = await runProgram(engine.program, ["ps", "--quiet", "--no-trunc"], options);
  const ids = stdout.toString("utf8").split("\n").filter(Boolean);
  if (ids.length === 0) return undefined;
  const inspected = await runProgram(engine.program, ["inspect", ...ids], { ...options, allowStatus: [1, 125] });
  const containers = JSON.parse(inspected.stdout.toString("utf8")) as ContainerDetails[];
  const found = containers.find(({ NetworkSettings: network }) => {
    const published = Object.values(network?.Ports ?? {}).flatMap((bindings) => bindings ?? []);
    if (HERE.has(host)) return published.some(({ HostPort }) => Number(HostPort) === port);
    return Object.values(network?.Networks ?? {}).some((at) => at?.IPAddress === host);
  });
  if (found === undefined) return undefined;
  const image = await findImage(engine, found.Image, options);
  return image === undefined ? undefined : { ...image, name: found.Config.Image };
}

/** The arguments of `run` that mark a container as this process's own. */
export function ownContainer(): string[] {
  return ["--label", `${LABEL}=${ownMark()}`];
}

/** Removes the containers whose process is surely over. What cannot be removed is left: it is in nobody's way. */
export async function removeDeadContainers({ program }: Engine, { signal }: { signal: AbortSignal }): Promise<void> {
  const format = `{{.ID}} {{.Label "${LABEL}"}}`;
  const args = ["ps", "--all", "--no-trunc", "--filter", `label=${LABEL}`, "--format", format];
  const { status, stdout } = await runProgram(program, args, { signal, allowStatus: [1, 125] });
  if (status !== 0) return;
  for (const line of stdout.toString("utf8").split("\n")) {
    const [id, mark] = line.split(" ");
    if (id !== undefined && mark !== undefined && isMarkOver(mark)) await removeContainer(program, id, { signal });
  }
}

/** Ends a container at once and removes it with its volumes; one that is gone already is fine. */
export async function removeContainer(program: string, id: string, { signal }: { signal: AbortSignal }): Promise<void> {
  await runProgram(program, ["rm", "--force", "--volumes", id], { signal, allowStatus: [1, 125] });
}
