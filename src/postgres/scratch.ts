/**
 * A scratch server: a PostgreSQL that is made for one drill and thrown away with everything in it, or a database of our
 * own on a server that is there. The places that it can come from are looked at in order, and each says why it does not fit.
 */
import { Failure } from "../base/errors.ts";
import type { ServerAddress } from "./address.ts";
import { type ContainerPlaces, lookAtContainer } from "./scratch-container.ts";
import { lookAtServer } from "./scratch-database.ts";
import { lookAtEmbedded, lookAtPrograms } from "./scratch-programs.ts";
import {
  isOffer,
  lackOf,
  type Lack,
  type Offer,
  SCRATCH_KINDS,
  type ScratchKind,
  type ScratchNeeds,
  type ScratchServer,
} from "./scratch-source.ts";
import { embeddedFolders, findServers, serversIn } from "./server-programs.ts";

export { SCRATCH_KINDS, type ScratchKind, type ScratchServer } from "./scratch-source.ts";

/** Where a scratch server may come from. */
export interface ScratchPlaces extends ContainerPlaces {
  /** Which places are looked at, in this order; by default all of them. */
  kinds?: readonly ScratchKind[] | undefined;
  /** It is to be reached by a port; a container that is made for it has no network. */
  wantsPort?: boolean | undefined;
  /** A folder with npm's embedded server. */
  embedded?: string | undefined;
  /** A server on which a database may be made. */
  server?: ServerAddress | undefined;
  /** The installation's own server, where that may bear the load. */
  inPlace?: ServerAddress | undefined;
}

export interface ScratchOptions extends ScratchNeeds, ScratchPlaces {}

/** The newest major of which a server could be started here. @throws Failure `program/missing`. */
export async function findServerMajor({ signal }: { signal: AbortSignal }): Promise<number> {
  const servers = [...(await findServers(signal)), ...(await serversIn(embeddedFolders(), signal))];
  if (servers.length > 0) return Math.max(...servers.map((server) => server.major));
  throw new Failure("program/missing", "no PostgreSQL server is installed on this machine", {
    hint: "Install the package postgresql (Debian, Ubuntu) or postgresql-server (Red Hat).",
  });
}

/**
 * Says from what a scratch server would be made.
 * @throws Failure `program/missing` naming what to install.
 */
export async function findScratchServer(options: ScratchOptions): Promise<string> {
  return (await choose(options)).where;
}

/** @throws Failure `program/missing`; `store/full` when its disk cannot hold `neededBytes`. */
export async function requireScratchSpace(options: ScratchOptions): Promise<void> {
  await (await choose(options)).requireSpace?.();
}

/**
 * Starts a scratch server, or makes a database on one.
 * @throws Failure `program/missing` naming what to install; `program/failed` with what it logged; `store/full`.
 */
export async function openScratchServer(options: ScratchOptions): Promise<ScratchServer> {
  return await (await choose(options)).open();
}

/** The first place that fits. @throws Failure `program/missing`: what each lacks, and what to install. */
async function choose(options: ScratchOptions): Promise<Offer> {
  const lacks: Lack[] = [];
  for (const kind of options.kinds ?? SCRATCH_KINDS) {
    const found = await LOOKS[kind](options);
    if (isOffer(found)) return found;
    lacks.push(found);
  }
  throw noneFits(options, lacks);
}

const LOOKS: Readonly<Record<ScratchKind, (options: ScratchOptions) => Promise<Offer | Lack>>> = {
  programs: lookAtPrograms,
  container: async (options) =>
    options.wantsPort === true
      ? lackOf("container", "it has no network, and so no port", "Leave out --port: it is reached by its socket.")
      : await lookAtContainer(options, options),
  embedded: async (options) => await lookAtEmbedded(options, options.embedded),
  "database-url": async (options) =>
    options.server === undefined
      ? lackOf(
          "database-url",
          "none is named",
          "Name one, on which a database may be made and dropped, as drill.database-url.",
        )
      : await lookAtServer("database-url", options.server, options),
  "in-place": async (options) =>
    options.inPlace === undefined
      ? lackOf(
          "in-place",
          "it is left alone",
          "With --in-place-server a database is made there, which loads that server.",
        )
      : await lookAtServer("in-place", options.inPlace, options),
};

const NAMES = {
  programs: "this machine's programs",
  container: "a container",
  embedded: "npm's embedded server",
  "database-url": "a server for drills",
  "in-place": "Chatwoot's own server",
} as const satisfies Record<ScratchKind, string>;

/** A moment is recovered in a folder of its own, and not on a server that runs. */
const NONE_ALLOWED =
  "The configuration's drill.servers leaves out all that could: add programs, container or embedded to it, or leave it out.";

function noneFits({ major, extensions, cluster }: ScratchOptions, lacks: readonly Lack[]): Failure {
  const own = extensions.filter((name) => name !== "plpgsql");
  const needed = `PostgreSQL ${major}${own.length === 0 ? "" : ` with ${own.join(", ")}`}`;
  const each = lacks.map(({ kind, why, remedy }, at) => `(${at + 1}) ${NAMES[kind]}: ${why}. ${remedy}`);
  return new Failure(
    "program/missing",
    `there is no server to ${cluster === undefined ? "drill" : "recover"} in: ${needed} is needed`,
    { hint: each.length === 0 ? NONE_ALLOWED : `Any one of these will do. ${each.join(" ")}` },
  );
}
