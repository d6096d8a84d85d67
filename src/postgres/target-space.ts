/**
 * Where a database lies, and how much room there is for another: PostgreSQL does not tell, the disk of this machine does.
 */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { isSocket, type ServerAddress } from "./address.ts";
import type { Connection } from "./connect.ts";
import { connectBeside } from "./target.ts";

/** A tablespace that is not the one where the server makes everything. */
export interface OwnTablespace {
  name: string;
  /** Its folder; relative to the server's data where the server made it there itself. */
  folder: string;
  /** Our role may make databases in it. */
  mayCreate: boolean;
}

const TABLESPACE = `
  select t.spcname as name, pg_catalog.pg_tablespace_location(t.oid) as folder,
    pg_catalog.has_tablespace_privilege(t.oid, 'CREATE') as "mayCreate"
  from pg_catalog.pg_database d join pg_catalog.pg_tablespace t on t.oid = d.dattablespace
  where d.datname = $1 and t.spcname <> 'pg_default'`;

/** Of the database of that name; undefined where it lies with the others, or is not there. */
export async function readTablespace(connection: Connection, database: string): Promise<OwnTablespace | undefined> {
  const [own] = await connection.query<OwnTablespace & { [key: string]: unknown }>(TABLESPACE, [database]);
  return own;
}

interface PlaceRow {
  folder: string | null;
  /** Seconds since 1970. */
  started: string;
  port: string;
}

const PLACE = `
  select (select s.setting from pg_catalog.pg_settings s where s.name = 'data_directory') as folder,
    pg_catalog.floor(extract(epoch from pg_catalog.pg_postmaster_start_time()))::int8::text as started,
    pg_catalog.current_setting('port') as port`;

/**
 * The folder of this machine in which the database lies, or would. Undefined where that cannot be known: another machine, a role
 * that may not ask for the folder, a folder that we may not enter, or one of that name which is another server's (a container's).
 * @param options `isLive`: it is made beside the one that is there, so that its tablespace counts only where our role may use it.
 */
export async function findDataFolder(
  address: ServerAddress,
  { isLive, signal }: { isLive: boolean; signal: AbortSignal },
): Promise<string | undefined> {
  if (!isHere(address)) return undefined;
  await using connection = await connectBeside(address, { signal });
  const folder = await findServersFolder(connection);
  if (folder === undefined) return undefined;
  const own = await readTablespace(connection, address.database);
  const isElsewhere = own !== undefined && (own.mayCreate || !isLive);
  return isElsewhere ? resolve(folder, own.folder) : folder;
}

/** The folder of this machine in which the server keeps its log; undefined as of {@link findDataFolder}. */
export async function findLogFolder(connection: Connection): Promise<string | undefined> {
  const { address } = connection;
  if (!isHere(address)) return undefined;
  const folder = await findServersFolder(connection);
  return folder === undefined ? undefined : join(folder, "pg_wal");
}

function isHere(address: ServerAddress): boolean {
  return isSocket(address) || /^(localhost|127\.[\d.]+|::1)$/.test(address.host);
}

/** The server's data; undefined where that is not this machine's, or another server's. */
async function findServersFolder(connection: Connection): Promise<string | undefined> {
  const [place] = await connection.query<PlaceRow & { [key: string]: unknown }>(PLACE);
  if (place === undefined || place.folder === null) return undefined;
  try {
    // Its third and fourth lines: when the server began, and its port.
    const [, , started, port] = (await readFile(join(place.folder, "postmaster.pid"), "utf8")).split("\n");
    if (port !== place.port || Math.abs(Number(started) - Number(place.started)) > 2) return undefined;
    return place.folder;
  } catch {
    return undefined;
  }
}
