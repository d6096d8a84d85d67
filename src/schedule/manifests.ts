/** The daily run, and continuous protection, as Compose services: to be printed, looked through, and added by a person. */
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import type { EngineAddress } from "../system/engine-api.ts";
import { DELAY_MINUTES, type DailyJob, IMAGE_USER, type Job, type WatchJob } from "./job.ts";

export interface ManifestOptions {
  image: string;
  /** Folders that the run reads, beside those it writes to. */
  reads: readonly string[];
  stateDir: string;
  /** Of the configuration, which nobody else may read. */
  owner: { uid: number; gid: number };
  /** Where the Docker Engine listens that is asked for Chatwoot, which the service needs then. */
  engine?: EngineAddress | undefined;
}

/** What the service runs, whatever else stands in its file. */
export const RUN_WHEN_DUE = ["--json", "--quiet", "run", "--when-due", "--delay", String(DELAY_MINUTES)] as const;

/** Where it is looked for in a container, wherever it lies on the machine. */
const ENGINE_SOCKET = "/var/run/docker.sock";
const ENGINE_NOTES = [
  "Whoever may ask the engine is root on its machine, ':ro' or not. Mount Chatwoot's volume of uploaded files here, too,",
  "as Chatwoot's own services have it and with :ro behind it: 'chatkeep doctor' says what is not seen.",
];

/** Docker Compose has no timer: the service waits for the time, does the day's work, ends, and is started again. */
export function formatCompose(job: DailyJob, options: ManifestOptions): string {
  const { service, user, volumes } = partsOf(job, { ...options, timeZone: job.times.timeZone });
  const chatkeep = {
    ...service,
    command: ["--config", job.config, ...RUN_WHEN_DUE],
    // A backup that is stopped ends cleanly, which may take some seconds.
    stop_grace_period: "1m",
    // For the PostgreSQL server of a drill.
    shm_size: "256m",
  };
  const head = [
    `The daily run of ${job.installation.name}, to be added to Chatwoot's own file. It must reach the database: give it the`,
    "network of Chatwoot's services, and see that the configuration names the database as it is called there.",
    ...user.notes,
    ...(options.engine === undefined ? [] : ENGINE_NOTES),
  ];
  return `${comment(head)}${stringify({ services: { chatkeep }, ...volumes })}`;
}

export interface WatchManifestOptions extends ManifestOptions {
  /** The Compose service that the database is; undefined where it is not known. */
  database: string | undefined;
}

/** As the service is called in Chatwoot's own file. */
const USUAL_DATABASE = "postgres";

/**
 * Continuous protection, in the very network of the database's container: PostgreSQL's image lets replication in from 127.0.0.1
 * alone, and that network's 127.0.0.1 is the container.
 */
export function formatWatchCompose(job: WatchJob, options: WatchManifestOptions): string {
  const { service, user, volumes } = partsOf(job, { ...options, timeZone: job.timeZone });
  const database = options.database ?? USUAL_DATABASE;
  const watch = {
    ...service,
    command: ["--config", job.config, ...job.options.program, "--json", "--quiet", "watch", ...job.options.watch],
    network_mode: `service:${database}`,
    // Of a network whose container is made anew only a name is left: then this is made anew, too.
    depends_on: { [database]: { condition: "service_started", restart: true } },
    // What came by then is stored first.
    stop_grace_period: "2m",
  };
  const head = [
    `Continuous protection of ${job.installation.name}, to be added to Chatwoot's own file, beside the daily run. It joins the network of`,
    `the service '${database}', where PostgreSQL lets 127.0.0.1 replicate: so it has no 'networks' and no 'ports' of its own.`,
    ...(options.database === undefined
      ? ["Is the database's service called otherwise? Then write its name in both places."]
      : []),
    ...user.notes,
    ...(options.engine === undefined ? [] : ENGINE_NOTES),
  ];
  return `${comment(head)}${stringify({ services: { "chatkeep-watch": watch }, ...volumes })}`;
}

/** What both have. */
function partsOf(
  job: Job,
  options: ManifestOptions & { timeZone: string },
): { service: object; user: User; volumes: object } {
  const { image, reads, stateDir, engine, timeZone } = options;
  const configDir = dirname(job.config);
  // A folder in the configuration's own is mounted over it, writable; that one itself only where it is written to.
  const writes = job.writes.filter((path) => path !== stateDir && path !== configDir);
  const user = userOf(options);
  const state = user.ownsState ? bind(stateDir, false) : { type: "volume", source: "chatkeep-state", target: stateDir };
  const service = {
    image,
    ...(user.id === undefined ? {} : { user: user.id }),
    restart: "always",
    environment: { TZ: timeZone, XDG_CACHE_HOME: join(stateDir, "cache"), ...engineVariables(engine) },
    volumes: [
      bind(configDir, !job.writes.includes(configDir)),
      state,
      ...writes.map((path) => bind(path, false)),
      ...reads.map((path) => bind(path, true)),
      ...(user.ownsState ? [bind("/etc/passwd", true)] : []),
      ...engineMounts(engine),
    ],
    // Of 1,024, which others have: it counts only while they want the processor.
    cpu_shares: 204,
  };
  const volumes = user.ownsState ? {} : { volumes: { "chatkeep-state": {} } };
  const nested = [stateDir, ...writes].filter((path) => path !== configDir && path.startsWith(`${configDir}/`));
  // Nothing can be made in a folder that is mounted to be read alone.
  const notes = nested.map((path) => `'${path}' must be there when the service starts: install -d -m 700 '${path}'`);
  return { service, user: { ...user, notes: [...user.notes, ...notes] }, volumes };
}

interface User {
  /** By number; undefined for the image's own. */
  id: string | undefined;
  /** A volume would be root's or the image's user's: the state lies in a folder of his own. */
  ownsState: boolean;
  notes: string[];
}

/** Who may read the configuration. The engine's socket is root's. */
function userOf({ owner: { uid, gid }, stateDir, engine }: ManifestOptions): User {
  if (engine !== undefined) return { id: "0:0", ownsState: false, notes: [] };
  if (uid === IMAGE_USER) return { id: undefined, ownsState: false, notes: [] };
  if (uid === 0) {
    const notes = [
      "The configuration is root's, so the service runs as root. To have it run as the image's own user, give that user what it",
      `reads and writes: chown --recursive ${IMAGE_USER}:${IMAGE_USER} the configuration's folder and local repositories, and print this again.`,
    ];
    return { id: "0:0", ownsState: false, notes };
  }
  const notes = [
    `It runs as the configuration's owner. His state lies in a folder that must be there: install -d -o ${uid} -g ${gid} -m 700 ${stateDir}`,
    "PostgreSQL, for a drill, wants to know his name: hence /etc/passwd.",
  ];
  return { id: `${uid}:${gid}`, ownsState: true, notes };
}

function engineVariables(engine: EngineAddress | undefined): Record<string, string> {
  if (engine?.kind !== "tcp") return {};
  const { host, port, certificates } = engine;
  const DOCKER_HOST = `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`;
  return certificates === undefined
    ? { DOCKER_HOST }
    : { DOCKER_HOST, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: certificates };
}

function engineMounts(engine: EngineAddress | undefined): object[] {
  if (engine?.kind === "socket") return [bind(engine.path, true, ENGINE_SOCKET)];
  return engine?.certificates === undefined ? [] : [bind(engine.certificates, true)];
}

function bind(source: string, isReadOnly: boolean, target = source): object {
  return { type: "bind", source, target, ...(isReadOnly ? { read_only: true } : {}) };
}

function comment(lines: readonly string[]): string {
  return lines.map((line) => `# ${line}\n`).join("");
}
