/** What every kind of installation answers. */
import type { Finding } from "../../base/findings.ts";
import type { Installation, InstallationKind } from "../installation.ts";
import type { Machine } from "../places.ts";

/** What the configuration says of the installation; anything that is left out is looked for. */
export interface InstallationSettings {
  kind?: InstallationKind | undefined;
  root?: string | undefined;
  envFile?: string | undefined;
  databaseUrl?: string | undefined;
  /** The folder of the storage service `local`. */
  storage?: string | undefined;
  /** Further files and folders to save as configuration. */
  config?: readonly string[] | undefined;
  /** The folder of the code, a git checkout or not. */
  code?: string | undefined;
  version?: string | undefined;
  /** The name of the Compose project, where there are several. */
  project?: string | undefined;
  /** A container of Chatwoot's, where no Compose project has a name for it. */
  container?: string | undefined;
  /** The namespace of a cluster. */
  namespace?: string | undefined;
  /** A Deployment or StatefulSet of Chatwoot's, where its namespace has several installations. */
  deployment?: string | undefined;
  /** Lines for `/bin/sh`. */
  stop?: ProcessCommands | undefined;
  start?: ProcessCommands | undefined;
  health?: string | undefined;
  /** A line that runs Chatwoot's migrations. */
  migrate?: string | undefined;
}

export interface ProcessCommands {
  web?: string | undefined;
  worker?: string | undefined;
}

export interface Found {
  installation: Installation;
  findings: Finding[];
}

/** Where is looked. */
export interface World {
  machine: Machine;
  /** For `DOCKER_HOST`, `KUBECONFIG` and their kin. */
  env: Readonly<Record<string, string | undefined>>;
  /** The container that Chatkeep itself runs in, if it does: its number. */
  containerId?: string | undefined;
  /** Where something is mounted in that container. */
  mountPoints?: readonly string[] | undefined;
  signal: AbortSignal;
}

/** One installation that is there; it has not been read yet. */
export interface Sighting {
  /** For people: `the Compose project 'acme'`. */
  what: string;
  /** How to say that it is meant: an option of `init`, and the line in the configuration. */
  choice: string;
  /**
   * Reads all that is to be known of it.
   * @throws Failure `installation/not-found` when something that is named does not exist; `source/unreadable` when what
   *   is needed may not be read; `installation/invalid` when its settings make no sense.
   */
  read(): Promise<Found>;
}

export interface Look {
  sightings: Sighting[];
  /** For people, after "Looked for": what would have been one. */
  lookedFor: string;
  /** For people: what there is of this kind and is not meant. */
  others?: string[];
  /** Why this kind could not be looked for, and what to do about it. */
  blocked?: { why: string; remedy: string };
}

/** One way in which a Chatwoot is installed. A new one is a file here and a line in `find.ts`. */
export interface Kind {
  readonly name: InstallationKind;
  look(settings: InstallationSettings, world: World): Promise<Look>;
}
