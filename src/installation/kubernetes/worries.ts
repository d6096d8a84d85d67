/** What is worrying about a Chatwoot in a cluster. */
import { listSome } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { activeStorageService } from "../../chatwoot/environment.ts";
import type { PodDetails, ServiceDetailsOfCluster } from "../../system/cluster-details.ts";
import { differenceFinding, floatingTagFinding, knownPasswordFinding, publicFinding } from "../process-worries.ts";
import { databaseImageFindings, databaseVolumeFindings } from "./database-worries.ts";
import { appFolder, type Group, type Member, membersOf, mountAt } from "./members.ts";
import { describeWorkload, type Extras, podsOf, selects, type Space, type Workload } from "./objects.ts";
import type { StoragePlace } from "./storage.ts";

export interface Seen {
  group: Group;
  leader: Member;
  environment: ReadonlyMap<string, string>;
  space: Space;
  extras: Extras;
  places: readonly StoragePlace[];
  /** Those that Chatkeep's own pod does not mount. */
  unseen: readonly StoragePlace[];
  /** Chatkeep runs in this cluster. */
  isInside: boolean;
  /** The configuration names the folder of uploaded files. */
  isStorageNamed: boolean;
  /** The Service of the database; undefined where the server is outside of the namespace. */
  database: ServiceDetailsOfCluster | undefined;
  redis: ServiceDetailsOfCluster | undefined;
  /** Kinds of objects that may not be listed. */
  denied: readonly string[];
}

export function clusterFindings(seen: Seen): Finding[] {
  return [
    ...podFindings(seen),
    ...environmentLackFindings(seen),
    ...storageFindings(seen),
    ...unseenFindings(seen),
    ...databaseVolumeFindings(seen),
    ...databaseImageFindings(seen),
    ...publicFindings(seen),
    ...floatingTagFinding(membersOf(seen.group).map(({ image }) => image)),
    ...imageFindings(seen),
    ...knownPasswordFinding(seen.environment),
    ...differenceFindings(seen),
    ...scalingFindings(seen),
    ...deniedFindings(seen),
  ];
}

/** Workloads of Chatwoot's, each once. */
export function workloadsOf(members: readonly Member[]): Workload[] {
  return [...new Set(members.map(({ workload }) => workload))];
}

function isReady({ status }: PodDetails): boolean {
  return (status?.conditions ?? []).some(({ type, status: is }) => type === "Ready" && is === "True");
}

/** For people: why a pod is not ready. */
function reasonOf({ status }: PodDetails): string {
  const waiting = (status?.containerStatuses ?? []).flatMap(({ state }) => state?.waiting?.reason ?? []);
  const unscheduled = (status?.conditions ?? []).find(
    ({ type, status: is }) => type === "PodScheduled" && is === "False",
  );
  return (
    [...waiting, unscheduled?.reason, status?.reason, status?.phase].find((reason) => reason !== undefined) ?? "unknown"
  );
}

function podFindings({ group, space, database, redis }: Seen): Finding[] {
  const own = workloadsOf(membersOf(group)).map((workload) => {
    return {
      what: describeWorkload(workload),
      replicas: workload.details.spec.replicas,
      pods: podsOf(workload, space.pods),
    };
  });
  const servers = [database, redis].filter((service) => service?.spec.selector !== undefined);
  const behind = servers.map((service) => {
    const pods = space.pods.filter(({ metadata }) => selects(service?.spec.selector, metadata.labels));
    return { what: `the Service ${service?.metadata.name ?? ""}`, replicas: undefined, pods };
  });
  return [...own, ...behind].flatMap(({ what, replicas, pods }): Finding[] => {
    if (pods.some(isReady)) return [];
    const [first] = pods;
    const why = replicas === 0 ? "it is scaled to none" : first === undefined ? "it has none" : reasonOf(first);
    return [
      {
        kind: "pods-not-ready",
        level: "warning",
        subject: what,
        message: `no pod of ${what} is ready: ${why}`,
        hint:
          first === undefined
            ? `'kubectl --namespace ${space.api.namespace} get deployments,statefulsets' shows how many pods there are meant to be.`
            : `'kubectl --namespace ${space.api.namespace} describe pod ${first.metadata.name}' says why.`,
      },
    ];
  });
}

function environmentLackFindings({ group }: Seen): Finding[] {
  const lacking = membersOf(group).filter((member) => member.lacking.length > 0);
  if (lacking.length === 0) return [];
  const what = [...new Set(lacking.flatMap((member) => member.lacking))];
  return [
    {
      kind: "environment-incomplete",
      level: "warning",
      message: `the environment of ${listSome(lacking.map(({ name }) => name))} comes from what is not there: ${listSome(what)}`,
      hint: "Pods that run have what was there when they started; the next one does not start. Make it again, from an older restore point if need be.",
    },
  ];
}

/** Trap: the official chart mounts nothing at /app/storage, and new files go there unless it is told otherwise. */
function storageFindings({ places, environment, leader, space }: Seen): Finding[] {
  if (activeStorageService(environment) !== "local") return [];
  const findings: Finding[] = [];
  const folder = `${appFolder(leader)}/storage`;
  const passing = places.filter(({ kind }) => kind === "ephemeral");
  if (passing.length > 0) {
    const where = [...new Set(passing.map(({ what }) => what))].join(" and ");
    findings.push({
      kind: "storage-ephemeral",
      level: "alarm",
      message: `uploaded files are being lost: ${folder} of ${passing.map(({ member }) => member.name).join(" and ")} lies in ${where}, so they go with the pod, and no backup can reach them`,
      hint: `Copy out what is there (kubectl --namespace ${space.api.namespace} cp POD:${folder} ./storage). Then let files go to a bucket (ACTIVE_STORAGE_SERVICE), or mount one claim at ${folder} in web, worker and, read-only, Chatkeep. The official chart has no claim for them.`,
    });
  }
  const lasting = places.filter(({ kind }) => kind === "lasting");
  const kept = new Set(lasting.flatMap(({ volumes, path }) => volumes.map((volume) => `${volume}\0${path}`)));
  if (kept.size > 1) {
    findings.push({
      kind: "storage-split",
      level: "warning",
      message: `web and worker keep uploaded files in different places: ${[...new Set(lasting.map(({ what, path }) => (path === "" ? what : `${path} of ${what}`)))].join(", ")}`,
      hint: "Files that customers send are in the worker's, files of agents in the web process's, and neither sees the other's. Chatkeep saves those that its own pod mounts. Mount one claim in both, after copying the files of the other into it.",
    });
  }
  return findings;
}

/** Files that are safe where they are and cannot be read from here. */
function unseenFindings({ unseen, environment, isInside, isStorageNamed, space }: Seen): Finding[] {
  if (activeStorageService(environment) !== "local" || isStorageNamed || unseen.length === 0) return [];
  const what = [...new Set(unseen.map((place) => place.what))].join(" and ");
  const hint = isInside
    ? `Mount it in Chatkeep's pod, read-only, anywhere; it is found there by itself.${whereTo(unseen, space)}`
    : "Run Chatkeep in the cluster with that mounted; or name the folder as 'storage' under 'installation' where this machine has it mounted.";
  return [
    {
      kind: "storage-not-mounted",
      level: "alarm",
      message: `uploaded files are on ${what}, which ${isInside ? "Chatkeep's pod does not mount" : "this machine does not see"}, so they are not saved`,
      hint,
    },
  ];
}

/** A claim that one node holds can be mounted by pods of that node alone. */
function whereTo(unseen: readonly StoragePlace[], { claims, pods }: Space): string {
  const names = unseen.flatMap((place) => place.claims);
  const bound = claims.find(({ metadata, spec }) => {
    const modes = spec.accessModes ?? [];
    return names.includes(metadata.name) && !modes.includes("ReadWriteMany") && !modes.includes("ReadOnlyMany");
  });
  if (bound === undefined) return "";
  const { name } = bound.metadata;
  if (bound.spec.accessModes?.includes("ReadWriteOnce") !== true)
    return ` The claim '${name}' may be mounted by one pod alone (${bound.spec.accessModes?.join(", ") ?? ""}): copy its files to one that several may mount.`;
  const node = pods.find(({ spec }) =>
    (spec.volumes ?? []).some((one) => one.persistentVolumeClaim?.claimName === name),
  )?.spec.nodeName;
  return ` The claim '${name}' is ReadWriteOnce, so Chatkeep's pod must run on the node that has it${node === undefined ? "" : `, now ${node}`}: give it a podAffinity to the web pod.`;
}

function publicFindings({ group }: Seen): Finding[] {
  const mounted = membersOf(group).filter((member) => {
    const folder = `${appFolder(member)}/public`;
    return mountAt(member.container, folder)?.mountPath === folder;
  });
  return publicFinding(
    mounted.map(({ name }) => name),
    "the manifests",
  );
}

/** What the pods of a member really run, as their node says it. */
export function imageIdOf({ workload, container }: Member, pods: readonly PodDetails[]): string | undefined {
  return podsOf(workload, pods)
    .flatMap(({ status }) => status?.containerStatuses ?? [])
    .find(({ name, imageID = "" }) => name === container.name && imageID !== "")
    ?.imageID?.replace(/^docker-pullable:\/\//, "");
}

function imageFindings({ group, space }: Seen): Finding[] {
  const running = membersOf(group).flatMap((member) => {
    const id = imageIdOf(member, space.pods);
    return id === undefined ? [] : [{ member, id: id.replace(/^.*@/, "") }];
  });
  if (new Set(running.map(({ id }) => id)).size <= 1) return [];
  return [
    {
      kind: "images-differ",
      level: "warning",
      message: `web and worker run different images: ${running.map(({ member, id }) => `${member.name} ${member.image} (${id.slice(0, 19)})`).join(", ")}`,
      hint: "Give both the same image, and let them be made again: kubectl rollout restart.",
    },
  ];
}

function differenceFindings({ group, leader, space }: Seen): Finding[] {
  const others = membersOf(group).filter((member) => member !== leader);
  return differenceFinding(
    leader,
    others,
    (who) =>
      `Let both take the same Secrets and ConfigMaps: 'kubectl --namespace ${space.api.namespace} set env ${[leader, ...who].map(({ workload }) => `${workload.kind.toLowerCase()}/${workload.name}`).join(" ")} --list' shows where each has its own from.`,
  );
}

/** Who may set back what is scaled to none. A plain autoscaler is not among them: it leaves alone what has no pod. */
function undoersOf({ kind, name, details }: Workload, { autoscalers }: Extras): { who: string; pause: string }[] {
  const { labels = {}, annotations = {} } = details.metadata;
  const found: { who: string; pause: string }[] = [];
  const scaled = autoscalers.find(({ spec: { scaleTargetRef: of } }) => of.kind === kind && of.name === name);
  const keda = scaled?.metadata.labels?.["scaledobject.keda.sh/name"];
  if (keda !== undefined) {
    const pause = `kubectl annotate scaledobject ${keda} autoscaling.keda.sh/paused-replicas=0`;
    found.push({ who: `KEDA's ScaledObject '${keda}'`, pause });
  }
  const tracked = annotations["argocd.argoproj.io/tracking-id"]?.split(":")[0];
  const argo = labels["argocd.argoproj.io/instance"] ?? tracked;
  if (argo !== undefined)
    found.push({ who: `Argo CD's application '${argo}'`, pause: `argocd app set ${argo} --sync-policy none` });
  for (const [label, what] of [
    ["kustomize.toolkit.fluxcd.io", "kustomization"],
    ["helm.toolkit.fluxcd.io", "helmrelease"],
  ]) {
    const flux = labels[`${label}/name`];
    if (flux === undefined) continue;
    const namespace = labels[`${label}/namespace`];
    const where = namespace === undefined ? "" : ` --namespace ${namespace}`;
    found.push({ who: `Flux's ${what} '${flux}'`, pause: `flux suspend ${what} ${flux}${where}` });
  }
  return found;
}

function scalingFindings({ group, extras }: Seen): Finding[] {
  const workloads = workloadsOf(membersOf(group));
  const found = workloads.flatMap((workload) => undoersOf(workload, extras));
  if (found.length === 0) return [];
  const who = [...new Set(found.map((one) => one.who))];
  return [
    {
      kind: "scaling-managed",
      level: "note",
      subject: who.join(", "),
      message: `${who.join(" and ")} may start again what is stopped for a restore: ${workloads.map(({ name }) => name).join(", ")}`,
      hint: `Nothing to do for a backup. Before a restore, pause it: ${[...new Set(found.map(({ pause }) => pause))].join("; ")}.`,
    },
  ];
}

function deniedFindings({ denied, space }: Seen): Finding[] {
  if (denied.length === 0) return [];
  const what = [...new Set(denied)].toSorted();
  return [
    {
      kind: "manifests-not-saved",
      level: "note",
      names: what,
      message: `Chatkeep may not list ${what.join(", ")} in the namespace '${space.api.namespace}', so those of Chatwoot's are not saved${what.includes("secrets") ? ", nor is the release that Helm keeps in a Secret" : ""}`,
      hint: "deploy/kubernetes/rbac.yaml grants it. All else is saved.",
    },
  ];
}
