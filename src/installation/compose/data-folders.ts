/** Where the servers in containers keep their data: in the container, and on this machine. */
import type { Installation } from "../installation.ts";
import type { Machine } from "../places.ts";
import type { Container } from "./containers.ts";
import { hostPath } from "./mounts.ts";

function isBitnami({ details }: Container): boolean {
  return /(?:^|\/)bitnami/.test(details.Config.Image);
}

/** As the official image of PostgreSQL and its kin have it. */
export function postgresFolder(container: Container): string {
  return (
    container.env.get("PGDATA") ?? (isBitnami(container) ? "/bitnami/postgresql/data" : "/var/lib/postgresql/data")
  );
}

function redisFolder(container: Container): string {
  return isBitnami(container) ? "/bitnami/redis/data" : "/data";
}

/** Those on this machine: what a container keeps in itself alone has no folder here. */
export function dataFoldersOf(
  { database, redis }: { database: Container | undefined; redis: Container | undefined },
  machine: Machine,
): NonNullable<Installation["dataFolders"]> {
  const places = [
    { server: "PostgreSQL", path: database && hostPath(database, postgresFolder(database)) },
    { server: "Redis", path: redis && hostPath(redis, redisFolder(redis)) },
  ] as const;
  return places.flatMap(({ server, path }) => (path === undefined ? [] : [{ server, path: machine.at(path) }]));
}
