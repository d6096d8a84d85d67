/** Where Chatwoot's pods keep uploaded files, and where that is in Chatkeep's own pod. */
import { join } from "node:path";
import type { PodDetails, Volume, VolumeMount } from "../../system/cluster-details.ts";
import { expand } from "./environment.ts";
import { appFolder, type Member, mountAt, volumeNamed } from "./members.ts";

/** Where a container keeps uploaded files. */
export interface StoragePlace {
  member: Member;
  /** `lasting`: on a volume that outlives its pods. */
  kind: "lasting" | "ephemeral";
  /** For people: `the claim 'uploads'`, `an emptyDir`. */
  what: string;
  /** What tells its volume from others, as JSON. One for each pod of a StatefulSet that has claims of their own. */
  volumes: readonly string[];
  /** The folder in the volume. */
  path: string;
  /** Names of claims. */
  claims: readonly string[];
}

/** What a volume is, without the name that its pod has for it. */
function identityOf({ name: _name, ...source }: Volume): string {
  const { persistentVolumeClaim } = source;
  return JSON.stringify(persistentVolumeClaim === undefined ? source : claimIdentity(persistentVolumeClaim.claimName));
}

function claimIdentity(name: string): object {
  return { claim: name };
}

/** A mount's folder in its volume. */
function folderOf({ subPath, subPathExpr }: VolumeMount, env: ReadonlyMap<string, string>): string {
  return subPath ?? (subPathExpr === undefined ? "" : expand(subPathExpr, (name) => env.get(name)));
}

function describeVolume(volume: Volume): string {
  const { persistentVolumeClaim, hostPath } = volume;
  if (persistentVolumeClaim !== undefined) return `the claim '${persistentVolumeClaim.claimName}'`;
  if (hostPath !== undefined) return `the folder ${hostPath.path} of its node`;
  if (volume.emptyDir !== undefined) return "an emptyDir";
  const [kind = "unknown"] = Object.keys(volume).filter((key) => key !== "name");
  return kind === "ephemeral" ? "an ephemeral volume" : `a volume of the kind ${kind}`;
}

export function storagePlace(member: Member): StoragePlace {
  const folder = `${appFolder(member)}/storage`;
  const mount = mountAt(member.container, folder);
  if (mount === undefined)
    return { member, kind: "ephemeral", what: "the pod itself", volumes: [], path: "", claims: [] };
  const path = join(folderOf(mount, member.env), folder.slice(mount.mountPath.replace(/\/$/, "").length));
  const inside = path === "." ? "" : path.replace(/^\//, "");
  const volume = volumeNamed(member, mount.name);
  if (volume !== undefined) {
    const isPassing = volume.emptyDir !== undefined || volume.ephemeral !== undefined;
    const claim = volume.persistentVolumeClaim?.claimName;
    return {
      member,
      kind: isPassing ? "ephemeral" : "lasting",
      what: describeVolume(volume),
      volumes: [identityOf(volume)],
      path: inside,
      claims: claim === undefined ? [] : [claim],
    };
  }
  // A StatefulSet's own: each of its pods has one.
  const { workload } = member;
  const count = Math.max(1, workload.details.spec.replicas ?? 1);
  const claims = Array.from({ length: count }, (_, index) => `${mount.name}-${workload.name}-${index}`);
  return {
    member,
    kind: "lasting",
    what: `the ${claims.length === 1 ? "claim" : "claims"} ${claims.map((claim) => `'${claim}'`).join(", ")}`,
    volumes: claims.map((claim) => JSON.stringify(claimIdentity(claim))),
    path: inside,
    claims,
  };
}

/** The pod that this process runs in; undefined where it runs in none of this namespace. */
export function findOwnPod(
  pods: readonly PodDetails[],
  env: Readonly<Record<string, string | undefined>>,
): PodDetails | undefined {
  // A pod's host name is its own name, unless it uses its node's network: then the name has to be handed to it.
  const name = env["CHATKEEP_POD"] ?? env["HOSTNAME"] ?? "";
  return name === "" ? undefined : pods.find(({ metadata }) => metadata.name === name);
}

/** Where the folder of a volume is in Chatkeep's own pod; undefined where that does not mount it. */
function ownPath(own: PodDetails, volume: string, path: string): string | undefined {
  const names = (own.spec.volumes ?? []).filter((one) => identityOf(one) === volume).map(({ name }) => name);
  for (const { volumeMounts = [], env = [] } of own.spec.containers) {
    const given = new Map(env.map(({ name, value = "" }) => [name, value]));
    for (const mount of volumeMounts) {
      if (!names.includes(mount.name)) continue;
      const mounted = folderOf(mount, given).replace(/^\/+|\/+$/g, "");
      if (mounted === "" || mounted === path)
        return join(mount.mountPath, mounted === "" ? path : "").replace(/\/$/, "");
      if (path.startsWith(`${mounted}/`)) return join(mount.mountPath, path.slice(mounted.length));
    }
  }
  return undefined;
}

/** What of these places Chatkeep's pod sees, and what it does not. */
export function findOwnPlaces(
  places: readonly StoragePlace[],
  own: PodDetails | undefined,
): { roots: string[]; unseen: StoragePlace[] } {
  const roots = new Set<string>();
  const unseen: StoragePlace[] = [];
  for (const place of places.filter(({ kind }) => kind === "lasting")) {
    const found = place.volumes.map((volume) => (own === undefined ? undefined : ownPath(own, volume, place.path)));
    for (const path of found) if (path !== undefined) roots.add(path);
    if (found.includes(undefined)) unseen.push(place);
  }
  return { roots: [...roots], unseen };
}
