/** Chatwoot in a namespace of a Kubernetes cluster: its Helm chart, or any Deployments and StatefulSets. */
import { type Failure, isFailure } from "../../base/errors.ts";
import { clusterAddress, type ClusterAddress, openCluster } from "../../system/cluster-api.ts";
import { findGroups, leaderOf, membersOf } from "../kubernetes/members.ts";
import { readSpace } from "../kubernetes/objects.ts";
import { describeSite, readSite, type Site } from "../kubernetes/site.ts";
import { findOwnPod } from "../kubernetes/storage.ts";
import type { InstallationSettings, Kind, Look, World } from "./kind.ts";

const NAME = "kubernetes";

async function findSites(
  address: ClusterAddress,
  { namespace, deployment }: InstallationSettings,
  { env, signal }: World,
): Promise<{ sites: Site[]; lookedFor: string }> {
  const api = await openCluster(address, { namespace, signal });
  const space = await readSpace(api);
  const isInside = address.from === "pod";
  const own = isInside ? findOwnPod(space.pods, env) : undefined;
  const groups = await findGroups(space, deployment);
  const sites = groups.flatMap((group): Site[] => {
    const leader = leaderOf(group);
    return leader === undefined ? [] : [{ space, group, leader, isInside, own }];
  });
  const lookedFor = `Deployments and StatefulSets of Chatwoot in the namespace '${api.namespace}' of ${api.server}`;
  return { sites, lookedFor };
}

function isMeantBy({ deployment }: InstallationSettings, { group }: Site): boolean {
  return deployment === undefined || membersOf(group).some(({ workload }) => workload.name === deployment);
}

async function look(settings: InstallationSettings, world: World): Promise<Look> {
  const address = clusterAddress(world.env, (path) => world.machine.at(path));
  const { kind, namespace, deployment } = settings;
  const isMeant = kind === NAME || namespace !== undefined || deployment !== undefined;
  // A kubeconfig may lead to any cluster there is: it is used when somebody says that one is meant.
  if (!isMeant && address.from !== "pod") {
    return { sightings: [], lookedFor: "Kubernetes, of which this is no pod (from outside: --namespace NAME)" };
  }
  try {
    const { sites, lookedFor } = await findSites(address, settings, world);
    const meant = sites.filter((site) => isMeantBy(settings, site));
    return {
      lookedFor,
      others: sites.filter((site) => !meant.includes(site)).map(describeSite),
      sightings: meant.map((site) => {
        return {
          what: describeSite(site),
          choice: `'deployment: ${site.leader.workload.name}' under 'installation'`,
          read: async () => await readSite(site, settings, world),
        };
      }),
    };
  } catch (error) {
    if (isMeant || !isRefusal(error)) throw error;
    const blocked = { why: error.message, remedy: error.hint ?? "" };
    return { sightings: [], lookedFor: "Kubernetes, of which this is a pod", blocked };
  }
}

function isRefusal(error: unknown): error is Failure {
  return isFailure(error, "source/unreadable") || isFailure(error, "program/failed");
}

export const KUBERNETES: Kind = { name: NAME, look };
