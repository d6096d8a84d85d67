/**
 * The room that knows a running installation: where its environment, database, storage, configuration and code are,
 * and which version it is. It only reads. What it found, and from where, is in {@link Installation.notes}; what
 * worries it comes back as findings.
 */
import type { DatabaseSetting, StorageService } from "../chatwoot/environment.ts";

export type InstallationKind = "linux-vm" | "manual";

export interface CodePlace {
  /** `git`: a checkout. `files`: a folder without git. */
  kind: "git" | "files";
  root: string;
}

export interface Installation {
  kind: InstallationKind;
  /** Chatwoot's own folder. */
  root?: string;
  /** The main environment file. */
  envFile?: string;
  /** All that the application's processes have as environment: their units' settings, then the files', in dotenv's order. */
  environment: Map<string, string>;
  database: DatabaseSetting;
  storage: StorageService[];
  /** `4.15.1` */
  version?: string;
  /** `ee`: with the enterprise folder, which is what every ordinary installation has. `ce`: without. */
  edition?: "ee" | "ce";
  /** The checked-out commit. */
  commit?: string;
  code?: CodePlace;
  /** Files and folders to save as configuration that the configuration names, and further environment files. */
  configFiles: string[];
  /** The same, found by discovery: units, web server, certificates. */
  systemFiles: string[];
  /** What was found, and from where: one line each. */
  notes: string[];
}
