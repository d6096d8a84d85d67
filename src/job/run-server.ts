/**
 * Leaves a server running that has a database as it was: recovered up to a moment, or loaded from a restore point. To be looked at;
 * nobody can write into it.
 */
import { randomBytes } from "node:crypto";
import { access, chown, constants, mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import { formatMicros } from "../point/continuous.ts";
import { type AskedMoment, formatMoment } from "../point/moment.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { findPrograms } from "../postgres/programs.ts";
import { recover } from "../postgres/recovery.ts";
import { MAY_STAY } from "../postgres/recovery-place.ts";
import { openScratchServer, type ScratchPlaces, type ScratchServer } from "../postgres/scratch.ts";
import { canReach, chooseParent, serverUser, type User } from "../postgres/scratch-place.ts";
import { findPort, type StandingOptions, type StandingProcess, standOn } from "../postgres/standing.ts";
import type { Repository } from "../repo/repository.ts";
import { openTemporaryFolder } from "../system/temporary.ts";
import { formatLsn, type Lsn } from "../wal/lsn.ts";
import { estimateDisk } from "./estimate.ts";
import { recoverDatabase } from "./continuous/dropped-database.ts";
import { addressOf, recoveryOf, refuseUnsound } from "./continuous/moment.ts";
import { recoveredFindings } from "./continuous/moment-findings.ts";
import {
  findServingBases,
  openMomentSource,
  type ServingBase,
  type SettledMoment,
  withServingBase,
} from "./continuous/moment-source.ts";
import type { Continuous } from "./continuous/list.ts";
import { passageOf } from "./continuous/set-back.ts";
import { loadPoint } from "./load-point.ts";
import { positionIn } from "./moment-position.ts";
import type { PointReader } from "./point-reader.ts";
import { listPoints } from "./points.ts";
import { createRoles, namedRoles } from "./rights.ts";
import type { RecoveredServer, StartedServerSummary } from "./server-summary.ts";
import {
  beingRecovered,
  folderName,
  newServerId,
  runningServers,
  stopServer,
  writeServer,
} from "./standing-servers.ts";

export interface RunServerOptions {
  /** What the repository is called, for people. */
  repositoryName: string;
  /** The folder of the installation's records. */
  home: string;
  /** Where the server's folder is made; by default the system's temporary folder. */
  parent: string | undefined;
  port: number | undefined;
  scratch: ScratchPlaces;
  /** Told the password of the role that is made. */
  hide: (secrets: Iterable<string>) => void;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

export interface RunMomentOptions extends RunServerOptions {
  repository: Repository;
  asked: AskedMoment;
  identity: { id: string; name: string };
  /** Chatwoot's; by default the one that the nearest restore point is of. */
  database: string | undefined;
  /** Roles that may be in the cluster, the likeliest first. */
  roles: readonly string[];
}

/** Those have a folder of their own on this machine. */
const OWN = new Set<string>(["programs", "container", "embedded"]);

/** @throws Failure `moment/outside`, and as a recovery; `target/unsuitable` for a folder or port that cannot be had. */
export async function runMoment(options: RunMomentOptions): Promise<StartedServerSummary> {
  const { repository, asked, identity, signal } = options;
  await repository.loadIndex({ signal });
  const search = { repository, installationId: identity.id, asked, signal };
  const { serving, continuous } = await findServingBases(search);
  const run = async (served: ServingBase) => {
    const passage = await passageOf(served, continuous, options);
    await using source = await openMomentSource(served, continuous, { ...options, passage });
    return await leaveRunning(options, formatMoment(served.asked), async (folder) => {
      return await recoverMoment(folder, { ...options, asked: served.asked, source, continuous });
    });
  };
  return await withServingBase(serving, run, options);
}

/** What has a database as it was, and is not yet read-only. */
interface Made extends AsyncDisposable {
  server: ScratchServer;
  /** On the database that is looked at. */
  address: ServerAddress;
  settings: Readonly<Record<string, string>>;
  about: Pick<RecoveredServer, "lastCommitAt" | "replayedTo">;
  findings: Finding[];
}

type MomentToRecover = Omit<RunMomentOptions, "asked"> & {
  asked: SettledMoment;
  source: Awaited<ReturnType<typeof openMomentSource>>;
  continuous: Continuous;
};

async function recoverMoment(folder: string, options: MomentToRecover): Promise<Made> {
  const { source, scratch, port, progress, signal } = options;
  const list = await listPoints(options.repository, { signal });
  const user = await serverUser();
  const found = await recoverDatabase(source, {
    recoverTo: async (from) => {
      await makePrivate(folder, user);
      const places = { ...scratch, wantsPort: port !== undefined };
      return { recovered: await recover({ ...recoveryOf(from), folder, places, progress, signal }) };
    },
    addressOf: async (made) => {
      refuseUnsound(options, made);
      const { lastCommitUs: last } = made;
      const us = options.asked.kind === "time" ? options.asked.us : (last ?? BigInt(options.clock.now()) * 1000n);
      return await addressOf(made, options, list, Number(us / 1000n));
    },
    progress,
    signal,
  });
  const { address } = found;
  const { recovered } = found.made;
  try {
    const { lastCommitUs, replayedTo } = recovered;
    const lastCommitAt = lastCommitUs === undefined ? null : formatMicros(lastCommitUs);
    return {
      server: recovered.server,
      address,
      settings: source.cluster.settings,
      about: { lastCommitAt, replayedTo: replayedTold(replayedTo, options) },
      findings: [...(await recoveredFindings(address, { signal })), ...(source.findings ?? [])].map(forLooking),
      [Symbol.asyncDispose]: async () => await recovered[Symbol.asyncDispose](),
    };
  } catch (error) {
    await recovered[Symbol.asyncDispose]();
    throw error;
  }
}

/** As POINT takes it, behind `lsn:`. */
function replayedTold(replayedTo: Lsn, { source: { systemId, timeline }, continuous }: MomentToRecover): string {
  const moment = { systemIdentifier: systemId, timeline, replayedTo: formatLsn(replayedTo) };
  return positionIn(continuous, moment).replace(/^lsn:/, "");
}

/** Who only looks has nothing to mend. */
function forLooking(finding: Finding): Finding {
  if (finding.kind !== "moment-collation-differs") return { ...finding, level: "note" };
  return {
    ...finding,
    hint: "What you look up by text and do not find may be there: 'set enable_indexscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off' reads the tables themselves.",
  };
}

/** An ordinary restore point, loaded as a drill loads it. @throws Failure as a drill's server and a restore. */
export async function runPoint(reader: PointReader, options: RunServerOptions): Promise<StartedServerSummary> {
  const { id } = reader.point;
  return await leaveRunning(options, id, async (folder) => await loadInto(folder, reader, options));
}

async function loadInto(
  folder: string,
  reader: PointReader,
  { scratch, port, progress, signal }: RunServerOptions,
): Promise<Made> {
  const manifest = await reader.manifest();
  const { major, clientMajor, encoding, extensions } = manifest.server;
  progress.stage("making a server");
  const server = await openScratchServer({
    ...scratch,
    kinds: scratch.kinds?.filter((kind) => OWN.has(kind)),
    wantsPort: port !== undefined,
    major,
    extensions: extensions.map(({ name }) => name),
    roles: namedRoles(manifest.roles ?? []),
    encoding,
    settings: MAY_STAY,
    neededBytes: estimateDisk(manifest),
    folder,
    signal,
  });
  try {
    await using work = await openTemporaryFolder("chatkeep-load");
    const programs = await findPrograms(Math.max(server.major, clientMajor), { signal });
    const { address } = server;
    if (manifest.roles !== undefined) await createRoles(reader, address, { signal });
    const loaded = await loadPoint(reader, address, { programs, workFolder: work.path, progress, signal });
    return {
      server,
      address,
      settings: {},
      about: { lastCommitAt: null, replayedTo: null },
      findings: loaded.findings,
      [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
    };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** It may be there already: a server that ended took its own with it. */
async function makePrivate(folder: string, user: User | undefined): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (user !== undefined) await chown(folder, user.uid, user.gid);
}

/** All that fails leaves nothing behind; killed, it is removed by whoever looks next. */
async function leaveRunning(
  options: RunServerOptions,
  point: string,
  make: (folder: string) => Promise<Made>,
): Promise<StartedServerSummary> {
  const { home, repositoryName, clock, signal } = options;
  const started = clock.monotonic();
  await runningServers(home, { signal });
  if (options.port !== undefined) await findPort(options.port);
  const user = await serverUser();
  const id = newServerId();
  const folder = join(await parentFor(options.parent, user), folderName(id));
  const server: RecoveredServer = {
    id,
    state: "recovering",
    since: formatInstant(clock.now()),
    point,
    lastCommitAt: null,
    replayedTo: null,
    server: "",
    folder,
    access: null,
  };
  let record = beingRecovered(server);
  await writeServer(home, record);
  const onStart = async (standing: StandingProcess) => {
    record = { ...record, standing };
    await writeServer(home, record);
  };
  try {
    await makePrivate(folder, user);
    await using made = await make(folder);
    const running = await stand(made, server, { ...options, onStart });
    await writeServer(home, { ...record, server: running, recovering: null });
    const seconds = (clock.monotonic() - started) / 1000;
    const { findings } = made;
    return { type: "summary", verb: "restore", started: running, repository: repositoryName, seconds, findings };
  } catch (error) {
    await stopServer(home, record);
    throw error;
  }
}

async function stand(
  made: Made,
  server: RecoveredServer,
  { port, hide, onStart, progress, signal }: RunServerOptions & Pick<StandingOptions, "onStart">,
): Promise<RecoveredServer> {
  progress.stage("starting the server read-only");
  const { database } = made.address;
  const user = `chatkeep_look_${server.id}`;
  const password = randomBytes(18).toString("base64url");
  hide([password]);
  const looker = { user, password, database };
  const { settings } = made;
  const { address } = await standOn(made.server, made.address, { looker, port, settings, onStart, signal });
  const passwordFile = join(server.folder, "password");
  await writeFile(passwordFile, `*:${address.port}:*:${user}:${password}\n`, { mode: 0o600 });
  const access = { host: address.host, port: address.port, user, database, passwordFile };
  return {
    ...server,
    ...made.about,
    state: "running",
    server: made.server.where,
    access: { ...access, url: urlFor(access) },
  };
}

function urlFor(access: { host: string; port: number; user: string; database: string; passwordFile: string }): string {
  const { host, port, user, database, passwordFile } = access;
  const named = encodeURIComponent(database);
  const passfile = `passfile=${encodeURIComponent(passwordFile)}`;
  if (!host.startsWith("/")) return `postgresql://${user}@${host}:${port}/${named}?${passfile}`;
  return `postgresql://${user}@/${named}?host=${encodeURIComponent(host)}&port=${port}&${passfile}`;
}

/** The path of a socket has 107 bytes at most, and ends in `/c/s/.s.PGSQL.65535`. */
const PATH_BYTES = 107 - "/chatkeep-recovered-012345/c/s/.s.PGSQL.65535".length;

/** @throws Failure `target/unsuitable` for what is no folder that the server's user could get to. */
async function parentFor(named: string | undefined, user: User | undefined): Promise<string> {
  const parent = named ?? (await chooseParent(user));
  const isFolder = await stat(parent).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
  if (!isFolder)
    throw unsuitable(`there is no folder '${parent}'`, "Name a folder that is there: the server's own is made in it.");
  if (Buffer.byteLength(parent) > PATH_BYTES) {
    throw unsuitable(
      `the path '${parent}' is too long for a server's socket`,
      `Name one of at most ${PATH_BYTES} bytes with --to.`,
    );
  }
  await access(parent, constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw unsuitable(`nothing can be made in '${parent}'`, "Name another folder with --to.", cause);
  });
  if (user !== undefined && !(await canReach(parent, user))) {
    throw unsuitable(
      `the user that PostgreSQL runs as cannot get to '${parent}'`,
      "Name a folder that everybody can enter: the server's own is private all the same.",
    );
  }
  return parent;
}

function unsuitable(message: string, hint: string, cause?: unknown): Failure {
  return new Failure("target/unsuitable", message, { hint, cause });
}
