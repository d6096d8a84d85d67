/** A namespace with Chatwoot, and looking into it as Chatkeep does: from its own pod, and from elsewhere. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Found, findInstallation, type InstallationSettings } from "../../src/installation/find.ts";
import type { WorkloadDetails } from "../../src/system/cluster-details.ts";
import {
  type ClusterWorld,
  type StandInCluster,
  type StandInOptions,
  startStandInCluster,
} from "../harness/stand-in-kubernetes.ts";
import { claim, ownPod, release, withClaim } from "./cluster-shapes.ts";

const { signal } = new AbortController();

/** The web Deployment. */
export function firstOf(world: ClusterWorld): WorkloadDetails {
  const [first] = world["deployments"] ?? [];
  assert(first !== undefined);
  return first as WorkloadDetails;
}

/** As from Chatkeep's own pod. */
export async function find(cluster: StandInCluster, settings: InstallationSettings = {}): Promise<Found> {
  return await findInstallation(settings, {
    signal,
    env: { ...cluster.podEnv, HOSTNAME: "chatkeep-1" },
    filesystemRoot: cluster.root,
  });
}

/** As from an administrator's machine. */
export async function findFromOutside(cluster: StandInCluster, settings: InstallationSettings = {}): Promise<Found> {
  const env = { KUBECONFIG: cluster.kubeconfig };
  return await findInstallation({ kind: "kubernetes", ...settings }, { signal, env, filesystemRoot: cluster.root });
}

export function kindsOf(findings: readonly { kind: string; level: string }[]): string[] {
  return findings.map(({ kind, level }) => `${kind} ${level}`);
}

export const UPLOADS = { name: "files", persistentVolumeClaim: { claimName: "uploads", readOnly: true } };

/** The chart with a claim for uploads, which Chatkeep's pod mounts too. */
export function wholeWorld(): ClusterWorld {
  const world = release(withClaim("uploads"));
  world["persistentvolumeclaims"]?.push(claim("uploads"));
  world["pods"]?.push(ownPod([UPLOADS], [{ name: "files", mountPath: "/uploads" }]));
  return world;
}

export async function startWhole(world = wholeWorld(), options: StandInOptions = {}): Promise<StandInCluster> {
  const cluster = await startStandInCluster(world, options);
  await mkdir(join(cluster.root, "uploads"));
  return cluster;
}
