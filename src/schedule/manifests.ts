/** The daily run where containers run: to be printed, looked through, and applied by a person. */
import { basename, dirname } from "node:path";
import { stringify } from "yaml";
import { DELAY_MINUTES, type DailyJob, unitName } from "./job.ts";

export interface ManifestOptions {
  image: string;
  /** Folders that the run reads, beside those it writes to. */
  reads: readonly string[];
  stateDir: string;
}

/** Kubernetes: batch/v1 CronJob. Its configuration and passwords come from a Secret, its state lies on a claim. */
export function formatCronJob(job: DailyJob, { image, stateDir }: ManifestOptions): string {
  const name = kubernetesName(unitName(job));
  const configDir = dirname(job.config);
  const container = {
    name: "chatkeep",
    image,
    args: ["--config", job.config, "--json", "--quiet", "run"],
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
    resources: { requests: { cpu: "100m", memory: "512Mi" } },
    volumeMounts: [
      { name: "config", mountPath: configDir, readOnly: true },
      { name: "state", mountPath: stateDir },
      { name: "tmp", mountPath: "/tmp" },
    ],
  };
  const pod = {
    serviceAccountName: "chatkeep",
    restartPolicy: "Never",
    containers: [container],
    volumes: [
      { name: "config", secret: { secretName: `${name}-config`, defaultMode: 0o400 } },
      { name: "state", persistentVolumeClaim: { claimName: `${name}-state` } },
      { name: "tmp", emptyDir: {} },
    ],
  };
  const manifest = {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name, labels: { "app.kubernetes.io/name": "chatkeep" } },
    spec: {
      schedule: job.times.text,
      timeZone: job.times.timeZone,
      concurrencyPolicy: "Forbid",
      // What was missed is made up for within half a day.
      startingDeadlineSeconds: 43_200,
      successfulJobsHistoryLimit: 3,
      failedJobsHistoryLimit: 3,
      jobTemplate: { spec: { backoffLimit: 0, template: { spec: pod } } },
    },
  };
  const head = [
    `The daily run of ${job.installation.name}. It needs beside it: a Secret '${name}-config' with ${basename(job.config)} and`,
    `the password files that it names, a claim '${name}-state', the service account 'chatkeep', and, where`,
    "repositories or uploads lie on volumes, those under 'volumes' and 'volumeMounts'.",
  ];
  return `${comment(head)}${stringify(manifest)}`;
}

/** RFC 1123: what names of Kubernetes may hold; a CronJob's at most 52. */
function kubernetesName(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .slice(0, 45)
    .replaceAll(/^-+|-+$/g, "");
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
