/** Trap: a newer Compose file uses named volumes, and what was before lies where nobody looks (F21). */
import { join } from "node:path";
import { formatBytes } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { activeStorageService } from "../../chatwoot/environment.ts";
import { isReadable, lookAt, type Machine, namesIn, readTextIfAllowed } from "../places.ts";
import type { Container } from "./containers.ts";
import { postgresFolder } from "./data-folders.ts";
import { hostPath, type StoragePlace } from "./mounts.ts";

/** Where Chatwoot's Compose file kept its data until 4.1. */
const OLD_STORAGE = "/data/storage";
const OLD_POSTGRES = "/data/postgres";

/** A server without any database takes about 23 MB, and Chatwoot's tables without a row as much again. */
const NEARLY_EMPTY_BYTES = 64 * 1024 * 1024;

interface Replaced {
  /** Of Chatwoot. */
  members: readonly Container[];
  environment: ReadonlyMap<string, string>;
  places: readonly StoragePlace[];
  /** Undefined where the database is no container here. */
  database: Container | undefined;
  machine: Machine;
}

/** Uploaded files and the database each by themselves: one may have been moved and the other forgotten. */
export async function replacedFindings(seen: Replaced): Promise<Finding[]> {
  return [...(await oldStorage(seen)), ...(await oldDatabase(seen))];
}

function isUsed(folder: string, { members, database }: Replaced): boolean {
  const mounts = [...members, database].flatMap((container) => container?.details.Mounts ?? []);
  return mounts.some(({ Source }) => Source === folder || Source.startsWith(`${folder}/`));
}

async function oldStorage(seen: Replaced): Promise<Finding[]> {
  const { environment, machine, places } = seen;
  if (isUsed(OLD_STORAGE, seen) || (await namesIn(machine.at(OLD_STORAGE))).length === 0) return [];
  const used = [...new Set(places.map(({ path }) => path).filter((path) => path !== undefined))];
  if (activeStorageService(environment) !== "local" || !(await areEmpty(used, machine))) return [leftOver(OLD_STORAGE)];
  const where = used.join(" and ");
  return [
    {
      kind: "volumes-replaced",
      level: "warning",
      subject: OLD_STORAGE,
      message: `the volume of uploaded files in use, ${where}, is empty, and ${OLD_STORAGE} holds files: Chatwoot's Compose file kept them there until 4.1`,
      hint: `Look first: 'ls ${OLD_STORAGE}', and 'chatkeep doctor', which says whether the database's files are found. If they are those of ${OLD_STORAGE}, copy them: cp --archive ${OLD_STORAGE}/. ${used[0]}/`,
    },
  ];
}

/** Certainly without a file: what may not be looked into is not. */
async function areEmpty(paths: readonly string[], machine: Machine): Promise<boolean> {
  for (const path of paths.map((used) => machine.at(used))) {
    if ((await lookAt(path))?.isFolder !== true || !(await isReadable(path))) return false;
    if ((await namesIn(path)).some((name) => name !== "lost+found" && name !== ".keep")) return false;
  }
  return paths.length > 0;
}

/**
 * Whose rows are the right ones, a look at files cannot tell: the live database is judged where it is asked itself. So nothing
 * here says to mount the old folder again, which would put an old database in the place of the live one.
 */
async function oldDatabase(seen: Replaced): Promise<Finding[]> {
  const { database, machine } = seen;
  if (database === undefined || isUsed(OLD_POSTGRES, seen)) return [];
  // The server's folder may not be entered by others, so being there is all that can be told.
  const old = machine.at(OLD_POSTGRES);
  const names = await namesIn(old);
  if (!names.includes("PG_VERSION") && !names.includes("pgdata")) return [];
  const data = names.includes("PG_VERSION") ? old : join(old, "pgdata");
  const path = hostPath(database, postgresFolder(database));
  const isNew = path === undefined ? undefined : await newness(machine.at(path), data);
  if (isNew === undefined) return [leftOver(OLD_POSTGRES)];
  const version = (await readTextIfAllowed(join(data, "PG_VERSION")))?.trim();
  const server = version === undefined ? "PostgreSQL of its version" : `PostgreSQL ${version}`;
  return [
    {
      kind: "volumes-replaced",
      level: "warning",
      subject: OLD_POSTGRES,
      message: `the database's volume in use, ${path}, ${isNew}, and ${OLD_POSTGRES} holds data${version === undefined ? "" : ` of PostgreSQL ${version}`}: Chatwoot's Compose file kept it there until 4.1`,
      hint: `Look first, and leave both as they are: 'chatkeep doctor' says whether the database in use has accounts. If it has, it is the live one, and ${OLD_POSTGRES} is of before. If it has none, copy ${OLD_POSTGRES}, start a server of ${server} on the copy, look at its accounts, and bring them over by pg_dump.`,
    },
  ];
}

/** What is known of a server's folder that was made after the old one was last written to; undefined where it may be the live one. */
async function newness(path: string, old: string): Promise<string | undefined> {
  if ((await lookAt(path))?.isFolder !== true || !(await isReadable(path))) return undefined;
  const madeAtMs = (await lookAt(join(path, "PG_VERSION")))?.changedAtMs;
  if (madeAtMs === undefined) return (await areEmpty([path], AS_IT_STANDS)) ? "is empty" : undefined;
  const control = (await lookAt(join(old, "global/pg_control"))) ?? (await lookAt(join(old, "PG_VERSION")));
  if (control === undefined || control.changedAtMs > madeAtMs) return undefined;
  const sizeBytes = await sizeUpTo(join(path, "base"), NEARLY_EMPTY_BYTES);
  return sizeBytes === undefined ? undefined : `is newer and holds little (${formatBytes(sizeBytes)})`;
}

const AS_IT_STANDS: Machine = { root: "/", at: (path) => path, nameOf: (path) => path };

/** The bytes of the databases' files; undefined as soon as they are more, or where one may not look. */
async function sizeUpTo(base: string, mostBytes: number): Promise<number | undefined> {
  const databases = await namesIn(base);
  let sizeBytes = 0;
  for (const database of databases) {
    for (const file of await namesIn(join(base, database))) {
      sizeBytes += (await lookAt(join(base, database, file)))?.sizeBytes ?? 0;
      if (sizeBytes > mostBytes) return undefined;
    }
  }
  return databases.length === 0 ? undefined : sizeBytes;
}

function leftOver(folder: string): Finding {
  return {
    kind: "volumes-replaced",
    level: "note",
    message: `${folder} holds data of before that no container uses any more`,
    hint: "Once you know that nothing of it is lacking, it can go. Until then leave it where it is, unmounted.",
  };
}
