/**
 * Compares the environment that was saved with the one of the place where a restore goes, name by name, and decides
 * which value each variable has afterwards. Nothing here tells a value.
 */
import { cloneWalls } from "./clone-environment.ts";
import { bucketServiceOf, BUCKET_SERVICES, type Environment } from "./environment.ts";
import { isKeptInDatabase } from "./settings.ts";

/**
 * `must-match`: with another value something breaks that is in the data or at other people's. `adapted`: says where this
 * place has its servers and files. `free`: a setting.
 */
export type MatchClass = "must-match" | "adapted" | "free";

/** `same`: both have it. `keep`: this place's stays. `set`, `add`: becomes the saved one. `leave`: was saved, and is not taken. */
export type MatchAction = "same" | "keep" | "set" | "add" | "leave";

/** `here`: the place that the point was taken of. `elsewhere`: another machine takes its work over. `clone`: a copy of it. */
export type MatchPlace = "here" | "elsewhere" | "clone";

export interface MatchLine {
  readonly name: string;
  readonly class: MatchClass;
  readonly isSaved: boolean;
  readonly isPresent: boolean;
  readonly isEqual: boolean;
  readonly action: MatchAction;
  /** For people: why, or what breaks without. */
  readonly why: string;
  /** Chatwoot reads it from its database once it is there, which comes from the point: the environment's counts no more. */
  readonly isInDatabase: boolean;
}

export interface MatchOptions {
  place: MatchPlace;
  /** The storage service that new files go to afterwards; undefined: the one that this place has. */
  storage?: string | undefined;
  /** Of a clone. */
  frontendUrl?: string | undefined;
  /** Hosts of the clone's own storage, which it has to reach. */
  reached?: readonly string[] | undefined;
}

const CHANNELS = "without it channels' credentials and two-factor logins cannot be opened, and nothing says so";
const REPLIES = "without it answers to e-mails that customers have already do not arrive";
const PUSH = "with another pair every browser's subscription to notifications is lost";

/** What breaks where they differ. */
const MUST_MATCH: Readonly<Record<string, string>> = {
  SECRET_KEY_BASE:
    "with another one images in articles and e-mails are lost, and visitors of the widget lose their conversations",
  ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: CHANNELS,
  ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY: CHANNELS,
  ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT: CHANNELS,
  MAILER_INBOUND_EMAIL_DOMAIN: REPLIES,
  RAILS_INBOUND_EMAIL_SERVICE: REPLIES,
  RAILS_INBOUND_EMAIL_PASSWORD: REPLIES,
  MAILGUN_INGRESS_SIGNING_KEY: REPLIES,
  MANDRILL_INGRESS_API_KEY: REPLIES,
  ACTION_MAILBOX_SES_SNS_TOPIC: REPLIES,
  VAPID_PUBLIC_KEY: PUSH,
  VAPID_PRIVATE_KEY: PUSH,
};

/** Without these nothing that is encrypted or signed in the database can be read. */
export const OPENING_NAMES: readonly string[] = Object.keys(MUST_MATCH).slice(0, 4);

const ADDRESSES: Readonly<Record<string, string>> = {
  FRONTEND_URL: "all links, the widget and the callbacks of channels go to it",
  HELPCENTER_URL: "links to the help centre go to it",
};

/** What belongs together: where this place has any of a group, it has all that it needs. */
const GROUPS: readonly { names: readonly string[]; why: string; isStorage: boolean }[] = [
  {
    names: [
      "DATABASE_URL",
      "POSTGRES_HOST",
      "POSTGRES_PORT",
      "POSTGRES_USERNAME",
      "POSTGRES_PASSWORD",
      "POSTGRES_DATABASE",
    ],
    why: "this place's database",
    isStorage: false,
  },
  {
    names: [
      "REDIS_URL",
      "REDIS_PASSWORD",
      "REDIS_SENTINELS",
      "REDIS_SENTINEL_MASTER_NAME",
      "REDIS_SENTINEL_PASSWORD",
      "REDIS_OPENSSL_VERIFY_MODE",
    ],
    why: "this place's Redis",
    isStorage: false,
  },
  ...BUCKET_SERVICES.map((service) => ({
    names: bucketServiceOf(new Map(), service)?.variables ?? [],
    why: `this place's storage service '${service}'`,
    isStorage: true,
  })),
];

const STORAGE_SERVICE = "ACTIVE_STORAGE_SERVICE";

/** Sized or chosen for the machine, or for the way in which it was installed. */
const MACHINE = new Set([
  "RAILS_ENV",
  "RACK_ENV",
  "NODE_ENV",
  "PORT",
  "BIND",
  "WEB_CONCURRENCY",
  "RAILS_MAX_THREADS",
  "SIDEKIQ_CONCURRENCY",
  "DB_POOL_REAPING_FREQUENCY",
  "INSTALLATION_ENV",
  "CW_EDITION",
  "RAILS_LOG_TO_STDOUT",
  "RAILS_SERVE_STATIC_FILES",
]);

/** Set by an image, a shell, an engine or a cluster: it is made there, and no part of anybody's configuration. */
const MADE =
  /^(?:PATH|HOME|HOSTNAME|PWD|OLDPWD|SHLVL|TERM|USER|LOGNAME|SHELL|_|TMPDIR|TZDIR|LANG|LC_\w+|LANGUAGE|EXECJS_RUNTIME|MALLOC_\w+|LD_PRELOAD|GIT_SHA|(?:RUBY|GEM|BUNDLE|BUNDLER|NODE|NPM|PNPM|YARN|XDG|DOCKER|COMPOSE|KUBERNETES|SYSTEMD|CHATKEEP)_\w+|INVOCATION_ID|JOURNAL_STREAM|\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP)(?:_\w+)?))$/;

const given = (env: Environment, name: string): boolean => (env.get(name) ?? "") !== "";

interface Verdict {
  class: MatchClass;
  why: string;
  /** What becomes of it where the two differ. */
  whenBoth: "set" | "keep";
  /** What becomes of it where only the point has it. */
  whenSaved: "add" | "leave";
}

function judgeAddress(name: string, why: string, { place, frontendUrl }: MatchOptions): Verdict {
  if (place === "here") return { class: "must-match", why, whenBoth: "set", whenSaved: "add" };
  if (place === "elsewhere")
    return { class: "adapted", why: "this place's address", whenBoth: "keep", whenSaved: "add" };
  const isOwn = name === "FRONTEND_URL" && frontendUrl !== undefined;
  return {
    class: "adapted",
    why: "a clone has an address of its own",
    whenBoth: isOwn ? "set" : "keep",
    whenSaved: isOwn ? "add" : "leave",
  };
}

/** Names of what keeps everything within a clone. */
const WALLS: ReadonlyMap<string, string> = cloneWalls();

function judge(name: string, present: Environment, options: MatchOptions): Verdict {
  const { place, storage } = options;
  const address = ADDRESSES[name];
  if (address !== undefined) return judgeAddress(name, address, options);
  if (name === STORAGE_SERVICE && storage !== undefined) {
    return { class: "adapted", why: "the service that was asked for", whenBoth: "set", whenSaved: "add" };
  }
  const mustMatch = MUST_MATCH[name];
  const isOpening = OPENING_NAMES.includes(name);
  if (place === "clone" && WALLS.has(name)) {
    return { class: "adapted", why: "a clone's ways out lead nowhere", whenBoth: "set", whenSaved: "add" };
  }
  if (place === "clone") {
    const why = isOpening ? "a clone has keys of its own" : "a clone takes nothing by which it could reach anybody";
    const itsClass = mustMatch !== undefined ? "must-match" : isAdapted(name) ? "adapted" : "free";
    return { class: itsClass, why, whenBoth: "keep", whenSaved: "leave" };
  }
  if (mustMatch !== undefined) return { class: "must-match", why: mustMatch, whenBoth: "set", whenSaved: "add" };
  if (MADE.test(name)) {
    return { class: "adapted", why: "made by the machine or the image", whenBoth: "keep", whenSaved: "leave" };
  }
  const group = GROUPS.find(({ names }) => names.includes(name));
  if (group !== undefined) {
    const isTaken = group.names.some((one) => given(present, one));
    const isWanted = place === "here" || group.isStorage;
    return { class: "adapted", why: group.why, whenBoth: "keep", whenSaved: !isTaken && isWanted ? "add" : "leave" };
  }
  if (isAdapted(name)) {
    const why = name === STORAGE_SERVICE ? "where this place puts new files" : "made for this machine";
    return { class: "adapted", why, whenBoth: "keep", whenSaved: place === "here" ? "add" : "leave" };
  }
  return { class: "free", why: "a setting: the point's comes back", whenBoth: "set", whenSaved: "add" };
}

function isAdapted(name: string): boolean {
  return (
    name === STORAGE_SERVICE || MACHINE.has(name) || MADE.test(name) || GROUPS.some(({ names }) => names.includes(name))
  );
}

/** What the point wants of a variable: its own value, unless the restore was asked for another. */
function savedFor(saved: Environment, { place, storage, frontendUrl, reached }: MatchOptions): Map<string, string> {
  const wanted = new Map(saved);
  if (storage !== undefined) wanted.set(STORAGE_SERVICE, storage);
  if (place === "clone") for (const [name, value] of cloneWalls(reached)) wanted.set(name, value);
  if (place === "clone" && frontendUrl !== undefined) wanted.set("FRONTEND_URL", frontendUrl);
  return wanted;
}

function matchOne(name: string, wanted: Environment, present: Environment, options: MatchOptions): MatchLine {
  const verdict = judge(name, present, options);
  const [isSaved, isPresent] = [given(wanted, name), given(present, name)];
  const isEqual = isSaved && isPresent && wanted.get(name) === present.get(name);
  const line = {
    name,
    class: verdict.class,
    isSaved,
    isPresent,
    isEqual,
    why: verdict.why,
    isInDatabase: isKeptInDatabase(name),
  };
  if (isEqual) return { ...line, action: "same" };
  if (!isSaved) return { ...line, action: "keep", why: "the point has none" };
  return { ...line, action: isPresent ? verdict.whenBoth : verdict.whenSaved };
}

/**
 * Each variable of either environment that has a value in one of them, by name. An empty value is none: Chatwoot's example
 * file names most variables without giving them one.
 */
export function matchEnvironments(saved: Environment, present: Environment, options: MatchOptions): MatchLine[] {
  const wanted = savedFor(saved, options);
  return [...new Set([...wanted.keys(), ...present.keys()])]
    .filter((name) => given(wanted, name) || given(present, name))
    .toSorted()
    .map((name) => matchOne(name, wanted, present, options));
}

/** The values that have to be written: secrets among them. */
export function valuesToWrite(
  lines: readonly MatchLine[],
  saved: Environment,
  options: MatchOptions,
): Map<string, string> {
  const wanted = savedFor(saved, options);
  const changed = lines.filter(({ action }) => action === "set" || action === "add");
  return new Map(changed.map(({ name }) => [name, wanted.get(name) ?? ""]));
}
