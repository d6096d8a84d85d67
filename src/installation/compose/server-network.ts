/** The network that the database's container has to itself, where this machine may look into it. */
import { Failure } from "../../base/errors.ts";
import type { DatabaseSetting } from "../../chatwoot/environment.ts";
import type { ContainerDetails } from "../../system/container-details.ts";
import type { ServerNetwork } from "../installation.ts";
import type { Container } from "./containers.ts";
import { containerNamed, howToStart, ownNetworkOf, publisherOf, type Surrounding, THIS_HOST } from "./reach.ts";
import type { Site } from "./site.ts";

/**
 * Undefined where the server is in no container, or in one of another machine, and where Chatkeep itself runs in a container: it sees no
 * other's processes then.
 * @param isNamed The place is this machine's word for it, not that of Chatwoot's containers.
 */
export function serverNetwork(
  { engine, containers, own }: Site,
  database: DatabaseSetting,
  { around, isNamed }: { around: Surrounding; isNamed: boolean },
): ServerNetwork | undefined {
  if (own !== undefined || engine.address.kind !== "socket") return undefined;
  const place = placeIn(database);
  if (place === undefined) return undefined;
  const { host, port } = place;
  const found = isNamed ? namedHere(host, port, containers) : namedIn(host, port, around);
  if (found === undefined) return undefined;
  const owner = ownNetworkOf(found.container, containers);
  if (owner === undefined) return undefined;
  return {
    name: owner.name,
    port: found.port,
    async pid() {
      const details = await engine.ask<ContainerDetails>(`/containers/${encodeURIComponent(owner.name)}/json`);
      const pid = details?.State.Running === true ? details.State.Pid : undefined;
      if (pid !== undefined && pid > 0) return pid;
      throw new Failure("database/unreachable", `the container ${owner.name}, in which the database is, does not run`, {
        hint: howToStart(owner),
      });
    },
  };
}

function namedIn(host: string, port: number, around: Surrounding): { container: Container; port: number } | undefined {
  const container = host === "" || host.startsWith("/") ? undefined : containerNamed(host, around);
  return container === undefined ? undefined : { container, port };
}

/** As this machine names it: a port that is published to it, or the container's address on a bridge. */
function namedHere(
  host: string,
  port: number,
  containers: readonly Container[],
): { container: Container; port: number } | undefined {
  if (THIS_HOST.has(host)) return publisherOf(port, containers);
  const container = containers.find(({ details }) =>
    Object.values(details.NetworkSettings?.Networks ?? {}).some((at) => at?.IPAddress === host),
  );
  return container === undefined ? undefined : { container, port };
}

function placeIn(database: DatabaseSetting): { host: string; port: number } | undefined {
  if (database.url === undefined) return { host: database.host, port: database.port };
  const url = URL.parse(database.url);
  if (url === null) return undefined;
  const given = url.searchParams;
  return {
    host: given.get("host") ?? url.hostname,
    port: Number(given.get("port") ?? (url.port || "5432")),
  };
}
