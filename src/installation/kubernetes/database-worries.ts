/** What is worrying about a database server in the cluster itself. */
import type { Finding } from "../../base/findings.ts";
import type { ContainerSpec, PodDetails, ServiceDetailsOfCluster } from "../../system/cluster-details.ts";
import { mountAt } from "./members.ts";
import { describeWorkload, podsOf, selects, type Space } from "./objects.ts";

interface Seen {
  /** The Service of the database; undefined where the server is outside of the namespace. */
  database: ServiceDetailsOfCluster | undefined;
  space: Space;
}

const IS_POSTGRES = /(?:^|\/)(?:postgres|postgresql|pgvector|postgis|timescaledb)[^/]*$/i;

function serverIn(containers: readonly ContainerSpec[]): ContainerSpec | undefined {
  return containers.find(({ image = "" }) => IS_POSTGRES.test(image));
}

/** The subchart's `persistence.enabled: false`, and servers that somebody put together for a trial. */
export function databaseVolumeFindings({ database, space }: Seen): Finding[] {
  if (database === undefined) return [];
  const pods = space.pods.filter(({ metadata }) => selects(database.spec.selector, metadata.labels));
  for (const { metadata, spec } of pods) {
    const container = serverIn(spec.containers);
    if (container === undefined) continue;
    const folder =
      container.env?.find(({ name }) => name === "PGDATA")?.value ??
      (/bitnami|chatwoot\/pgvector/.test(container.image ?? "")
        ? "/bitnami/postgresql/data"
        : "/var/lib/postgresql/data");
    const mount = mountAt(container, folder);
    const volume = spec.volumes?.find(({ name }) => name === mount?.name);
    const isPassing = mount === undefined || volume?.emptyDir !== undefined || volume?.ephemeral !== undefined;
    if (!isPassing) continue;
    return [
      {
        kind: "postgres-not-on-volume",
        level: "alarm",
        subject: database.metadata.name,
        message: `the database's data is on no volume that stays: ${folder} of the pod ${metadata.name} lies in ${mount === undefined ? "the pod itself" : "an emptyDir"}`,
        hint: "It is gone when the pod is made again. Make a backup now, then give the server a claim (in the chart: postgresql.primary.persistence.enabled) and restore into it.",
      },
    ];
  }
  return [];
}

/** The oldest major whose images name it in this way. */
const FIRST_MAJOR = 10;

/**
 * The major of PostgreSQL in a container, as its image names it: `pgvector/pgvector:0.8.0-pg16`, `postgres:16.4-alpine`.
 * Undefined where the image does not say, or says the version of something else.
 */
function majorOf({ image = "", env = [] }: ContainerSpec): number | undefined {
  const tag = /:([^/:]+)$/.exec(image.replace(/@.*$/, ""))?.[1] ?? "";
  const named = env.find(({ name }) => name === "PG_MAJOR")?.value ?? /(?:^|[-_.])pg(\d+)/.exec(tag)?.[1];
  const major = Number(named ?? /^(\d+)(?:[.-]|$)/.exec(tag)?.[1] ?? Number.NaN);
  return major >= FIRST_MAJOR ? major : undefined;
}

function isRunning({ status }: PodDetails, { name }: ContainerSpec): boolean {
  return (status?.containerStatuses ?? []).some((one) => one.name === name && one.ready === true);
}

/** Trap: a StatefulSet that was given another major, whose pod still runs the one that wrote the data (F20). */
export function databaseImageFindings({ database, space }: Seen): Finding[] {
  for (const workload of space.workloads) {
    const { template } = workload.details.spec;
    const wanted = serverIn(template.spec.containers);
    const next = wanted === undefined ? undefined : majorOf(wanted);
    if (wanted === undefined || next === undefined || !selects(database?.spec.selector, template.metadata?.labels))
      continue;
    for (const pod of podsOf(workload, space.pods)) {
      const server = serverIn(pod.spec.containers);
      if (server === undefined || !isRunning(pod, server)) continue;
      const written = majorOf(server);
      if (written === undefined || written === next) continue;
      return [
        {
          kind: "postgres-major-differs",
          level: "alarm",
          subject: workload.name,
          message: `the database's data was written by PostgreSQL ${written}, which the pod ${pod.metadata.name} still runs, and ${describeWorkload(workload)} has the image ${wanted.image} of ${next}: when the pod is made again, the server does not start on it`,
          hint: `Go back to the image ${server.image}, back up, and restore into an empty volume of the new one. Never let the new image make its data anew in that volume.`,
        },
      ];
    }
  }
  return [];
}
