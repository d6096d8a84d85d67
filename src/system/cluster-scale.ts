/** Stopping and starting a workload of a cluster: it is scaled, for pods that are merely stopped are made again. */
import { systemClock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { ClusterApi } from "./cluster-api.ts";
import type { PodDetails, ScaleDetails } from "./cluster-details.ts";

export interface Scaling {
  resource: "deployments" | "statefulsets";
  workload: string;
  replicas: number;
}

/** Between two looks at whether pods have ended. */
const SETTLING_MS = 250;
const ENDED = new Set(["Succeeded", "Failed"]);

/**
 * Lets a workload have so many pods. With none, waits until none runs.
 * @throws Failure `program/failed` when there is no such workload, its pods do not end, or somebody sets it back meanwhile;
 *   `source/unreadable` without the right to scale.
 */
export async function scaleWorkload(
  api: ClusterApi,
  { resource, workload, replicas }: Scaling,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const what = `the ${resource === "deployments" ? "Deployment" : "StatefulSet"} '${workload}'`;
  if ((await api.get<ScaleDetails>(resource, workload, "scale")) === undefined) {
    throw new Failure("program/failed", `there is no ${what.slice(4)} in the namespace '${api.namespace}' any more`, {
      hint: `'kubectl --namespace ${api.namespace} get ${resource}' lists those that are there.`,
    });
  }
  await api.patchScale(resource, workload, replicas);
  if (replicas > 0) return;
  const endMs = systemClock.monotonic() + LIMITS.podsEndMs;
  while (await isAnyLeft(api, { resource, workload, replicas }, what)) {
    if (systemClock.monotonic() > endMs) {
      throw new Failure("program/failed", `the pods of ${what} do not end`, {
        hint: `'kubectl --namespace ${api.namespace} get pods' shows them.`,
      });
    }
    await systemClock.sleep(SETTLING_MS, signal);
  }
}

/** Whether pods of it still run. @throws Failure `program/failed` when it is meant to have some again. */
async function isAnyLeft(api: ClusterApi, { resource, workload }: Scaling, what: string): Promise<boolean> {
  const now = await api.get<ScaleDetails>(resource, workload, "scale");
  const wanted = now?.spec?.replicas ?? 0;
  if (wanted > 0) {
    throw new Failure("program/failed", `somebody scaled ${what} back to ${wanted} while Chatkeep was stopping it`, {
      hint: "An autoscaler (KEDA) or a GitOps controller (Argo CD, Flux) does that: pause it, and try again.",
    });
  }
  const selector = now?.status?.selector ?? "";
  if (selector === "") return false;
  const pods = await api.list<PodDetails>("pods", selector);
  return pods.some(({ status }) => !ENDED.has(status?.phase ?? ""));
}
