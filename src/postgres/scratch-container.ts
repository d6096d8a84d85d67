/**
 * Scratch servers in a container of the image that the installation's own database runs in: the same server, with the same
 * extensions. The container has no network; its data and its socket lie in a temporary folder of this machine, which it
 * shares. It runs as our own user, so everything there is ours, and ends when we do.
 */
import { chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import {
  type Engine,
  findEngine,
  findImage,
  findImageAt,
  type Image,
  isWithin,
  ownContainer,
  removeContainer,
  removeDeadContainers,
} from "../system/containers.ts";
import { runProgram } from "../system/process.ts";
import type { ServerAddress } from "./address.ts";
import { lackingLocales } from "./locales.ts";
import { layToRest, openServerFolder } from "./scratch-folder.ts";
import { refuseHereWithoutSpace, serverUser, type User } from "./scratch-place.ts";
import {
  KEEPER,
  SCRATCH_SUPERUSER,
  serverArguments,
  type Started,
  startKept,
  stopKept,
  untilReady,
} from "./scratch-process.ts";
import {
  type Lack,
  lackingExtensions,
  lackOf,
  lackOfLocale,
  type Offer,
  type RestingServer,
  type ScratchNeeds,
  type ScratchServer,
} from "./scratch-source.ts";

export interface ContainerPlaces {
  /** An image by name or digest. */
  image?: string | undefined;
  /** Says where the installation's own server is: where a container of this machine answers there, its image is taken. */
  installation?: (() => Promise<ServerAddress | undefined>) | undefined;
}

/** Looks for an image that fits, and tries that it can be run. Starts nothing that stays. */
export async function lookAtContainer(needs: ScratchNeeds, places: ContainerPlaces): Promise<Offer | Lack> {
  const { major, extensions, signal } = needs;
  const engine = await findEngine({ signal });
  if (!("program" in engine)) return lackOf("container", engine.why, engine.remedy);
  if (engine.isRootless) {
    return lackOf(
      "container",
      `${engine.program} runs without root, where the users of a container are others`,
      "Use another server.",
    );
  }
  if (await isWithin(engine, { signal })) {
    return lackOf(
      "container",
      "Chatkeep runs in a container itself, whose temporary folder no other container can be given",
      `Use an image of Chatkeep that has a server of PostgreSQL ${major}: build it with SERVERS="${major}".`,
    );
  }
  const found = await chooseImage(engine, places, signal);
  if ("why" in found) return lackOf("container", found.why, found.remedy);
  const inside = await lookInside(engine, found, signal);
  if ("why" in inside) return lackOf("container", inside.why, inside.remedy);
  const where = `PostgreSQL ${inside.version} in a container of ${shownImage(found)}`;
  if (inside.major !== major) {
    return lackOf("container", `${where} is of another major`, `Name an image of PostgreSQL ${major} as drill.image.`);
  }
  const lacking = lackingExtensions(extensions, inside.extensions);
  if (lacking.length > 0) {
    return lackOf(
      "container",
      `${where} lacks the extension ${lacking.join(", ")}`,
      "Name an image that has it as drill.image.",
    );
  }
  const unknown = lackingLocales(needs.cluster?.locales ?? [], inside.locales);
  if (inside.locales !== "" && unknown.length > 0) {
    return lackOfLocale("container", where, unknown, "Name the very image that the database ran in as drill.image.");
  }
  return {
    kind: "container",
    where,
    requireSpace: async () => await refuseHereWithoutSpace(needs.neededBytes ?? 0),
    open: async () => await openContainer(engine, found, { ...inside, where }, needs),
  };
}

/** `pgvector/pgvector:pg16 (sha256:0123456789ab)`. */
function shownImage({ name, id }: Image): string {
  const digest = id.slice(0, "sha256:".length + 12);
  return name === id ? digest : `${name} (${digest})`;
}

async function chooseImage(
  engine: Engine,
  { image, installation }: ContainerPlaces,
  signal: AbortSignal,
): Promise<Image | { why: string; remedy: string }> {
  if (image !== undefined) {
    const found = await findImage(engine, image, { signal });
    if (found !== undefined) return found;
    return {
      why: `the image '${image}' is not on this machine`,
      remedy: `Fetch it: ${engine.program} pull ${image}. A drill fetches nothing.`,
    };
  }
  const address = await installation?.();
  const running = address === undefined ? undefined : await findImageAt(engine, address, { signal });
  if (running !== undefined) return running;
  return {
    why: "no container of this machine is known to be Chatwoot's database",
    remedy: "Name an image of it that is here as drill.image, for example pgvector/pgvector:pg16.",
  };
}

interface Inside {
  version: string;
  major: number;
  extensions: Set<string> | undefined;
  /** As `locale -a` prints them; empty where it does not tell. */
  locales: string;
}

/** Debian's packages put the programs where no PATH leads. */
const FIND_PROGRAMS = 'for d in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin; do PATH="$PATH:$d"; done';

const LOCALES = "-- locales";
const LOOK_INSIDE = `${FIND_PROGRAMS}
postgres --version || exit 1
for d in "$(pg_config --sharedir 2>/dev/null)" /usr/share/postgresql/* /usr/local/share/postgresql /usr/local/pgsql/share; do
  if test -f "$d/extension/plpgsql.control"; then ls "$d/extension"; break; fi
done
echo ${LOCALES}
locale -a 2>/dev/null || true`;

async function lookInside(
  engine: Engine,
  image: Image,
  signal: AbortSignal,
): Promise<Inside | { why: string; remedy: string }> {
  const run = [...RUN, ...ownContainer(), ...(await asUser()).args, "--entrypoint", "/bin/sh", image.id];
  try {
    const { stdout } = await runProgram(engine.program, [...run, "-c", LOOK_INSIDE], { signal });
    const [programs = "", locales = ""] = stdout.toString("utf8").split(`${LOCALES}\n`);
    const [first = "", ...names] = programs.split("\n");
    const version = /\(PostgreSQL\)\s+(\d+[\w.]*)/.exec(first)?.[1];
    if (version !== undefined) {
      const extensions = names.filter((name) => name.endsWith(".control")).map((name) => name.slice(0, -8));
      const known = extensions.length === 0 ? undefined : new Set(extensions);
      return { version, major: Number.parseInt(version, 10), extensions: known, locales: locales.trim() };
    }
  } catch (error) {
    if (!isFailure(error, "program/failed")) throw error;
    return {
      why: `the image ${shownImage(image)} has no server of PostgreSQL that can be run: ${error.hint ?? error.message}`,
      remedy: "Name an image of a PostgreSQL server as drill.image.",
    };
  }
  return {
    why: `the image ${shownImage(image)} has no server of PostgreSQL`,
    remedy: "Name an image of a PostgreSQL server as drill.image.",
  };
}

/** Without a network, without anything that needs rights, and nothing of it stays. */
const RUN = [
  "run",
  "--rm",
  "--pull=never",
  "--network=none",
  "--cap-drop=ALL",
  "--security-opt=no-new-privileges",
  // Where SELinux watches, a container may not use a temporary folder; elsewhere this means nothing.
  "--security-opt=label=disable",
] as const;

/** Who runs the server: ourselves, or, as PostgreSQL refuses root, whom it runs as outside of a container. */
async function asUser(): Promise<{ args: string[]; user: User; given: User | undefined }> {
  const given = await serverUser();
  const user = given ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  return { args: ["--user", `${user.uid}:${user.gid}`], user, given };
}

/** Hands over to {@link KEEPER}. Arguments: the encoding, the shared folder, the server's own. */
const START_GIVEN = `${FIND_PROGRAMS}
export LC_ALL=C; unset PGDATA
shift
${KEEPER}`;

/** The same, after it made the data folder. */
const START_INSIDE = `${FIND_PROGRAMS}
export LC_ALL=C; unset PGDATA
encoding=$1; shift
initdb --pgdata="$1/data" --username=${SCRATCH_SUPERUSER} --auth=trust --encoding="$encoding" --locale=C --no-sync </dev/null >/dev/null || exit 1
${KEEPER}`;

/** It is nobody's whose end would be the container's. */
const STANDING = ["--label", "chatkeep.recovered=yes"] as const;

/** A server that was laid to rest, with all that it prints in a file. Arguments: the file, the server's own. */
const START_AGAIN = `${FIND_PROGRAMS}
export LC_ALL=C; unset PGDATA
log=$1; shift
exec "$@" </dev/null >>"$log" 2>&1`;

async function openContainer(
  engine: Engine,
  image: Image,
  { major, version, where }: Pick<ScratchServer, "major" | "version" | "where">,
  needs: ScratchNeeds,
): Promise<ScratchServer> {
  const { encoding = "UTF8", cluster, settings, signal } = needs;
  await removeDeadContainers(engine, { signal });
  const { args: asOurs, user, given } = await asUser();
  const folder = await openServerFolder(needs, given);
  const [shared, passwd, idFile] = ["c", "passwd", "id"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  const [socket, data] = [join(shared, "s"), join(shared, "data")];
  let started: Started | undefined;
  const dispose = async () => {
    await stopContainer(engine, started, idFile);
    await folder[Symbol.asyncDispose]();
  };
  try {
    await mkdir(socket, { mode: 0o700, recursive: true });
    // An image need not know our user, and PostgreSQL asks for its name.
    await writeFile(passwd, `root:x:0:0::/:/bin/sh\npostgres:x:${user.uid}:${user.gid}::/:/bin/sh\n`, { mode: 0o644 });
    if (given !== undefined) for (const path of [socket, shared, folder.path]) await chown(path, user.uid, user.gid);
    await cluster?.prepare({ folder: shared, data, user: given });
    const sharing = [`source=${shared},target=${shared}`, `source=${passwd},target=/etc/passwd,readonly`];
    const places = [...asOurs, "--shm-size=256m", ...sharing.flatMap((mount) => ["--mount", `type=bind,${mount}`])];
    const options = [...ownContainer(), "--interactive", `--cidfile=${idFile}`, ...places];
    const program = ["postgres", ...serverArguments({ data, socket }, cluster?.settings ?? settings)];
    const script = cluster === undefined ? START_INSIDE : START_GIVEN;
    const command = ["--entrypoint", "/bin/sh", image.id, "-c", script, "sh", encoding, shared, ...program];
    // The engine's program finds its engine by it; into the container goes nothing of it.
    const env = { ...process.env, LC_ALL: "C" };
    started = startKept(engine.program, [...RUN, ...options, ...command], { env });
    const address = await (cluster?.untilReady ?? untilReady)(socket, started, signal);
    const server = started;
    const rest = async (): Promise<RestingServer> => {
      await layToRest(folder, { within: shared, data, started: server });
      const again = ["--entrypoint", "/bin/sh", image.id, "-c", START_AGAIN, "sh"];
      const start: RestingServer["start"] = async (args, log, signal) => {
        const command = [...RUN, "--detach", ...STANDING, ...places, ...again, log, "postgres", ...args];
        const { stdout } = await runProgram(engine.program, command, { signal });
        return { kind: "container", program: engine.program, id: stdout.toString("utf8").trim() };
      };
      return { major, data, socket, user: given, isNetworked: false, start };
    };
    return {
      kind: "container",
      address,
      major,
      version,
      where,
      isThrowaway: true,
      ...(needs.folder === undefined ? {} : { rest }),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** It ends when its standard input does; where it does not, it is removed by its number. */
async function stopContainer({ program }: Engine, started: Started | undefined, idFile: string): Promise<void> {
  if (started === undefined) return;
  const patience = new AbortController();
  await Promise.race([
    stopKept(started.child),
    systemClock.sleep(LIMITS.containerStopMs, patience.signal).catch(() => {}),
  ]);
  patience.abort();
  if (started.hasEnded()) return;
  const id = await readFile(idFile, "utf8").catch(() => "");
  if (id !== "") await removeContainer(program, id, { signal: new AbortController().signal });
  await stopKept(started.child);
}
