/** Containers as engines describe them: Chatwoot's production Compose file, and what people make of it. */
import type { ContainerMount } from "../../src/system/container-details.ts";
import type { StandInContainer } from "../harness/stand-in-engine.ts";

export const SECRET = "0123456789abcdef0123456789abcdef";
export const PASSWORD = "a-password-of-its-own";
export const DIGEST = `sha256:${"c".repeat(64)}`;
const IMAGE_ID = `sha256:${"a".repeat(64)}`;
export const IMAGES = [
  { Id: IMAGE_ID, RepoDigests: [`chatwoot/chatwoot@${DIGEST}`], Config: { Env: ["PATH=/usr/bin"] } },
];

export const ENVIRONMENT: Record<string, string> = {
  PATH: "/usr/local/bin:/usr/bin",
  CW_EDITION: "ee",
  RAILS_ENV: "production",
  NODE_ENV: "production",
  INSTALLATION_ENV: "docker",
  SECRET_KEY_BASE: SECRET,
  FRONTEND_URL: "https://chat.example.com",
  POSTGRES_HOST: "postgres",
  POSTGRES_USERNAME: "postgres",
  POSTGRES_PASSWORD: PASSWORD,
  REDIS_URL: "redis://redis:6379",
  REDIS_PASSWORD: "another-password",
  ACTIVE_STORAGE_SERVICE: "local",
  ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: "a",
  ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY: "b",
  ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT: "c",
};

const APP_FILES = {
  "/app/config/app.yml": "shared: &shared\n  version: '4.15.1'\n",
  "/app/.git_sha": "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432\n",
  "/app/enterprise": undefined,
};

export function volume(
  name: string,
  destination: string,
  source = `/var/lib/docker/volumes/${name}/_data`,
): ContainerMount {
  return { Type: "volume", Name: name, Source: source, Destination: destination };
}

export function bind(source: string, destination: string): ContainerMount {
  return { Type: "bind", Source: source, Destination: destination };
}

export interface Shape {
  project?: string | undefined;
  /** Where the Compose file lies. */
  folder?: string;
  configFiles?: string;
  /** `2.40.3`, or `1.29.2` for the old program. */
  compose?: string;
  labels?: Record<string, string>;
  image?: string;
  environment?: Record<string, string>;
  mounts?: ContainerMount[];
  command?: string[];
  address?: string;
  ports?: Record<string, { HostIp: string; HostPort: string }[] | null>;
  isStopped?: boolean;
  files?: Record<string, string | undefined>;
  /** Further names on the network. */
  aliases?: string[];
  network?: string;
}

let count = 0;

/** One container of a project; `service` is its service's name. */
export function container(service: string, shape: Shape): StandInContainer {
  count += 1;
  const { project, folder = "/opt/chatwoot", compose = "2.40.3" } = shape;
  const isOld = compose.startsWith("1.");
  const separator = isOld ? "_" : "-";
  const name = project === undefined ? service : [project, service, "1"].join(separator);
  const labels: Record<string, string> =
    project === undefined
      ? {}
      : {
          "com.docker.compose.project": project,
          "com.docker.compose.service": service,
          "com.docker.compose.version": compose,
          "com.docker.compose.oneoff": "False",
          "com.docker.compose.container-number": "1",
          "com.docker.compose.project.working_dir": folder,
          "com.docker.compose.project.config_files":
            shape.configFiles ?? (isOld ? "docker-compose.yaml" : `${folder}/docker-compose.yaml`),
        };
  const id = count.toString(16).padStart(64, "0");
  const network = shape.network ?? (project === undefined ? "chat" : `${project}_default`);
  return {
    Id: id,
    Name: `/${name}`,
    Image: IMAGE_ID,
    State:
      shape.isStopped === true
        ? { Status: "exited", Running: false, ExitCode: 1, Pid: 0 }
        : { Status: "running", Running: true, ExitCode: 0, Pid: 4_000_000 + count },
    Config: {
      Image: shape.image ?? "chatwoot/chatwoot:v4.15.1",
      Env: Object.entries(shape.environment ?? ENVIRONMENT).map(([variable, value]) => `${variable}=${value}`),
      Cmd: shape.command ?? ["bundle", "exec", "rails", "s", "-p", "3000", "-b", "0.0.0.0"],
      Entrypoint: ["docker/entrypoints/rails.sh"],
      Labels: { ...labels, ...shape.labels },
      WorkingDir: "/app",
      Hostname: id.slice(0, 12),
    },
    HostConfig: { NetworkMode: network, Links: null, ExtraHosts: null },
    Mounts: shape.mounts ?? [],
    NetworkSettings: {
      Ports: shape.ports ?? {},
      Networks:
        shape.isStopped === true
          ? { [network]: { IPAddress: "", Gateway: "", Aliases: [service, ...(shape.aliases ?? [])] } }
          : {
              [network]: {
                IPAddress: shape.address ?? `172.30.0.${count % 250}`,
                Gateway: "172.30.0.1",
                Aliases: [service, ...(shape.aliases ?? [])],
              },
            },
    },
    files: shape.files ?? {},
  };
}

const SIDEKIQ = ["bundle", "exec", "sidekiq", "-C", "config/sidekiq.yml"];

export function web(shape: Shape, service = "rails"): StandInContainer {
  return container(service, {
    files: APP_FILES,
    ports: { "3000/tcp": [{ HostIp: "127.0.0.1", HostPort: "3000" }] },
    ...shape,
  });
}

export function worker(shape: Shape, service = "sidekiq"): StandInContainer {
  return container(service, { files: APP_FILES, command: SIDEKIQ, ...shape });
}

export function postgres(shape: Shape, major = "16", written = major, service = "postgres"): StandInContainer {
  const data = "/var/lib/postgresql/data";
  return container(service, {
    image: `pgvector/pgvector:pg${major}`,
    environment: { PG_MAJOR: major, PGDATA: data, POSTGRES_DB: "chatwoot", POSTGRES_PASSWORD: PASSWORD },
    command: ["postgres"],
    mounts: [volume(`${shape.project ?? "chat"}_postgres_data`, data)],
    ports: { "5432/tcp": [{ HostIp: "127.0.0.1", HostPort: "5432" }] },
    files: { [`${data}/PG_VERSION`]: `${written}\n` },
    ...shape,
  });
}

export function redis(shape: Shape): StandInContainer {
  return container("redis", {
    image: "redis:alpine",
    environment: {},
    command: ["redis-server"],
    mounts: [volume(`${shape.project ?? "chat"}_redis_data`, "/data")],
    ...shape,
  });
}

/** What Chatwoot's production file makes, with the uploads in `storage` of this machine. */
export function production(storage: string, shape: Shape = {}): StandInContainer[] {
  const project = "project" in shape ? shape.project : "chatwoot";
  const files = [volume(`${project ?? "chat"}_storage_data`, "/app/storage", storage)];
  const common = { ...shape, project };
  const { environment: _ours, image: _image, ...others } = common;
  return [web({ mounts: files, ...common }), worker({ mounts: files, ...common }), postgres(others), redis(others)];
}
