/** What every place that a scratch server can come from has in common: it offers one, or says what it lacks. */
import type { KnownProcess } from "../system/known-process.ts";
import type { ServerAddress } from "./address.ts";
import type { User } from "./scratch-place.ts";
import type { Started } from "./scratch-process.ts";

/** The places, in the order in which they are looked at where nobody says otherwise. */
export const SCRATCH_KINDS = ["programs", "container", "embedded", "database-url", "in-place"] as const;
export type ScratchKind = (typeof SCRATCH_KINDS)[number];

/** A cluster that exists, which a server is started in instead of making a new one. */
export interface GivenCluster {
  /** Those of its databases, by their names on the machine that it was made on. */
  locales: readonly string[];
  /** Puts its files into the folder `data`, which is not there yet, below the one folder that the server gets. */
  readonly prepare: (place: { folder: string; data: string; user: User | undefined }) => Promise<void>;
  /** Settings for the server's command line, beside a scratch server's own. */
  settings: Readonly<Record<string, string>>;
  /** Resolves when it can be used, with where it answers. @throws Failure with what it logged. */
  readonly untilReady: (socket: string, started: Started, signal: AbortSignal) => Promise<ServerAddress>;
}

export interface ScratchNeeds {
  /** The major version that the data came from. */
  major: number;
  /** Names of the extensions that the data needs. */
  extensions: readonly string[];
  /** Roles that the schema itself names: policies, user mappings. A server that is thrown away is given them. */
  roles?: readonly string[];
  /** Encoding of its databases; UTF8 when left out. */
  encoding?: string;
  /** In place of a new one; only servers of this machine, which are thrown away, take one. */
  cluster?: GivenCluster;
  /** Settings of a new one, beside a scratch server's own; only servers of this machine take them. */
  settings?: Readonly<Record<string, string>>;
  /**
   * A private folder of ours that it is made in, by default a temporary one. It goes with the server, unless that is laid to rest.
   * Only servers of this machine take one.
   */
  folder?: string | undefined;
  /** What its tables and indexes will take; it refuses to begin on a disk that cannot hold them. */
  neededBytes?: number;
  /** Told what a person should see and what keeps nothing from going on: a database that could not be dropped. */
  say?: (line: string) => void;
  signal: AbortSignal;
}

export interface ScratchServer extends AsyncDisposable {
  readonly kind: ScratchKind;
  /** A role that may make everything in it, on an empty database. */
  readonly address: ServerAddress;
  readonly major: number;
  readonly version: string;
  /** For people: what it was made from. */
  readonly where: string;
  /** The whole server is gone afterwards, and with it the roles that were made in it. */
  readonly isThrowaway: boolean;
  /** Ends it cleanly and leaves its files; only where it was given its folder. @throws Failure `program/failed`. */
  rest?(): Promise<RestingServer>;
}

/** What runs on after the command that started it. */
export type StandingProcess =
  | ({ readonly kind: "process" } & KnownProcess)
  | { readonly kind: "container"; readonly program: string; readonly id: string };

/** A server that was ended cleanly, and can be started on its files again. */
export interface RestingServer {
  readonly major: number;
  readonly data: string;
  /** The folder of its socket. */
  readonly socket: string;
  /** Whom it runs as, where that is not us. */
  readonly user: User | undefined;
  /** False in a container, which has no network: it is reached by its socket alone. */
  readonly isNetworked: boolean;
  /** @param args the server's own. @param log a file beside its data that takes what it prints. */
  start(args: readonly string[], log: string, signal: AbortSignal): Promise<StandingProcess>;
}

/** A server that fits. */
export interface Offer {
  kind: ScratchKind;
  /** For people: what it is made from. */
  where: string;
  /** Where it would lie on this machine. @throws Failure `store/full` when the disk cannot hold what is needed. */
  requireSpace?(): Promise<void>;
  /** @throws Failure `program/failed` with what it logged, `store/full`, or what the server said. */
  open(): Promise<ScratchServer>;
}

/** Why a place has none that fits. */
export interface Lack {
  kind: ScratchKind;
  /** Lower case, no full stop. */
  why: string;
  /** What to install or to set, as a sentence. */
  remedy: string;
}

export function lackOf(kind: ScratchKind, why: string, remedy: string): Lack {
  return { kind, why, remedy };
}

export function isOffer(found: Offer | Lack): found is Offer {
  return "open" in found;
}

/** The extensions that are not there; none where it cannot be told. */
export function lackingExtensions(needed: readonly string[], there: ReadonlySet<string> | undefined): string[] {
  return there === undefined ? [] : needed.filter((name) => !there.has(name));
}

/** What a place lacks whose machine does not know a locale of the cluster. */
export function lackOfLocale(kind: ScratchKind, where: string, lacking: readonly string[], remedy: string): Lack {
  return lackOf(
    kind,
    `${where} does not know the locale ${lacking.join(", ")}, by which the database orders its text`,
    remedy,
  );
}

/** The packages that bring a server, or an extension of it. */
export function serverPackages(major: number): string {
  return `Install the package postgresql-${major} (Debian, Ubuntu; apt.postgresql.org has every version) or postgresql${major}-server (Red Hat); it need not be running.`;
}

export function extensionPackages(major: number, lacking: readonly string[]): string {
  return lacking.includes("vector")
    ? `Install the package postgresql-${major}-pgvector (Debian, Ubuntu) or pgvector_${major} (Red Hat).`
    : `Install the package that brings it: postgresql-contrib for most (Red Hat: postgresql${major}-contrib).`;
}
