/** How an installation can be protected continuously: by the log where the server lets it be had, else by restore points. */
import { ERRORS, Failure, failureOf, isFailure } from "../base/errors.ts";
import type { ServerNetwork } from "../installation/installation.ts";
import type { Passage, ServerAddress } from "../postgres/address.ts";
import { connect } from "../postgres/connect.ts";
import { refuseTooLarge } from "../postgres/database-size.ts";
import { throughLoopback } from "../postgres/loopback.ts";
import { openReplication } from "../postgres/replication.ts";
import { readReplicationFacts } from "../postgres/replication-facts.ts";
import { lookAtReplication } from "../postgres/replication-look.ts";
import { connectInside, mayEnterNetworks } from "../system/inside-network.ts";
import type { Config } from "./config.ts";
import type { WatchConfig, WatchMode } from "./config-watch.ts";
import { type FoundInstallation, secretAddress } from "./installation.ts";
import { readSecretFile } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

export interface ChosenMode {
  readonly mode: Exclude<WatchMode, "auto">;
  /** Where the log is had. */
  readonly address: ServerAddress;
  /** Why the log is not followed, where that would have been better. */
  readonly why?: string;
  /** What would change that: a statement or a line, and where it goes. */
  readonly change?: string;
}

export interface WayToServer {
  readonly address: ServerAddress;
  /** The network that the server's container has to itself. */
  readonly network: ServerNetwork | undefined;
  /** Chatwoot's database, where the log is had elsewhere, or as another role. */
  readonly database?: ServerAddress | undefined;
}

/** Where the log is to be had: as `watch.database-url` says, else from Chatwoot's own server. */
export async function wayToLog(
  config: Config,
  { found, address }: { found: FoundInstallation; address: ServerAddress },
  s: Surroundings,
): Promise<WayToServer> {
  const own = await replicationAddress(config.watch, s);
  const isSame = own === undefined || (own.host === address.host && own.port === address.port);
  const network = isSame ? found.installation.databaseNetwork : undefined;
  return { address: own ?? address, network, database: own === undefined ? undefined : address };
}

async function replicationAddress(watch: WatchConfig | undefined, s: Surroundings): Promise<ServerAddress | undefined> {
  const file = watch?.["database-url-file"];
  const url = file === undefined ? watch?.["database-url"] : await readSecretFile(file, "the URL of watch", s);
  return url === undefined ? undefined : secretAddress(url, s);
}

/**
 * Tries the address as it is, then 127.0.0.1 where that is the same server, then 127.0.0.1 inside the server's container.
 * @throws Failure why the log cannot be had, where only that was asked for; what keeps from telling.
 */
export async function chooseMode(asked: WatchMode, way: WayToServer, s: Surroundings): Promise<ChosenMode> {
  if (asked === "interval") return { mode: "interval", address: way.address };
  const { address, refused = await lackOf(address, s) } = await findWay(way, s);
  if (refused === undefined) return { mode: "stream", address };
  const { code } = refused;
  if (code === "internal/bug" || code === "database/unreachable") throw refused;
  const reason = await reasonAt(address, s);
  const known = isFailure(reason) ? undefined : reason;
  // What time may mend is no reason to do with less.
  if (ERRORS[code].retry && known?.isLasting !== true) throw refused;
  if (isFailure(reason) && ERRORS[reason.code].retry) throw reason;
  // With an address of its own, the password is none of Chatwoot's.
  const isOwn = way.database !== undefined && isFailure(refused, "database/denied");
  const mend = isOwn ? "Correct the role or its password in 'watch.database-url'." : refused.hint;
  const { why, change } = known ?? { why: refused.message, change: mend };
  if (asked === "stream") {
    const hint = change === undefined ? {} : { hint: change };
    throw new Failure(ERRORS[code].retry ? "database/unsuitable" : code, why, { ...hint, cause: refused });
  }
  if (isFailure(reason)) await tryStatements(way, s);
  return { mode: "interval", address: way.address, why, ...(change === undefined ? {} : { change }) };
}

export interface FoundWay {
  readonly address: ServerAddress;
  /** Why the log cannot be had there, which is the nearest that one comes to it. */
  readonly refused?: Failure;
}

/** The address by which the log can be had; where none does, the one that is worth mending, with what is in the way. */
export async function findWay({ address, network }: WayToServer, s: Surroundings): Promise<FoundWay> {
  const refused = await tryWay(address, s);
  if (refused === undefined) return { address };
  // Who comes from elsewhere is let in otherwise only where it was a matter of that.
  if (refused.code !== "database/denied") return { address, refused };
  let nearest: FoundWay = { address, refused };
  for (const other of [
    await throughLoopback(address, s),
    network === undefined ? undefined : addressInside(address, network),
  ]) {
    if (other === undefined) continue;
    const failed = await tryWay(other, s);
    if (failed === undefined) return { address: other };
    // Past that file, what is in the way is the role, or a setting.
    if (!isOfPlace(failed)) nearest = { address: other, refused: failed };
  }
  return nearest;
}

/** The server, or its network, does not let in who comes that way. */
function isOfPlace({ code, message }: Failure): boolean {
  return code === "database/unreachable" || message.includes("pg_hba.conf");
}

/** Undefined where the log can be had that way; else why not. */
export async function tryWay(address: ServerAddress, s: Surroundings): Promise<Failure | undefined> {
  try {
    await using session = await openReplication(address, { signal: s.signal });
    await session.identifySystem();
    return undefined;
  } catch (error) {
    s.signal.throwIfAborted();
    return failureOf(error);
  }
}

/** The server at 127.0.0.1 of its container's network; undefined where this process may not go in there. */
export function addressInside(address: ServerAddress, network: ServerNetwork): ServerAddress | undefined {
  if (!mayEnterNetworks()) return undefined;
  const passage: Passage = {
    name: `in the container ${network.name}`,
    open: async (to, { signal }) => await connectInside(await network.pid(), { ...to, signal }),
  };
  return { ...address, host: "127.0.0.1", port: network.port, passage };
}

/** A session of replication tells nothing of slots, nor of how large a base would be. */
async function lackOf(address: ServerAddress, s: Surroundings): Promise<Failure | undefined> {
  try {
    await using connection = await connect(address, s);
    const { slots } = await readReplicationFacts(connection);
    if (slots.most > 0) return await refuseTooLarge(connection).then(() => undefined);
    return new Failure("database/unsuitable", "the server has no replication slots (max_replication_slots is 0)");
  } catch (error) {
    s.signal.throwIfAborted();
    return failureOf(error);
  }
}

interface Reason {
  readonly why: string;
  readonly change: string | undefined;
  /** False for what may pass by itself. */
  readonly isLasting: boolean;
}

/** A restore point takes statements, which are let in or not. @throws Failure why not. */
async function tryStatements({ address, database = address }: WayToServer, s: Surroundings): Promise<void> {
  await using _ = await connect(database, s);
}

/**
 * The first thing in the way that stays, or else the first, and what changes it; undefined where nothing is any more. A failure where
 * the server cannot be asked.
 */
async function reasonAt(address: ServerAddress, s: Surroundings): Promise<Reason | Failure | undefined> {
  try {
    const { obstacles, facts } = await lookAtReplication(address, s);
    const isBusy = ({ kind }: (typeof obstacles)[number]) => kind === "walsenders" && facts.senders.most > 0;
    const first = obstacles.find((one) => !isBusy(one)) ?? obstacles[0];
    if (first === undefined) return undefined;
    const { message, line, hint } = first;
    return { why: message, change: line === undefined ? hint : `${line}  ${hint}`, isLasting: !isBusy(first) };
  } catch (error) {
    if (s.signal.aborted || !isFailure(error)) throw error;
    return error;
  }
}
