/** How much room a server has for another database: PostgreSQL does not tell, the disk of this machine does. */
import { readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { isSocket, type ServerAddress } from "./address.ts";
import { connectBeside } from "./target.ts";

interface PlaceRow {
  folder: string | null;
  /** Seconds since 1970. */
  started: string;
  port: string;
  /** The database is there, in a tablespace of its own. */
  elsewhere: boolean;
}

const PLACE = `
  select (select s.setting from pg_catalog.pg_settings s where s.name = 'data_directory') as folder,
    pg_catalog.floor(extract(epoch from pg_catalog.pg_postmaster_start_time()))::int8::text as started,
    pg_catalog.current_setting('port') as port,
    exists (select from pg_catalog.pg_database d join pg_catalog.pg_tablespace t on t.oid = d.dattablespace
      where d.datname = $1 and t.spcname <> 'pg_default') as elsewhere`;

/**
 * Free bytes on the disk of the server's data. Undefined where that cannot be known: another machine, a role that may not ask
 * for the folder, a folder that we may not enter, or one of that name which is another server's (a container's).
 */
export async function readFreeBytes(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<number | undefined> {
  if (!isSocket(address) && !/^(localhost|127\.[\d.]+|::1)$/.test(address.host)) return undefined;
  await using connection = await connectBeside(address, { signal });
  const [place] = await connection.query<PlaceRow & { [key: string]: unknown }>(PLACE, [address.database]);
  if (place === undefined || place.folder === null || place.elsewhere) return undefined;
  try {
    // Its third and fourth lines: when the server began, and its port.
    const [, , started, port] = (await readFile(join(place.folder, "postmaster.pid"), "utf8")).split("\n");
    if (port !== place.port || Math.abs(Number(started) - Number(place.started)) > 2) return undefined;
    const { bavail, bsize } = await statfs(place.folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
