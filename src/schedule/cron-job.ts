/** The daily run, and continuous protection, in Kubernetes: to be printed, looked through, and applied by a person. */
import { basename, dirname, join } from "node:path";
import { stringify } from "yaml";
import type { CronTimes } from "./cron.ts";
import { type DailyJob, IMAGE_USER, type Job, unitName, type WatchJob } from "./job.ts";

export interface CronJobOptions {
  image: string;
  /** Where the claim for the state is mounted. */
  stateDir: string;
  /** Repositories in folders of the machine that it is printed on, which a pod does not have. */
  local?: readonly { name: string; path: string }[];
}

/** What was missed is made up for within half a day. Seconds. */
const CATCH_UP = 43_200;
/** A run that hangs would keep all that come after it from beginning. Seconds. */
const LONGEST_RUN = 172_800;
/** From the signal to stop to the one that kills: what is being sent is ended. Seconds. */
const TIME_TO_STOP = 120;

/**
 * A claim for the state, and a CronJob (batch/v1). Its configuration and passwords come from a Secret, credentials from
 * another one that need not be there.
 */
export function formatCronJob(job: DailyJob, options: CronJobOptions): string {
  const name = kubernetesName(unitName(job));
  const labels = labelsOf(name);
  const claim = claimOf(name, labels);
  const args = ["--config", job.config, "--json", "--quiet", "run"];
  const parts = { name, labels, args, timeZone: job.times.timeZone, restartPolicy: "Never" } as const;
  const pod = { metadata: { labels }, spec: podOf(job, parts, options) };
  const cronJob = {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name, labels },
    spec: {
      schedule: scheduleOf(job.times),
      timeZone: job.times.timeZone,
      concurrencyPolicy: "Forbid",
      startingDeadlineSeconds: CATCH_UP,
      successfulJobsHistoryLimit: 3,
      failedJobsHistoryLimit: 3,
      jobTemplate: {
        metadata: { labels },
        spec: {
          activeDeadlineSeconds: LONGEST_RUN,
          // A run tries again by itself what can be tried again; one whose machine was taken away begins anew.
          backoffLimit: 0,
          podFailurePolicy: {
            rules: [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }],
          },
          template: pod,
        },
      },
    },
  };
  const head = [
    `The daily run of ${job.installation.name}, and the claim for its state. It needs beside it: the Secret '${name}-config' with`,
    `${basename(job.config)} and the password files that it names, and the service account 'chatkeep'. Credentials may stand in a`,
    `Secret '${name}-credentials', as variables. Where uploads lie on a claim, add that under 'volumes' and 'volumeMounts'.`,
    ...notInThePod(options),
  ];
  return [`${comment(head)}${yamlOf(claim)}`, yamlOf(cronJob)].join("---\n");
}

/**
 * A Deployment (apps/v1) with a claim of its own. There is one at most, ever: two would read from one slot, so the old one ends
 * before a new one begins.
 */
export function formatWatchDeployment(job: WatchJob, options: CronJobOptions): string {
  const name = kubernetesName(unitName(job));
  const own = `${name}-watch`;
  const labels = labelsOf(own);
  const claim = claimOf(own, labels);
  const args = ["--config", job.config, ...job.options.program, "--json", "--quiet", "watch", ...job.options.watch];
  const parts = { name, stateOf: own, labels, args, timeZone: job.timeZone, restartPolicy: "Always" } as const;
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: own, labels },
    spec: {
      replicas: 1,
      strategy: { type: "Recreate" },
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: podOf(job, parts, options) },
    },
  };
  const head = [
    `Continuous protection of ${job.installation.name}, and the claim for its state. It needs what the daily run needs: the Secret`,
    `'${name}-config', the service account 'chatkeep', and '${name}-credentials' where there are any. The database's pg_hba.conf must let`,
    "its role replicate from the pod's address: 'chatkeep doctor' says the line. Where it may not, a restore point is made every few minutes.",
    ...notInThePod(options),
  ];
  return [`${comment(head)}${yamlOf(claim)}`, yamlOf(deployment)].join("---\n");
}

type Labels = Readonly<Record<string, string>>;

function labelsOf(name: string): Labels {
  return { "app.kubernetes.io/name": "chatkeep", "app.kubernetes.io/instance": name };
}

function claimOf(name: string, labels: Labels): object {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: `${name}-state`, labels },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "2Gi" } } },
  };
}

function notInThePod({ local }: CronJobOptions): string[] {
  return (local ?? []).flatMap(({ name, path }) => [
    `NOT IN THE POD: the repository '${name}' lies in the folder '${path}'. Mount a claim there, under 'volumes' and`,
    "'volumeMounts', or name another place in the configuration: as it is, this run cannot write it.",
  ]);
}

interface PodParts {
  /** Of the Secrets. */
  name: string;
  /** Of the claim for its state, where that is called otherwise. */
  stateOf?: string;
  args: readonly string[];
  timeZone: string;
  restartPolicy: "Never" | "Always";
}

function podOf({ config }: Job, parts: PodParts, { image, stateDir }: CronJobOptions): object {
  const { name, stateOf = name, args, timeZone, restartPolicy } = parts;
  const container = {
    name: "chatkeep",
    image,
    args,
    env: [
      { name: "TZ", value: timeZone },
      { name: "XDG_CACHE_HOME", value: join(stateDir, "cache") },
    ],
    envFrom: [{ secretRef: { name: `${name}-credentials`, optional: true } }],
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    },
    resources: { requests: { cpu: "100m", memory: "512Mi" }, limits: { memory: "2Gi" } },
    volumeMounts: [
      { name: "config", mountPath: dirname(config), readOnly: true },
      { name: "state", mountPath: stateDir },
      { name: "tmp", mountPath: "/tmp" },
    ],
  };
  return {
    serviceAccountName: "chatkeep",
    automountServiceAccountToken: true,
    restartPolicy,
    terminationGracePeriodSeconds: TIME_TO_STOP,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: IMAGE_USER,
      runAsGroup: IMAGE_USER,
      // Who is not root reads the Secret's files, and writes to the claim, by this group.
      fsGroup: IMAGE_USER,
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    },
    containers: [container],
    volumes: [
      { name: "config", secret: { secretName: `${name}-config`, defaultMode: 0o440 } },
      { name: "state", persistentVolumeClaim: { claimName: `${stateOf}-state` } },
      { name: "tmp", emptyDir: {} },
    ],
  };
}

/** Kubernetes knows no weekday 7. There is no delay by chance: a Job that somebody starts by hand begins at once. */
function scheduleOf({ text, weekdays }: CronTimes): string {
  const fields = text.split(" ");
  if (weekdays === undefined || fields[4]?.includes("7") !== true) return text;
  return [...fields.slice(0, 4), weekdays.join(",")].join(" ");
}

/** RFC 1123: what names of Kubernetes may hold; a CronJob's at most 52. */
function kubernetesName(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .slice(0, 45)
    .replaceAll(/^-+|-+$/g, "");
}

function yamlOf(value: object): string {
  return stringify(value, { aliasDuplicateObjects: false });
}

function comment(lines: readonly string[]): string {
  return lines.map((line) => `# ${line}\n`).join("");
}
