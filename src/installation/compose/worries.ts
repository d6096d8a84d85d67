/** What is worrying about a Chatwoot in containers. */
import { basename } from "node:path";
import type { Finding } from "../../base/findings.ts";
import { activeStorageService } from "../../chatwoot/environment.ts";
import type { EngineApi } from "../../system/engine-api.ts";
import { lookAt, type Machine, namesIn } from "../places.ts";
import { differenceFinding, floatingTagFinding, knownPasswordFinding, publicFinding } from "../process-worries.ts";
import { type Container, type Group, isSwarmTask, serviceOf } from "./containers.ts";
import type { GivenByFiles } from "./files.ts";
import { staleFindings } from "./in-force.ts";
import { postgresFolder } from "./data-folders.ts";
import { howToStart } from "./reach.ts";
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
    ...(await replacedFindings(seen)),
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
      message: `the container ${container.name} is not running (${State.Status}${State.ExitCode === undefined ? "" : `, exit code ${State.ExitCode}`})`,
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

/** Where Chatwoot's Compose file kept its data until 4.1. */
const OLD_STORAGE = "/data/storage";
const OLD_POSTGRES = "/data/postgres";

/** Trap: a newer Compose file uses named volumes, and what was before lies where nobody looks. */
async function replacedFindings(seen: Seen): Promise<Finding[]> {
  const { machine, places, database } = seen;
  const used = [...members(seen), database].flatMap((container) => container?.details.Mounts ?? []);
  const isUsed = (folder: string) => used.some(({ Source }) => Source === folder || Source.startsWith(`${folder}/`));
  const left: string[] = [];
  if (!isUsed(OLD_STORAGE) && (await namesIn(machine.at(OLD_STORAGE))).length > 0) left.push(OLD_STORAGE);
  // The server's folder may not be entered by others, so being there is all that can be told.
  if (!isUsed(OLD_POSTGRES) && database !== undefined && (await lookAt(machine.at(OLD_POSTGRES))) !== undefined) {
    const names = await namesIn(machine.at(OLD_POSTGRES));
    if (names.includes("PG_VERSION") || names.includes("pgdata")) left.push(OLD_POSTGRES);
  }
  if (left.length === 0) return [];
  const isEmpty = await areEmpty(seen, places);
  return [
    {
      kind: "volumes-replaced",
      level: isEmpty ? "alarm" : "note",
      message: isEmpty
        ? `the volumes in use are empty, and ${left.join(" and ")} ${left.length === 1 ? "has" : "have"} the data of before: Chatwoot's Compose file used those folders until 4.1`
        : `${left.join(" and ")} ${left.length === 1 ? "holds" : "hold"} data of before that no container uses any more`,
      hint: isEmpty
        ? `Nothing is lost yet. Stop the containers and mount ${left.join(" and ")} again as before, or copy them into the volumes.`
        : "Once you know that nothing of it is lacking, it can go.",
    },
  ];
}

/** Certainly without a file: what may not be looked into is not. */
async function areEmpty({ machine }: Seen, places: readonly StoragePlace[]): Promise<boolean> {
  const known = places.map(({ path }) => path).filter((path) => path !== undefined);
  for (const path of known) {
    if ((await lookAt(machine.at(path)))?.isFolder !== true) return false;
    if ((await namesIn(machine.at(path))).some((name) => name !== "lost+found" && name !== ".keep")) return false;
  }
  return known.length > 0;
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
