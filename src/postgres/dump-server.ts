/**
 * A scratch server for a dump: of the dump's own major version or a newer one, thrown away afterwards, without a network.
 * The dump is loaded by a role that owns its database and may do nothing else, as nobody knows what is in it.
 */
import { Failure, isFailure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { connect } from "./connect.ts";
import { quoteIdentifier } from "./names.ts";
import { openScratchServer, type ScratchPlaces, type ScratchServer } from "./scratch.ts";
import { SCRATCH_KINDS } from "./scratch-source.ts";
import { createDatabase } from "./target.ts";

/** The oldest and the newest version of a server that one is looked for of. */
const MAJORS = { oldest: 12, newest: 18 } as const;
/** Servers that are somebody's own run nothing that somebody else wrote. */
const THROWAWAY = new Set<string>(["programs", "container", "embedded"]);
/** What an installation most often calls its role: it owns everything in what is made of the dump. */
const OWNER = "chatwoot";

export interface DumpServerOptions extends ScratchPlaces {
  /** Of the server that was dumped; undefined where the dump does not say it. */
  major: number | undefined;
  extensions: readonly string[];
  encoding: string;
  /** What its tables and indexes will take. */
  neededBytes: number;
  /** The database's name. */
  database: string;
  signal: AbortSignal;
}

export interface DumpServer extends AsyncDisposable {
  /** The role that is to own everything, in its own database, which is empty. */
  readonly owner: ServerAddress;
  /** A superuser in that database. */
  readonly admin: ServerAddress;
  readonly server: ScratchServer;
}

/** @throws Failure `program/missing` where none fits, and as a drill's server. */
export async function openDumpServer(options: DumpServerOptions): Promise<DumpServer> {
  const server = await openFitting(options);
  try {
    const admin = { ...server.address, database: options.database };
    await createDatabase(admin, { encoding: options.encoding, signal: options.signal });
    await using connection = await connect(admin, options);
    await connection.query(`create role ${quoteIdentifier(OWNER)} login`);
    await connection.query(`alter database ${quoteIdentifier(options.database)} owner to ${quoteIdentifier(OWNER)}`);
    // Later versions let a database's owner do with it what it likes.
    if (server.major < 15) await connection.query(`alter schema public owner to ${quoteIdentifier(OWNER)}`);
    const owner = { ...admin, user: OWNER };
    return { server, admin, owner, [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose]() };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

async function openFitting(options: DumpServerOptions): Promise<ScratchServer> {
  const { extensions, encoding, neededBytes, signal } = options;
  const kinds = (options.kinds ?? SCRATCH_KINDS).filter((kind) => THROWAWAY.has(kind));
  const wanted = Math.max(options.major ?? MAJORS.oldest, MAJORS.oldest);
  let first: Failure | undefined;
  for (let major = wanted; major <= Math.max(wanted, MAJORS.newest); major += 1) {
    const needs = { major, extensions, encoding, neededBytes, signal };
    try {
      return await openScratchServer({
        image: options.image,
        embedded: options.embedded,
        installation: options.installation,
        kinds,
        ...needs,
      });
    } catch (error) {
      if (!isFailure(error, "program/missing")) throw error;
      first ??= error;
    }
  }
  const also = extensions.filter((name) => name !== "plpgsql");
  throw new Failure(
    "program/missing",
    `there is no server to load the dump into: PostgreSQL ${wanted} or newer${also.length === 0 ? "" : ` with ${also.join(", ")}`} is needed`,
    { ...(first?.hint === undefined ? {} : { hint: first.hint }), cause: first },
  );
}
