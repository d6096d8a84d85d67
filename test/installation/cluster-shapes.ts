/** Objects of a namespace as clusters describe them: Chatwoot's official chart with its subcharts, and what people make of it. */
import type { ClusterObject, ContainerSpec, PodSpec, WorkloadDetails } from "../../src/system/cluster-details.ts";
import { type ClusterWorld, makePod } from "../harness/stand-in-kubernetes.ts";

export const RELEASE = "acme";
export const CHART = "chatwoot-2.0.23";

/** As the chart fills it in for the release `acme`. */
export const ENVIRONMENT: Record<string, string> = {
  RAILS_ENV: "production",
  INSTALLATION_ENV: "helm",
  SECRET_KEY_BASE: "0123456789abcdef0123456789abcdef",
  FRONTEND_URL: "https://chat.example.com",
  POSTGRES_HOST: "acme-chatwoot-postgresql",
  POSTGRES_PORT: "5432",
  POSTGRES_USERNAME: "postgres",
  POSTGRES_PASSWORD: "a-password-of-its-own",
  POSTGRES_DATABASE: "chatwoot_production",
  REDIS_URL: "redis://:another-password@acme-chatwoot-redis-master:6379",
  REDIS_PASSWORD: "another-password",
  ACTIVE_STORAGE_SERVICE: "local",
  ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: "a",
  ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY: "b",
  ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT: "c",
};

export interface Shape {
  release?: string;
  environment?: Record<string, string>;
  image?: string;
  /** Of web and worker, at /app/storage; without it nothing is mounted there, as in the chart. */
  storage?: Partial<PodSpec>["volumes"];
  mounts?: ContainerSpec["volumeMounts"];
  /** Further parts of the containers. */
  container?: Partial<ContainerSpec>;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  /** Of the server's StatefulSet. */
  isDatabaseLasting?: boolean;
}

export function secret(
  name: string,
  values: Record<string, string>,
  labels: Record<string, string> = {},
): ClusterObject {
  const data = Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString("base64")]);
  return { metadata: { name, labels }, type: "Opaque", data: Object.fromEntries(data) } as ClusterObject;
}

function helm(release: string): Record<string, string> {
  return { "meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "chatwoot" };
}

function chatwoot(role: "web" | "worker", shape: Shape): WorkloadDetails {
  const { release = RELEASE, image = "chatwoot/chatwoot:v4.15.1", storage = [], mounts = [], labels = {} } = shape;
  const full = `${release}-chatwoot`;
  const selected = { app: full, release, role };
  const args =
    role === "web"
      ? ["bundle", "exec", "rails", "s", "-p", "3000"]
      : ["bundle", "exec", "sidekiq", "-C", "config/sidekiq.yml"];
  return {
    metadata: {
      name: `${full}-${role}`,
      labels: { app: full, chart: CHART, heritage: "Helm", release, ...labels },
      annotations: { ...helm(release), "deployment.kubernetes.io/revision": "7", ...shape.annotations },
    },
    spec: {
      replicas: role === "web" ? 2 : 3,
      selector: { matchLabels: selected },
      template: {
        metadata: { labels: selected, annotations: { "checksum/config": "c0ffee" } },
        spec: {
          serviceAccountName: full,
          containers: [
            {
              name: `chatwoot-${role}`,
              image,
              ...(role === "web" ? { ports: [{ containerPort: 3000 }] } : {}),
              command: ["docker/entrypoints/rails.sh"],
              args,
              envFrom: [{ secretRef: { name: `${full}-env` } }],
              env: [],
              volumeMounts: [{ name: "cache", mountPath: "/app/tmp" }, ...mounts],
              ...shape.container,
            },
          ],
          volumes: [{ name: "cache", emptyDir: {} }, ...storage],
        },
      },
    },
  };
}

function server(what: "postgresql" | "redis-master", shape: Shape): WorkloadDetails {
  const { release = RELEASE, isDatabaseLasting = true } = shape;
  const [name, component = "primary"] = what.split("-");
  const selected = {
    "app.kubernetes.io/instance": release,
    "app.kubernetes.io/name": name ?? "",
    "app.kubernetes.io/component": component,
  };
  const isDatabase = what === "postgresql";
  const volume = isDatabase ? "data" : "redis-data";
  return {
    metadata: {
      name: `${release}-chatwoot-${what}`,
      labels: { ...selected, "helm.sh/chart": isDatabase ? "postgresql-11.6.7" : "redis-16.12.2" },
      annotations: helm(release),
    },
    spec: {
      replicas: 1,
      selector: { matchLabels: selected },
      template: {
        metadata: { labels: selected },
        spec: {
          containers: [
            {
              name: isDatabase ? "postgresql" : "redis",
              image: isDatabase ? "ghcr.io/chatwoot/pgvector:14.4.0" : "docker.io/bitnamilegacy/redis:6.2.7",
              env: isDatabase ? [{ name: "PGDATA", value: "/bitnami/postgresql/data" }] : [],
              volumeMounts: [{ name: volume, mountPath: isDatabase ? "/bitnami/postgresql" : "/data" }],
            },
          ],
          volumes: isDatabaseLasting ? [] : [{ name: volume, emptyDir: {} }],
        },
      },
      volumeClaimTemplates: isDatabaseLasting ? [{ metadata: { name: volume } }] : [],
    },
  };
}

function service(name: string, selector: Record<string, string>, port: number, release: string): ClusterObject {
  return {
    metadata: { name, labels: { release }, annotations: helm(release) },
    spec: {
      type: "ClusterIP",
      clusterIP: "10.96.0.7",
      clusterIPs: ["10.96.0.7"],
      selector,
      ports: [{ name: "tcp", port, targetPort: port, protocol: "TCP" }],
    },
  } as ClusterObject;
}

export function claim(name: string, accessModes: string[] = ["ReadWriteMany"], release = RELEASE): ClusterObject {
  return {
    metadata: {
      name,
      annotations: { ...helm(release), "pv.kubernetes.io/bind-completed": "yes" },
    },
    spec: { accessModes, volumeName: `pvc-${name}`, resources: { requests: { storage: "8Gi" } } },
    status: { phase: "Bound" },
  } as ClusterObject;
}

/** Chatkeep's own pod; with volumes as its CronJob has them. */
export function ownPod(
  volumes: PodSpec["volumes"] = [],
  volumeMounts: ContainerSpec["volumeMounts"] = [],
): ClusterObject {
  return {
    metadata: { name: "chatkeep-1", labels: { "app.kubernetes.io/name": "chatkeep" } },
    spec: { containers: [{ name: "chatkeep", image: "chatkeep:1", volumeMounts }], volumes },
    status: { phase: "Running" },
  } as ClusterObject;
}

function environmentOf(name: string): Record<string, string> {
  const own = Object.entries(ENVIRONMENT).map(([key, value]) => [key, value.replace(`${RELEASE}-`, `${name}-`)]);
  return Object.fromEntries(own) as Record<string, string>;
}

/** A namespace with one release of the chart; of its own are a claim of somebody else's, and a Secret of nobody's. */
export function release(shape: Shape = {}): Required<ClusterWorld> {
  const { release: name = RELEASE, environment = environmentOf(name), isDatabaseLasting = true } = shape;
  const full = `${name}-chatwoot`;
  const deployments = [chatwoot("web", shape), chatwoot("worker", shape)];
  const statefulSets = [server("postgresql", shape), server("redis-master", shape)];
  const web = deployments[0]?.spec.selector.matchLabels ?? {};
  const [database, redis] = statefulSets.map(({ spec }) => spec.selector.matchLabels ?? {});
  return {
    deployments,
    statefulsets: statefulSets,
    pods: [...deployments, ...statefulSets].flatMap((workload) =>
      Array.from({ length: workload.spec.replicas ?? 1 }, (_, index) => makePod(workload, String(index))),
    ),
    services: [
      service(full, web, 3000, name),
      service(`${full}-postgresql`, database ?? {}, 5432, name),
      service(`${full}-redis-master`, redis ?? {}, 6379, name),
    ],
    configmaps: [{ metadata: { name: "kube-root-ca.crt" }, data: { "ca.crt": "-" } } as ClusterObject],
    secrets: [
      secret(`${full}-env`, environment),
      ...[1, 2, 10].map((version) => ({
        ...secret(
          `sh.helm.release.v1.${name}.v${version}`,
          { release: `release ${version}` },
          { owner: "helm", name, status: version === 10 ? "deployed" : "superseded", version: String(version) },
        ),
        type: "helm.sh/release.v1",
      })),
      secret("of-somebody-else", { password: "never-to-be-saved" }),
    ],
    persistentvolumeclaims: isDatabaseLasting
      ? [
          claim(`data-${full}-postgresql-0`, ["ReadWriteOnce"], name),
          claim(`redis-data-${full}-redis-master-0`, ["ReadWriteOnce"], name),
        ]
      : [],
    ingresses: [
      {
        metadata: { name: full, annotations: helm(name) },
        spec: {
          tls: [{ hosts: ["chat.example.com"], secretName: `${full}-tls` }],
          rules: [
            {
              host: "chat.example.com",
              http: {
                paths: [
                  { path: "/", pathType: "Prefix", backend: { service: { name: full, port: { number: 3000 } } } },
                ],
              },
            },
          ],
        },
        status: { loadBalancer: { ingress: [{ ip: "203.0.113.7" }] } },
      } as ClusterObject,
    ],
    horizontalpodautoscalers: [
      {
        metadata: { name: `${full}-web` },
        spec: {
          scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: `${full}-web` },
          minReplicas: 2,
          maxReplicas: 5,
        },
      } as ClusterObject,
    ],
    cronjobs: [],
  };
}

/** One claim for web and worker at /app/storage. */
export function withClaim(name: string): Pick<Shape, "storage" | "mounts"> {
  return {
    storage: [{ name: "uploads", persistentVolumeClaim: { claimName: name } }],
    mounts: [{ name: "uploads", mountPath: "/app/storage" }],
  };
}
