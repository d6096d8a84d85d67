/** What is worrying about a Chatwoot in containers. */
import { basename } from "node:path";
import type { Finding } from "../../base/findings.ts";
import { activeStorageService } from "../../chatwoot/environment.ts";
import type { EngineApi } from "../../system/engine-api.ts";
import type { Machine } from "../places.ts";
import { differenceFinding, floatingTagFinding, knownPasswordFinding, publicFinding } from "../process-worries.ts";
import { type Container, type Group, isSwarmTask, serviceOf } from "./containers.ts";
import type { GivenByFiles } from "./files.ts";
import { staleFindings } from "./in-force.ts";
import { postgresFolder } from "./data-folders.ts";
import { howToStart } from "./reach.ts";
import { replacedFindings } from "./replaced.ts";
import { appFolder, isAnonymous, mountAt, type StoragePlace } from "./mounts.ts";

export interface Seen {
  group: Group;
  leader: Container;
  /** The environment of the leader with all that it reads. */
  environment: ReadonlyMap<string, string>;
  /** Of every container of Chatwoot's. */
  places: readonly StoragePlace[];
  /** Undefined where the database is no container here. */
  database: Container | undefined;
  redis: Container | undefined;
  /** By the container's name. */
  given: ReadonlyMap<string, GivenByFiles>;
  machine: Machine;
  engine: EngineApi;
  /** What a running container keeps in itself can be read. */
  seesProcesses: boolean;
}

export async function composeFindings(seen: Seen): Promise<Finding[]> {
  return [
    ...stoppedFindings(seen),
    ...storageFindings(seen),
    ...databaseVolumeFindings(seen),
    ...(await majorFindings(seen)),
    ...(await replacedFindings({ ...seen, members: members(seen) })),
    ...publicFindings(seen),
    ...imageFindings(seen),
    ...knownPasswordFinding(seen.environment),
    ...differenceFindings(seen),
    ...staleFindings(members(seen), seen.given),
  ];
}

function members({ group }: Seen): Container[] {
  return [...group.web, ...group.worker];
}

function stoppedFindings(seen: Seen): Finding[] {
  const all = [...members(seen), seen.database, seen.redis].filter((container) => container !== undefined);
  return all
    .filter(({ details }) => !details.State.Running)
    .map((container) => ({ container, State: container.details.State }))
    .map(({ container, State }) => ({
      kind: "container-stopped",
      level: "warning",
      // A task has another name each time.
      subject: isSwarmTask(container) ? serviceOf(container) : container.name,
      message:
        container.idleTasks === undefined
          ? `the container ${container.name} is not running (${State.Status}${State.ExitCode === undefined ? "" : `, exit code ${State.ExitCode}`})`
          : `the service ${serviceOf(container)} does not run: it is scaled to none`,
      hint: howToStart(container),
    }));
}

function storageFindings({ places, environment, leader, seesProcesses }: Seen): Finding[] {
  if (activeStorageService(environment) !== "local") return [];
  const findings: Finding[] = [];
  const folder = `${appFolder(leader)}/storage`;
  const inside = places.filter(({ kind }) => kind === "none").map(({ container }) => container.name);
  const [first = ""] = inside;
  const until = seesProcesses
    ? "Until then a backup saves what the running containers have, as root."
    : "Until then none of them is saved: Chatkeep, in a container itself, cannot look into another one.";
  if (inside.length > 0) {
    findings.push({
      kind: "storage-ephemeral",
      level: "alarm",
      message: `uploaded files are being lost: no volume is mounted at ${folder} in ${inside.join(" and ")}, so they go when the container is made again`,
      hint: `Copy out what is there first (docker cp ${first}:${folder} ./storage), then mount one volume at ${folder} in web and worker. ${until}`,
    });
  }
  const anonymous = places.filter(({ kind }) => kind === "anonymous").map(({ container }) => container.name);
  if (anonymous.length > 0) {
    findings.push({
      kind: "storage-anonymous-volume",
      level: "warning",
      message: `uploaded files of ${anonymous.join(" and ")} lie in a volume without a name, which 'docker compose down --volumes' and a clean-up of volumes remove`,
      hint: `Mount a named volume at ${folder} in web and worker, after copying the files into it.`,
    });
  }
  const lasting = places.filter(({ kind }) => kind !== "none");
  const paths = [...new Set(lasting.map(({ path }) => path).filter((path) => path !== undefined))];
  if (paths.length > 1) {
    findings.push({
      kind: "storage-split",
      level: "warning",
      message: `web and worker keep uploaded files in different places: ${paths.join(", ")}`,
      hint: "Files that customers send are in the worker's, files of agents in the web process's, and neither sees the other's. Chatkeep saves both. Mount one volume in both, after copying the files of the other into it.",
    });
  }
  return findings;
}

/** Trap: the development Compose file mounts its volumes where the image keeps nothing. */
function databaseVolumeFindings({ database }: Seen): Finding[] {
  if (database === undefined) return [];
  const folder = postgresFolder(database);
  const mount = mountAt(database, folder);
  if (mount !== undefined && !isAnonymous(mount) && mount.Type !== "tmpfs") return [];
  const elsewhere = (database.details.Mounts ?? []).filter((other) => other !== mount && other.Type !== "tmpfs");
  const mounted = elsewhere.map(({ Destination }) => Destination);
  const why =
    mounted.length === 0
      ? ""
      : `; what is mounted is ${mounted.join(", ")}, where this image keeps nothing (Chatwoot's development file does so)`;
  return [
    {
      kind: "postgres-not-on-volume",
      level: "alarm",
      message: `the database's data is on no volume that stays: ${folder} of the container ${database.name} is ${mount === undefined ? "in the container itself" : "a volume without a name"}${why}`,
      hint: `It is gone when the container is made again. Make a backup now, then mount a named volume at ${folder} and restore into it.`,
    },
  ];
}

/** Trap: another major of the image on the same data. The server does not start (F20). */
async function majorFindings({ database, engine }: Seen): Promise<Finding[]> {
  const major = database?.env.get("PG_MAJOR");
  if (database === undefined || major === undefined) return [];
  const written = (await engine.readFile(database.details.Id, `${postgresFolder(database)}/PG_VERSION`))
    ?.toString("utf8")
    .trim();
  if (written === undefined || written === "" || written === major) return [];
  return [
    {
      kind: "postgres-major-differs",
      level: "alarm",
      message: `the database's data was written by PostgreSQL ${written}, and the image ${database.details.Config.Image} is of ${major}: the server does not start on it`,
      hint: `Go back to an image of PostgreSQL ${written} (pgvector/pgvector:pg${written}), back up, and restore into an empty volume of the new one. Never let the new image make its data anew in that volume.`,
    },
  ];
}

function publicFindings(seen: Seen): Finding[] {
  const mounted = members(seen).filter((container) => {
    const folder = `${appFolder(container)}/public`;
    return mountAt(container, folder)?.Destination === folder;
  });
  return publicFinding(
    mounted.map(({ name }) => name),
    "the Compose file",
  );
}

function imageFindings(seen: Seen): Finding[] {
  const findings = floatingTagFinding(members(seen).map(({ details }) => details.Config.Image));
  if (new Set(members(seen).map(({ details }) => details.Image)).size > 1) {
    findings.push({
      kind: "images-differ",
      level: "warning",
      message: `web and worker run different images: ${members(seen)
        .map(({ name, details }) => `${name} ${details.Config.Image} (${details.Image.slice(0, 19)})`)
        .join(", ")}`,
      hint: "Make both of the same image: docker compose up --detach.",
    });
  }
  return findings;
}

function differenceFindings(seen: Seen): Finding[] {
  const { leader } = seen;
  const others = members(seen).filter((container) => container !== leader);
  return differenceFinding(leader, others, (who) => {
    const services = new Set([leader, ...who].map(serviceOf));
    return `A process that was not made again after a change has the old value: docker compose up --detach ${[...services].map((name) => basename(name)).join(" ")}.`;
  });
}
