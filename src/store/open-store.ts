/** From a repository's location, as restic writes it, to its store. */
import { resolve } from "node:path";
import { type Clock, systemClock } from "../base/clock.ts";
import { assert, Failure } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import { caching } from "./caching.ts";
import { limiting, newAccount } from "./limiting.ts";
import { openLocalStore } from "./local-store.ts";
import { noticingStalls } from "./noticing-stalls.ts";
import { RemoteStore } from "./remote-store.ts";
import { retrying, type Retry } from "./retrying.ts";
import type { Store, StoreSettings, StoreSpec } from "./store.ts";
import { openTarStore } from "./tar-store.ts";

/** What a kind of remote place is opened with. */
export interface RemotePlace {
  /** The whole location, scheme and all; it may hold a password. */
  readonly location: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly settings: StoreSettings;
}

interface Scheme {
  /** True where old versions of files can be read. */
  readonly hasVersions?: true;
  /** True where files can be kept from being removed. */
  readonly hasRetention?: true;
  /** Environment variables that the place needs, for worker threads. */
  readonly variables: RegExp;
  readonly open: (place: RemotePlace) => Promise<Backend>;
}

/** Each loads its SDK when it is used. */
const SCHEMES: Readonly<Record<string, Scheme>> = {
  azure: {
    variables: /^(AZURE_(ACCOUNT_(NAME|KEY|SAS)|ENDPOINT_SUFFIX|STORAGE_CONNECTION_STRING)|RESTIC_CACERT)$/,
    hasVersions: true,
    hasRetention: true,
    open: async (place) => (await import("./azure-backend.ts")).openAzureBackend(place),
  },
  gs: {
    variables: /^(GOOGLE_(PROJECT_ID|APPLICATION_CREDENTIALS|ACCESS_TOKEN)|STORAGE_EMULATOR_HOST|RESTIC_CACERT)$/,
    open: async (place) => (await import("./gs-backend.ts")).openGsBackend(place),
  },
  rest: {
    variables: /^RESTIC_(REST_USERNAME|REST_PASSWORD|CACERT)$/,
    open: async (place) => (await import("./rest-backend.ts")).openRestBackend(place),
  },
  sftp: {
    variables: /^(CHATKEEP_SFTP_COMMAND|SSH_AUTH_SOCK|HOME)$/,
    open: async (place) => (await import("./sftp-backend.ts")).openSftpBackend(place),
  },
  s3: {
    variables: /^(AWS_|MINIO_(ACCESS|SECRET)_KEY$|RESTIC_(CACERT$|AWS_)|CHATKEEP_S3_)/,
    hasVersions: true,
    hasRetention: true,
    open: async (place) => (await import("./s3-backend.ts")).openS3Backend(place),
  },
};

/** Schemes that restic knows and Chatkeep does not; `rclone serve restic` makes a `rest:` of them all. */
const OTHERS = /^(b2|swift|rclone):/;

/** Before the path of a file that `export` wrote. */
const EXPORTED = "export:";

export interface OpenStoreOptions {
  /** Where credentials are looked for. */
  env?: Readonly<Record<string, string | undefined>>;
  settings?: StoreSettings;
  clock?: Clock;
  /** Told of each wait for a remote place that does not answer. */
  onRetry?: (retry: Retry) => void;
}

/**
 * Opens the store at a location (`/path`, `relative/path`, `local:/path`, `export:/file`, or a remote one) or of a spec
 * that another thread sent. Nothing is read or made yet.
 * @throws Failure `usage/invalid` for a location that cannot be reached or means nothing.
 */
export async function openStore(location: string | StoreSpec, options: OpenStoreOptions = {}): Promise<Store> {
  if (typeof location !== "string") {
    if (location.kind === "local") return openLocalStore(location.path, location);
    if (location.kind === "tar") return openTarStore(location.path);
    const { cache } = location;
    const store = await openRemote(location.location, location, true);
    return cache === undefined ? store : caching(store, { folder: cache, clock: systemClock });
  }
  assertLocation(location);
  const name = schemeOf(location);
  if (Object.hasOwn(SCHEMES, name)) return await openRemote(location, options, false);
  assertCan({}, location, options.settings);
  const path = location.startsWith("local:") ? location.slice("local:".length) : location;
  const exported = location.startsWith(EXPORTED) ? location.slice(EXPORTED.length) : undefined;
  if (path === "" || exported === "") throw new Failure("usage/invalid", "the repository's location is empty");
  return exported === undefined ? openLocalStore(resolve(path), options.settings) : openTarStore(resolve(exported));
}

/**
 * What would be taken for a folder, and was not meant so. To be asked before a relative path is made absolute.
 * @throws Failure `usage/invalid`.
 */
export function assertLocation(location: string): void {
  if (/\p{Cc}/u.test(location)) {
    throw refusal(
      `the location ${JSON.stringify(location)} has a line break or a control character in it`,
      "The recovery kit could not show it: name another place.",
    );
  }
  if (/^(local:)?~/.test(location)) {
    throw refusal(`nothing is replaced in '${location}'`, "Only a shell knows '~': write the whole path.");
  }
  if (OTHERS.test(location)) {
    throw refusal(
      `Chatkeep does not reach '${schemeOf(location)}:' by itself`,
      "Run 'rclone serve restic' on that place and use its address: rest:http://localhost:8080/.",
    );
  }
  const [scheme = ""] = /^[^/.][^/]*?:/.exec(location) ?? [];
  if (scheme === "" || Object.hasOwn(SCHEMES, scheme.slice(0, -1)) || /^(local|export):$/.test(scheme)) return;
  throw refusal(
    `'${scheme}' is no kind of place that Chatkeep knows`,
    "Write s3:, sftp:, rest:, azure: or gs: before the address; for a folder with ':' in its name, local: or the whole path.",
  );
}

function refusal(message: string, hint: string): Failure {
  return new Failure("usage/invalid", message, { hint });
}

function schemeOf(location: string): string {
  return /^([a-z0-9]+):/.exec(location)?.[1] ?? "";
}

/** @throws Failure `usage/invalid` for settings that a kind of place has no means for. */
function assertCan(
  { hasVersions, hasRetention }: Pick<Scheme, "hasVersions" | "hasRetention">,
  place: string,
  { atMs, retention }: StoreSettings = {},
): void {
  if (retention !== undefined && hasRetention !== true) {
    throw new Failure("usage/invalid", `'${place}' cannot keep files from being removed`, {
      hint: "Take 'immutable' out of the configuration: it is for s3: repositories in a bucket with object lock, and azure: ones in a container with version-level immutability.",
    });
  }
  if (atMs === undefined || hasVersions === true) return;
  throw new Failure("usage/invalid", `'${place}' keeps no old versions of its files that Chatkeep can read`, {
    hint: "--at-time is for s3: and azure: repositories where versioning is on: name one with --repository, or leave it out.",
  });
}

/** @param wasReached True when another thread has used the place already. */
async function openRemote(location: string, options: OpenStoreOptions, wasReached: boolean): Promise<Store> {
  const scheme = SCHEMES[schemeOf(location)];
  assert(scheme !== undefined, "a scheme that nobody opens");
  const { env = process.env, clock = systemClock, onRetry } = options;
  assertCan(scheme, schemeOf(location), options.settings);
  const kept: Record<string, string> = {};
  for (const [variable, value] of Object.entries(env)) {
    if (value !== undefined && scheme.variables.test(variable)) kept[variable] = value;
  }
  const settings = { account: newAccount(), ...options.settings };
  const place = await scheme.open({ location, env: kept, settings });
  const backend = retrying(limiting(noticingStalls(place, { clock }), settings, { clock }), {
    clock,
    random: Math.random,
    wasReached,
    onRetry,
  });
  return new RemoteStore(backend, { kind: "remote", location, env: kept, settings });
}
