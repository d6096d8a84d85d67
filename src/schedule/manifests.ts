/** The daily run as a Compose service: to be printed, looked through, and added by a person. */
import { dirname } from "node:path";
import { stringify } from "yaml";
import { DELAY_MINUTES, type DailyJob } from "./job.ts";

export interface ManifestOptions {
  image: string;
  /** Folders that the run reads, beside those it writes to. */
  reads: readonly string[];
  stateDir: string;
}

/** Docker Compose has no timer: the service waits for the time, does the day's work, ends, and is started again. */
export function formatCompose(job: DailyJob, { image, reads, stateDir }: ManifestOptions): string {
  const configDir = dirname(job.config);
  const writes = job.writes.filter((path) => path !== stateDir && !isBelow(path, configDir));
  const service = {
    image,
    restart: "always",
    command: ["--config", job.config, "--json", "--quiet", "run", "--when-due", "--delay", String(DELAY_MINUTES)],
    environment: { TZ: job.times.timeZone },
    volumes: [
      bind(configDir, true),
      { type: "volume", source: "chatkeep-state", target: stateDir },
      ...writes.map((path) => bind(path, false)),
      ...reads.map((path) => bind(path, true)),
    ],
  };
  const head = [
    `The daily run of ${job.installation.name}, to be added to Chatwoot's own file. It must reach the database: give it the`,
    "network of Chatwoot's services, and see that the configuration names the database as it is called there.",
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
