/** Which database of the cluster is Chatwoot's now: a restore puts another one in its place, under the same name. */
import { isFailure } from "../base/errors.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { connectIfThere } from "../postgres/connect-if-there.ts";

export interface OwnDatabase {
  readonly name: string;
  readonly oid: number;
}

/** Undefined where that is not known now: it does not answer, or is of another cluster. */
export async function readOwnDatabase(
  address: ServerAddress,
  { cluster, signal }: { cluster: string | undefined; signal: AbortSignal },
): Promise<OwnDatabase | undefined> {
  try {
    await using connection = await connectIfThere(address, { signal });
    const [row] =
      (await connection?.query<{ name: string; oid: string; system: string }>(
        `select datname::text as name, oid::text as oid,
                (select system_identifier::text from pg_catalog.pg_control_system()) as system
         from pg_catalog.pg_database where datname = pg_catalog.current_database()`,
      )) ?? [];
    return row === undefined || row.system !== cluster ? undefined : { name: row.name, oid: Number(row.oid) };
  } catch (error) {
    signal.throwIfAborted();
    if (!isFailure(error)) throw error;
    return undefined;
  }
}
