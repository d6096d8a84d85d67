/**
 * Runs one command as a container, or a service of a Swarm, that is there would: with its image, environment, volumes and
 * networks, beside it, once. What `docker compose run --rm` does, without the files that it needs.
 */
import { systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ServiceDetails } from "./container-details.ts";
import { type EngineAddress, EngineApi } from "./engine-api.ts";
import { ownMark } from "./leftovers.ts";

export interface OneOff {
  readonly command: readonly string[];
  /** Added to what it is given. */
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface OneOffResult {
  readonly status: number;
  /** The last lines that it printed. */
  readonly lines: readonly string[];
}

/** What is taken over of a container. */
interface Model {
  Image: string;
  State: { Running: boolean; ExitCode: number };
  Config: {
    Env?: string[] | null;
    Entrypoint?: string[] | null;
    WorkingDir?: string;
    User?: string;
    Labels?: Record<string, string> | null;
  };
  HostConfig: Record<string, unknown> & { NetworkMode?: string };
  NetworkSettings: { Networks?: Record<string, unknown> | null };
}

const SETTLING_MS = 500;
/** Beside the one that it is made like. A second is never begun while one of this name runs. */
const SUFFIX = "-chatkeep-once";

/** Lines of an environment with others in place of those of their names. Pure. */
function withEnv(lines: readonly string[], env: OneOff["env"]): string[] {
  const kept = lines.filter((line) => !(line.slice(0, line.indexOf("=")) in env));
  return [...kept, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
}

/** Removes something also when the run was stopped. */
async function remove(address: EngineAddress, path: string): Promise<void> {
  const engine = new EngineApi(address, { signal: AbortSignal.timeout(LIMITS.engineAnswerMs) });
  await engine.tell("DELETE", path);
}

/** What is done about one that an earlier run left and that runs still: it is waited for until it ends, or stopped. */
export type LeftOver = "wait" | "stop";

interface Settling {
  readonly how: LeftOver;
  readonly signal: AbortSignal;
  /** Called where one runs still, before it is waited for or stopped. */
  readonly onFound?: () => void;
}

/** Sees to one that an earlier run left of {@link runLikeContainer}, and removes it. @throws Failure `program/failed`. */
export async function settleLikeContainer(
  address: EngineAddress,
  like: string,
  { how, signal, onFound }: Settling,
): Promise<void> {
  const engine = new EngineApi(address, { signal });
  const path = `/containers/${encodeURIComponent(`${like}${SUFFIX}`)}`;
  const found = await engine.ask<Model>(`${path}/json`);
  if (found === undefined) return;
  if (found.State.Running) {
    onFound?.();
    if (how === "stop") await engine.act(`${like}${SUFFIX}`, "stop");
    else await waitForContainer(engine, path, signal);
  }
  await remove(address, `${path}?force=1&v=1`);
}

/**
 * Runs it like a container. One that an earlier run left is waited for, and removed.
 * @throws Failure `program/failed` when there is no such container, or the engine refuses.
 */
export async function runLikeContainer(address: EngineAddress, like: string, once: OneOff): Promise<OneOffResult> {
  const engine = new EngineApi(address, once);
  const model = await engine.ask<Model>(`/containers/${encodeURIComponent(like)}/json`);
  if (model === undefined) throw new Failure("program/failed", `there is no container '${like}' any more`);
  const name = encodeURIComponent(`${like}${SUFFIX}`);
  const path = `/containers/${name}`;
  await settleLikeContainer(address, like, { how: "wait", signal: once.signal });
  const [first, ...others] = networksOf(model);
  await engine.tell("POST", `/containers/create?name=${name}`, bodyOf(model, first, once));
  try {
    for (const network of others) {
      await engine.tell("POST", `/networks/${encodeURIComponent(network)}/connect`, { Container: `${like}${SUFFIX}` });
    }
    await engine.tell("POST", `${path}/start`);
    const status = await waitForContainer(engine, path, once.signal);
    return { status, lines: await engine.lastLines(path, LIMITS.lastWordsLines) };
  } finally {
    await remove(address, `${path}?force=1&v=1`);
  }
}

/** None where it has another's network, or none of its own. */
function networksOf({ HostConfig: { NetworkMode = "" }, NetworkSettings }: Model): string[] {
  const isOwn = !/^(?:host|none|container:.*)$/.test(NetworkMode);
  return isOwn ? Object.keys(NetworkSettings.Networks ?? {}) : [];
}

function bodyOf({ Image, Config, HostConfig }: Model, network: string | undefined, { command, env }: OneOff): unknown {
  const { Env, Entrypoint, WorkingDir = "", User = "", Labels } = Config;
  return {
    Image,
    Env: withEnv(Env ?? [], env),
    Entrypoint: Entrypoint ?? null,
    Cmd: command,
    WorkingDir,
    User,
    // Compose leaves such ones alone, and so does whoever looks for Chatwoot.
    Labels: { ...Labels, "com.docker.compose.oneoff": "True", "chatkeep.owner": ownMark() },
    HostConfig: {
      ...HostConfig,
      PortBindings: {},
      PublishAllPorts: false,
      RestartPolicy: { Name: "no" },
      AutoRemove: false,
      ContainerIDFile: "",
      ...(network === undefined ? {} : { NetworkMode: network }),
    },
    ...(network === undefined ? {} : { NetworkingConfig: { EndpointsConfig: { [network]: {} } } }),
  };
}

async function waitForContainer(engine: EngineApi, path: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    const now = await engine.ask<Model & { State: { Status?: string } }>(`${path}/json`);
    if (now === undefined) throw new Failure("program/failed", "somebody removed the container that ran the command");
    // One that was made and never started has nothing to wait for.
    if (!now.State.Running) return now.State.ExitCode;
    await systemClock.sleep(SETTLING_MS, signal);
  }
}

interface Task {
  Status?: { State?: string; Err?: string; ContainerStatus?: { ExitCode?: number } };
}

const ENDED = new Set(["complete", "failed", "rejected", "shutdown", "orphaned"]);

/** Sees to one that an earlier run left of {@link runLikeService}, and removes it. @throws Failure `program/failed`. */
export async function settleLikeService(
  address: EngineAddress,
  like: string,
  { how, signal, onFound }: Settling,
): Promise<void> {
  const engine = new EngineApi(address, { signal });
  const name = `${like}${SUFFIX}`;
  const path = `/services/${encodeURIComponent(name)}`;
  if ((await engine.ask(path)) === undefined) return;
  onFound?.();
  if (how === "wait") await waitForJob(engine, name, signal);
  // Its task is stopped with it.
  await remove(address, path);
  const filters = encodeURIComponent(JSON.stringify({ label: [`com.docker.swarm.service.name=${name}`] }));
  const until = systemClock.monotonic() + LIMITS.engineAnswerMs;
  while (((await engine.ask<unknown[]>(`/containers/json?filters=${filters}`)) ?? []).length > 0) {
    if (systemClock.monotonic() >= until) {
      throw new Failure("program/failed", `the task of the job '${name}' does not end`, {
        hint: `'docker ps --filter label=com.docker.swarm.service.name=${name}' shows it.`,
      });
    }
    await systemClock.sleep(SETTLING_MS, signal);
  }
}

/**
 * Runs it like a service of a Swarm, as a job of one task. One that an earlier run left is waited for, and removed.
 * @throws Failure `program/failed` when there is no such service, or the engine refuses.
 */
export async function runLikeService(address: EngineAddress, like: string, once: OneOff): Promise<OneOffResult> {
  const engine = new EngineApi(address, once);
  const model = await engine.ask<ServiceDetails>(`/services/${encodeURIComponent(like)}`);
  if (model === undefined) throw new Failure("program/failed", `there is no service '${like}' any more`);
  const name = `${like}${SUFFIX}`;
  const path = `/services/${encodeURIComponent(name)}`;
  await settleLikeService(address, like, { how: "wait", signal: once.signal });
  await engine.tell("POST", "/services/create", jobOf(model, name, once));
  try {
    const { status, why } = await waitForJob(engine, name, once.signal);
    return { status, lines: [...(await engine.lastLines(path, LIMITS.lastWordsLines)), ...why] };
  } finally {
    await remove(address, path);
  }
}

function jobOf({ Spec }: ServiceDetails, name: string, { command, env }: OneOff): unknown {
  const task = Spec.TaskTemplate ?? {};
  const { ContainerSpec = {} } = task;
  return {
    Name: name,
    Labels: { "chatkeep.owner": ownMark() },
    TaskTemplate: {
      ...task,
      ContainerSpec: { ...ContainerSpec, Args: command, Env: withEnv(ContainerSpec.Env ?? [], env) },
      RestartPolicy: { Condition: "none" },
    },
    Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } },
  };
}

async function waitForJob(
  engine: EngineApi,
  service: string,
  signal: AbortSignal,
): Promise<{ status: number; why: string[] }> {
  const filters = encodeURIComponent(JSON.stringify({ service: [service] }));
  for (;;) {
    const [task] = (await engine.ask<Task[]>(`/tasks?filters=${filters}`)) ?? [];
    const { State = "", Err = "", ContainerStatus } = task?.Status ?? {};
    if (State === "complete") return { status: 0, why: [] };
    if (ENDED.has(State)) return { status: ContainerStatus?.ExitCode || 1, why: Err === "" ? [] : [Err] };
    await systemClock.sleep(SETTLING_MS, signal);
  }
}
