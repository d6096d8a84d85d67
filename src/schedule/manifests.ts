/** The daily run as a Compose service: to be printed, looked through, and added by a person. */
import { dirname } from "node:path";
import { stringify } from "yaml";
import { DELAY_MINUTES, type DailyJob } from "./job.ts";

export interface ManifestOptions {
  image: string;
  /** Folders that the run reads, beside those it writes to. */
  reads: readonly string[];
  stateDir: string;
  /** Chatwoot is found by asking a Docker Engine, whose socket the service needs then. */
  asksEngine?: boolean;
}

/** What the service runs, whatever else stands in its file. */
export const RUN_WHEN_DUE = ["--json", "--quiet", "run", "--when-due", "--delay", String(DELAY_MINUTES)] as const;

const ENGINE_SOCKET = "/var/run/docker.sock";
const ENGINE_NOTES = [
  "Whoever may use the engine's socket is root on the machine, ':ro' or not. Mount Chatwoot's volume of uploaded files here, too,",
  "as Chatwoot's own services have it and with :ro behind it: 'chatkeep doctor' says what is not seen.",
];

/** Docker Compose has no timer: the service waits for the time, does the day's work, ends, and is started again. */
export function formatCompose(job: DailyJob, { image, reads, stateDir, asksEngine = false }: ManifestOptions): string {
  const configDir = dirname(job.config);
  const writes = job.writes.filter((path) => path !== stateDir && !isBelow(path, configDir));
  const service = {
    image,
    ...(asksEngine ? { user: "root" } : {}),
    command: ["--config", job.config, ...RUN_WHEN_DUE],
    restart: "always",
    environment: { TZ: job.times.timeZone },
    volumes: [
      bind(configDir, true),
      { type: "volume", source: "chatkeep-state", target: stateDir },
      ...writes.map((path) => bind(path, false)),
      ...reads.map((path) => bind(path, true)),
      ...(asksEngine ? [bind(ENGINE_SOCKET, true)] : []),
    ],
    // A backup that is stopped ends cleanly, which may take some seconds.
    stop_grace_period: "1m",
    // For the PostgreSQL server of a drill.
    shm_size: "256m",
  };
  const head = [
    `The daily run of ${job.installation.name}, to be added to Chatwoot's own file. It must reach the database: give it the`,
    "network of Chatwoot's services, and see that the configuration names the database as it is called there.",
    ...(asksEngine ? ENGINE_NOTES : []),
  ];
  return `${comment(head)}${stringify({ services: { chatkeep: service }, volumes: { "chatkeep-state": {} } })}`;
}

function bind(source: string, isReadOnly: boolean): object {
  return { type: "bind", source, target: source, ...(isReadOnly ? { read_only: true } : {}) };
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function comment(lines: readonly string[]): string {
  return lines.map((line) => `# ${line}\n`).join("");
}
