/** Whether a process of Chatwoot's runs, and what it said last. Nothing is changed. */
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { openCluster } from "../system/cluster-api.ts";
import type { PodDetails, ScaleDetails } from "../system/cluster-details.ts";
import type { ServiceDetails } from "../system/container-details.ts";
import { EngineApi } from "../system/engine-api.ts";
import { runProgram } from "../system/process.ts";
import { lastLinesOf, leftRunning, lookAtLeftRunning } from "./own-command.ts";
import { describeStep, type Step } from "./processes.ts";

export interface ProcessState {
  /** It is meant to run: whoever runs it keeps it running, or starts it again. */
  readonly isWanted: boolean;
  /** It runs at this moment. */
  readonly isUp: boolean;
  /** Another one as soon as it was started anew. */
  readonly mark: string;
  /** How many tasks or pods there are meant to be. */
  readonly count?: number;
  /** It has ended with this status, and nobody starts it again. */
  readonly status?: number;
}

interface Asked {
  signal: AbortSignal;
}

/** @returns undefined where only a person's own command is known, and it does not tell what became of what it started. */
export async function stateOf(step: Step, { signal }: Asked): Promise<ProcessState | undefined> {
  if (step.how === "container") return await stateOfContainer(step, signal);
  if (step.how === "service") return await stateOfService(step, signal);
  if (step.how === "scale") return await stateOfWorkload(step, signal);
  return step.how === "unit" ? await stateOfUnit(step.unit, signal) : await stateOfOwn(step);
}

/** A shell's statuses of what was ended by SIGHUP, SIGINT or SIGTERM. */
const ASKED_TO_END = new Set([129, 130, 143]);

async function stateOfOwn(step: Step): Promise<ProcessState | undefined> {
  const { pid, status } = (await lookAtLeftRunning(step)) ?? {};
  // One that ended well may have started others, and a command may end its own helpers.
  if (pid === undefined || status === 0 || ASKED_TO_END.has(status ?? 0)) return undefined;
  if (status === undefined) return { isWanted: true, isUp: true, mark: String(pid) };
  return { isWanted: false, isUp: false, mark: "", status };
}

/** That it runs no more, for people. Pure. */
export function describeEnd(step: Step, { status }: ProcessState): string {
  if (status === undefined) return `${describeStep(step)} has ended again`;
  return `what ${describeStep(step)} started has ended again, with status ${status}`;
}

interface RunState {
  State: { Running: boolean; Restarting?: boolean; StartedAt?: string };
}

const GONE: ProcessState = { isWanted: false, isUp: false, mark: "" };

async function stateOfContainer(step: Extract<Step, { how: "container" }>, signal: AbortSignal): Promise<ProcessState> {
  const engine = new EngineApi(step.engine, { signal });
  const found = await engine.ask<RunState>(`/containers/${encodeURIComponent(step.container)}/json`);
  if (found === undefined) return GONE;
  const { Running, Restarting = false, StartedAt = "" } = found.State;
  // One that ends again and again is said to run in between, too.
  return { isWanted: Running || Restarting, isUp: Running && !Restarting, mark: StartedAt };
}

interface Task {
  ID: string;
  Status?: { State?: string };
}

async function stateOfService(step: Extract<Step, { how: "service" }>, signal: AbortSignal): Promise<ProcessState> {
  const engine = new EngineApi(step.engine, { signal });
  const found = await engine.ask<ServiceDetails>(`/services/${encodeURIComponent(step.service)}`);
  if (found === undefined) return GONE;
  const count = found.Spec.Mode.Replicated?.Replicas ?? 0;
  const filters = encodeURIComponent(JSON.stringify({ service: [step.service] }));
  const tasks = (await engine.ask<Task[]>(`/tasks?filters=${filters}`)) ?? [];
  const running = tasks.filter(({ Status }) => Status?.State === "running").map(({ ID }) => ID);
  return {
    isWanted: count > 0,
    isUp: count > 0 && running.length >= count,
    mark: running.toSorted().join(),
    count,
  };
}

async function stateOfWorkload(step: Extract<Step, { how: "scale" }>, signal: AbortSignal): Promise<ProcessState> {
  const { cluster, namespace, resource, workload } = step;
  const api = await openCluster(cluster, { namespace, signal });
  const found = await api.get<ScaleDetails>(resource, workload, "scale");
  if (found === undefined) return GONE;
  const count = found.spec?.replicas ?? 0;
  const selector = found.status?.selector ?? "";
  const pods = selector === "" ? [] : await api.list<PodDetails>("pods", selector);
  const running = pods.filter(({ status }) => status?.phase === "Running");
  const restarts = running.map(({ metadata, status }) => {
    const times = (status?.containerStatuses ?? []).map(({ restartCount = 0 }) => restartCount);
    return `${metadata.name} ${times.join("+")}`;
  });
  return { isWanted: count > 0, isUp: count > 0 && running.length >= count, mark: restarts.toSorted().join(), count };
}

/** `failed` is one that ended by itself and stays down; Ruby's servers are that too after an ordinary stop. */
const DOWN = new Set(["inactive", "failed", "unknown", ""]);

async function stateOfUnit(unit: string, signal: AbortSignal): Promise<ProcessState> {
  const properties = ["ActiveState", "SubState", "ExecMainStartTimestampMonotonic"];
  const { stdout } = await runProgram("systemctl", ["show", `--property=${properties.join(",")}`, unit], { signal });
  const said = new Map(
    stdout
      .toString("utf8")
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const state = said.get("ActiveState") ?? "";
  return {
    isWanted: !DOWN.has(state),
    isUp: state === "active" && said.get("SubState") === "running",
    mark: said.get("ExecMainStartTimestampMonotonic") ?? "",
  };
}

/** The last lines that a process printed, oldest first; none where they cannot be had. They may hold secrets. */
export async function lastWords(step: Step, { signal }: Asked): Promise<string[]> {
  try {
    return await readWords(step, signal);
  } catch (error) {
    signal.throwIfAborted();
    // It is asked for to explain another failure, which counts more.
    if (!isFailure(error)) throw error;
    return [];
  }
}

async function readWords(step: Step, signal: AbortSignal): Promise<string[]> {
  const count = LIMITS.lastWordsLines;
  if (step.how === "container") {
    return await new EngineApi(step.engine, { signal }).lastLines(
      `/containers/${encodeURIComponent(step.container)}`,
      count,
    );
  }
  if (step.how === "service") {
    return await new EngineApi(step.engine, { signal }).lastLines(
      `/services/${encodeURIComponent(step.service)}`,
      count,
    );
  }
  if (step.how === "unit") {
    const args = [`--unit=${step.unit}`, `--lines=${count}`, "--no-pager", "--output=cat", "--quiet"];
    const { stdout } = await runProgram("journalctl", args, { signal });
    return stdout.toString("utf8").split("\n").filter(Boolean);
  }
  const left = leftRunning(step);
  if (left === undefined) return [];
  return [...left.said, ...(await lastLinesOf(left.printed))].slice(-LIMITS.lastWordsLines);
}

/** The command by which a person sees what it printed. */
export function howToRead(step: Step): string | undefined {
  if (step.how === "container") return `docker logs --tail 100 ${step.container}`;
  if (step.how === "service") return `docker service logs --tail 100 ${step.service}`;
  if (step.how === "unit") return `journalctl -u ${step.unit} -n 100`;
  const printed = leftRunning(step)?.printed;
  if (printed !== undefined) return `tail -n 100 '${printed}'`;
  if (step.how !== "scale") return undefined;
  const kind = step.resource === "deployments" ? "deployment" : "statefulset";
  return `kubectl --namespace ${step.namespace} logs --tail 100 ${kind}/${step.workload}`;
}
