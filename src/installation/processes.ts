/** Stopping and starting Chatwoot's processes, and seeing whether they are well: as values, which each kind gives. */
import { isFailure, messageOf } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { type ClusterAddress, openCluster } from "../system/cluster-api.ts";
import { type Scaling, scaleWorkload } from "../system/cluster-scale.ts";
import { EngineApi, type EngineAddress } from "../system/engine-api.ts";
import { runProgram } from "../system/process.ts";
import type { MigrateStep } from "./migration.ts";
import { startByCommand, type StartOptions } from "./own-command.ts";

/** One thing to do. */
export type Step =
  /** A service of systemd on this machine, and the folder in which units lie there. */
  | { how: "unit"; unit: string; action: "stop" | "start"; folder?: string }
  /** A person's own line, run by `/bin/sh`; it may hold a secret, and is told by its name in the configuration: `stop.web`. */
  | { how: "shell"; name: string; command: string }
  | { how: "container"; engine: EngineAddress; container: string; action: "stop" | "start" }
  /** A Swarm's, which starts every task again that is merely stopped. */
  | { how: "service"; engine: EngineAddress; service: string; replicas: number }
  /** A workload of a cluster, whose pods are made again likewise. */
  | ({ how: "scale"; cluster: ClusterAddress; namespace: string } & Scaling);

export interface ProcessControl {
  stop: readonly Step[];
  start: readonly Step[];
}

export type HealthCheck =
  /** The address of the web process, without a path. */
  { how: "http"; url: string } | { how: "shell"; command: string };

/** What is not known is absent. */
export interface Processes {
  web?: ProcessControl;
  worker?: ProcessControl;
  health?: HealthCheck;
  /** How Chatwoot's own migrations are run there. */
  migrate?: MigrateStep;
}

/**
 * Does one thing.
 * @throws Failure `program/missing` or `program/failed` with what was said; `source/unreadable` without the right to.
 */
export async function runStep(step: Step, { signal }: { signal: AbortSignal }): Promise<void> {
  if (step.how === "container") await new EngineApi(step.engine, { signal }).act(step.container, step.action);
  else if (step.how === "service") await new EngineApi(step.engine, { signal }).scale(step.service, step.replicas);
  else if (step.how === "scale") {
    const { cluster, namespace, ...scaling } = step;
    await scaleWorkload(await openCluster(cluster, { namespace, signal }), scaling, { signal });
  } else if (step.how === "shell") await runProgram("/bin/sh", ["-c", step.command], { signal });
  else await runProgram("systemctl", [step.action, step.unit], { signal });
}

/**
 * Starts a process, by a person's own command so that it is known what becomes of it.
 * @param options.folder Where what that command prints is kept. @param options.progress Told when that command does not end.
 * @throws as {@link runStep}.
 */
export async function startStep(step: Step, options: StartOptions): Promise<void> {
  await (step.how === "shell" ? startByCommand(step, options) : runStep(step, options));
}

/** For people, and to know the same process again: `container acme-rails-1`. */
export function describeStep(step: Step): string {
  if (step.how === "container") return `container ${step.container}`;
  if (step.how === "service") return `service ${step.service}`;
  if (step.how === "scale") return `${step.resource === "deployments" ? "Deployment" : "StatefulSet"} ${step.workload}`;
  return step.how === "unit" ? step.unit : `command '${step.name}' of the configuration`;
}

export interface Health {
  isWell: boolean;
  /** What answered, or why it is not well. */
  detail: string;
  /** As `/api` says it. */
  version?: string;
}

/** Asks the web process: `/health`, which touches nothing, then `/api`, which touches database and Redis. */
export async function checkHealth(check: HealthCheck, { signal }: { signal: AbortSignal }): Promise<Health> {
  if (check.how === "shell") return await checkByCommand(check.command, signal);
  const base = check.url.replace(/\/+$/, "");
  try {
    const health = await ask(`${base}/health`, signal);
    if (!health.ok) return { isWell: false, detail: `${base}/health answers with status ${health.status}` };
    const api = await ask(`${base}/api`, signal);
    if (!api.ok) return { isWell: false, detail: `${base}/api answers with status ${api.status}` };
    return judgeApi(base, await api.json());
  } catch (error) {
    signal.throwIfAborted();
    return { isWell: false, detail: `${base} does not answer: ${reasonOf(error)}` };
  }
}

async function ask(url: string, signal: AbortSignal): Promise<Response> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.healthAnswerMs)]);
  // As the proxy in front of it says it: with FORCE_SSL Rails sends everybody else to https.
  const headers = { accept: "application/json", "x-forwarded-proto": "https" };
  return await fetch(url, { signal: patience, redirect: "manual", headers });
}

/** Chatwoot's `/api`: `{ version, timestamp, queue_services, data_services }`, the last two `ok` or `failing`. */
function judgeApi(base: string, said: unknown): Health {
  if (typeof said !== "object" || said === null) return { isWell: false, detail: `${base}/api is no Chatwoot's` };
  const version = "version" in said && typeof said.version === "string" ? { version: said.version } : {};
  const failing = [
    ["data_services", "the database"],
    ["queue_services", "Redis"],
  ]
    .filter(([name = ""]) => (said as Record<string, unknown>)[name] === "failing")
    .map(([, what]) => what);
  if (failing.length > 0) {
    return { isWell: false, detail: `${base}/api says that it cannot reach ${failing.join(" and ")}`, ...version };
  }
  return { isWell: true, detail: base, ...version };
}

async function checkByCommand(command: string, signal: AbortSignal): Promise<Health> {
  try {
    await runProgram("/bin/sh", ["-c", command], { signal });
    return { isWell: true, detail: "the command 'health' of the configuration" };
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    return {
      isWell: false,
      detail: `the command 'health' of the configuration failed: ${error.hint ?? error.message}`,
    };
  }
}

/** `fetch` hides the reason in the cause. */
function reasonOf(error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  return messageOf(cause ?? error);
}
