/**
 * The same server at 127.0.0.1. What a server lets in goes by the address that somebody comes from, and both PostgreSQL's own
 * file and that of its official image let replication in from the machine itself alone. Who names the machine's server by another of the machine's
 * addresses, as by a service's name in the very network of that service, comes from elsewhere all the same.
 */
import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { isSocket, type ServerAddress } from "./address.ts";
import { connect } from "./connect.ts";
import { isFailure } from "../base/errors.ts";

const LOOPBACK = "127.0.0.1";

/** Undefined where the address leads to another machine, is 127.0.0.1 already, or another server answers there. */
export async function throughLoopback(
  address: ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<ServerAddress | undefined> {
  if (isSocket(address) || address.passage !== undefined || !(await isOwnAddress(address.host))) return undefined;
  const near: ServerAddress = { ...address, host: LOOPBACK };
  const [here, there] = [await beginningOf(near, signal), await beginningOf(address, signal)];
  return here !== undefined && here === there ? near : undefined;
}

/** A name that cannot be looked up leads nowhere. */
async function isOwnAddress(host: string): Promise<boolean> {
  const found = await lookup(host, { all: true }).catch(() => []);
  const own = Object.values(networkInterfaces()).flatMap((several) => several ?? []);
  const meant = new Set(found.map(({ address }) => address));
  return !meant.has(LOOPBACK) && own.some(({ address }) => meant.has(address));
}

/** What two servers of one machine never have in common: when each was started, to the microsecond, and its port. */
async function beginningOf(address: ServerAddress, signal: AbortSignal): Promise<string | undefined> {
  try {
    await using connection = await connect(address, { signal });
    const [row] = await connection.query<{ beginning: string }>(
      "select pg_catalog.pg_postmaster_start_time()::text || ' ' || pg_catalog.current_setting('port') as beginning",
    );
    return row?.beginning;
  } catch (error) {
    if (signal.aborted || !isFailure(error)) throw error;
    return undefined;
  }
}
