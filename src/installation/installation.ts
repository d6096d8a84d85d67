/**
 * The room that knows a running installation: where its environment, database, storage, configuration and code are,
 * and which version it is. It only reads. What it found, and from where, is in {@link Installation.notes}; what
 * worries it comes back as findings.
 */
import type { DatabaseSetting, RedisPlace, StorageService } from "../chatwoot/environment.ts";
import type { Processes } from "./processes.ts";

export const INSTALLATION_KINDS = [
  "linux-vm",
  "docker-compose",
  "swarm",
  "kubernetes",
  "environment",
  "manual",
] as const;
export type InstallationKind = (typeof INSTALLATION_KINDS)[number];

export interface CodePlace {
  /** `git`: a checkout. `files`: a folder without git. */
  kind: "git" | "files";
  root: string;
}

/** A network of this machine in which a server of the application runs, as a container's. */
export interface ServerNetwork {
  /** The container. */
  readonly name: string;
  /** The server's, at 127.0.0.1 of that network. */
  readonly port: number;
  /**
   * The number of a process of this machine that has that network now: another one whenever the container was started anew.
   * @throws Failure `database/unreachable` when it does not run; `program/failed` when the engine does not answer.
   */
  pid(): Promise<number>;
}

/** A server that the application names, as it is reached from this machine. */
export interface Reached {
  host: string;
  port: number;
  /** For people, where it is another place than the application's own name for it. */
  through?: string;
}

export interface ImagePlace {
  /** As the container names it: `chatwoot/chatwoot:v4.15.1`. */
  name: string;
  /** The image's own id, `sha256:…`. */
  id: string;
  /** `chatwoot/chatwoot@sha256:…`, as a registry knows it; absent for an image that was made here. */
  digest?: string;
}

/** Something to save as configuration that is no file of this machine. */
export interface MadeFile {
  /** Below `config/`. */
  path: string;
  text: string;
}

/** A file that processes get variables from. */
export interface EnvironmentFile {
  readonly path: string;
  /** A container has this very file mounted: one that takes its place would not be seen there. */
  readonly isMounted: boolean;
  /** Read by the process itself whenever it starts; else by whoever makes its container. */
  readonly isReadAtStart: boolean;
}

/** Where the environment of some processes comes from. */
export interface EnvironmentSource {
  /** For people: whose it is. */
  readonly of: string;
  /** The one that counts first comes first. A file that is not there yet may be among them. */
  readonly files: readonly EnvironmentFile[];
  /** Names that are set elsewhere, and count before any file: `all` where no file has a say. */
  readonly fixed: ReadonlySet<string> | "all";
  /** For people: where else. */
  readonly where: string;
  /** The command that makes the containers again with what the files say now; none of them runs then. */
  readonly remake?: string;
  /** The same, and all of them run. */
  readonly remakeAndStart?: string;
}

/** The way on where the environment file is gone. */
export const LOST_ENVIRONMENT =
  "If it is lost: 'chatkeep restore latest --only config --to DIR' writes it to DIR/config/env; put it where it was, for Chatwoot's user, and say the same again.";

export interface Installation {
  kind: InstallationKind;
  /**
   * How it is told from others of its kind: a Compose project or stack, or a container or service, of this machine; or a
   * workload of a namespace.
   */
  choice?: { project: string } | { container: string } | { namespace: string; deployment: string };
  /** Chatwoot's own folder. */
  root?: string;
  /** The main environment file. */
  envFile?: string;
  /** All that the application's processes have as environment: their units' settings, then the files', in dotenv's order. */
  environment: Map<string, string>;
  /** Of all its processes; absent where nothing is known of it. */
  environmentFrom?: readonly EnvironmentSource[];
  database: DatabaseSetting;
  /** Where a server that the environment names is reached from here; absent where its name is good here, too. */
  reach?: (host: string, port: number) => Reached;
  /** The database's own network; absent where there is none of this machine's, or it is ours. */
  databaseNetwork?: ServerNetwork;
  /** As Compose calls the database; absent where Compose did not make it, or it is not of Chatwoot's project. */
  databaseService?: string;
  redis?: RedisPlace;
  /** Folders of this machine in which its servers keep their data, where discovery tells. */
  dataFolders?: { server: "PostgreSQL" | "Redis"; path: string }[];
  storage: StorageService[];
  /** `4.15.1` */
  version?: string;
  /** The newest migration that its code has, as `db/schema.rb` says it: `20250514045638`. */
  codeSchema?: string;
  /** `ee`: with the enterprise folder, which is what every ordinary installation has. `ce`: without. */
  edition?: "ee" | "ce";
  /** The checked-out commit, or the one that the image was made of. */
  commit?: string;
  /** What the web process runs, where it runs in a container. */
  image?: ImagePlace;
  code?: CodePlace;
  /** Files and folders to save as configuration that the configuration names, and further environment files. */
  configFiles: string[];
  /** The same, found by discovery: units, web server, certificates. */
  systemFiles: string[];
  /** What the machine calls a place of ours, where Chatkeep sees it under another path. */
  nameOf?: (place: string) => string;
  /** Said by an engine or a cluster, not by files: kept so that the containers can be made again. */
  madeFiles: MadeFile[];
  /** How web and worker are stopped and started, and how one sees that they are well. */
  processes: Processes;
  /** What was found, and from where: one line each. */
  notes: string[];
}
