/**
 * The environment of a copy that must reach nobody: what is known to be harmless stays, what opens or reaches anything of the
 * installation that was copied goes, and what Chatwoot would fall back on is pointed at nothing.
 */
import { BUCKET_SERVICES, bucketServiceOf, type Environment, type RedisPlace, redisOf } from "./environment.ts";

/** How the application behaves: neither an address nor a credential. All else is taken out, whoever added it. */
const KEPT = [
  /^(?:RAILS_ENV|RACK_ENV|NODE_ENV|INSTALLATION_ENV|CW_EDITION|TZ|LANG|LC_ALL|PORT|PIDFILE)$/,
  /^(?:RAILS_LOG_TO_STDOUT|RAILS_SERVE_STATIC_FILES|LOG_LEVEL|LOG_SIZE|LOGRAGE_ENABLED|RAILS_MAX_THREADS|WEB_CONCURRENCY|SIDEKIQ_CONCURRENCY)$/,
  /^(?:DEFAULT_LOCALE|FORCE_SSL|MAX_USER_SESSIONS|CONTACT_PRESENCE_DURATION|MAXIMUM_FILE_UPLOAD_SIZE|WIDGET_BRAND_URL|INSTALLATION_NAME)$/,
  /^(?:ENABLE|DISABLE|RATE_LIMIT|USE)_[A-Z0-9_]+$/,
  /^[A-Z0-9_]*(?:_TIMEOUT|_POOL_SIZE|_FREQUENCY|_LIMIT|_API_VERSION)$/,
];

/** A port of this machine on which nobody listens: a connection is refused at once, and no packet leaves. */
const NOTHING = { host: "127.0.0.1", port: "9" } as const;
const NOTHING_URL = `http://${NOTHING.host}:${NOTHING.port}`;

/** Without an address Rails would hand mail to the machine's own sendmail. */
const WALLS: readonly (readonly [string, string])[] = [
  ["SMTP_ADDRESS", NOTHING.host],
  ["SMTP_PORT", NOTHING.port],
  ["MAILER_SENDER_EMAIL", "Chatwoot clone <clone@clone.invalid>"],
  ["MAILER_INBOUND_EMAIL_DOMAIN", "clone.invalid"],
  ["WHATSAPP_CLOUD_BASE_URL", NOTHING_URL],
  ["360DIALOG_BASE_URL", NOTHING_URL],
  ["DISABLE_TELEMETRY", "true"],
  ["ENABLE_PUSH_RELAY_SERVER", "false"],
  ["ENABLE_ACCOUNT_SIGNUP", "false"],
  // Ruby's HTTP goes through it, so that even what Chatwoot has built in, such as its hub, is not reached.
  ["http_proxy", NOTHING_URL],
  ["https_proxy", NOTHING_URL],
  ["HTTP_PROXY", NOTHING_URL],
  ["HTTPS_PROXY", NOTHING_URL],
];

/** Names whose values a copy has of its own. */
export const RENEWED_SECRETS = [
  "SECRET_KEY_BASE",
  "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY",
  "ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY",
  "ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT",
] as const;

/** What only a person knows of the copy's Redis; it is no server's name, so that nothing is shared before it is changed. */
export const REDIS_TO_SET = "redis://set-the-own-redis-of-this-clone.invalid:6379";

export interface CloneDatabase {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string | undefined;
  readonly database: string;
}

export interface CloneEnvironmentOptions {
  readonly frontendUrl: string;
  /** Where the copy's rows are. */
  readonly database: CloneDatabase;
  /** Makes a new secret of so many letters and digits. */
  readonly secret: (length: number) => string;
}

export interface CloneEnvironment {
  readonly environment: Map<string, string>;
  /** Names that are not in it, sorted. */
  readonly removed: string[];
}

/** The environment for a copy in a folder and a database of its own, with secrets of its own, and local files. */
export function cloneEnvironment(saved: Environment, options: CloneEnvironmentOptions): CloneEnvironment {
  const { database, frontendUrl, secret } = options;
  const environment = new Map<string, string>();
  for (const [name, value] of saved) if (isHarmless(name)) environment.set(name, value);
  if (!environment.has("RAILS_ENV")) environment.set("RAILS_ENV", "production");
  for (const name of RENEWED_SECRETS) environment.set(name, secret(name === "SECRET_KEY_BASE" ? 63 : 32));
  environment.set("FRONTEND_URL", frontendUrl);
  environment.set("POSTGRES_HOST", database.host);
  environment.set("POSTGRES_PORT", String(database.port));
  environment.set("POSTGRES_USERNAME", database.user);
  environment.set("POSTGRES_PASSWORD", database.password ?? "");
  environment.set("POSTGRES_DATABASE", database.database);
  environment.set("REDIS_URL", REDIS_TO_SET);
  environment.set("ACTIVE_STORAGE_SERVICE", "local");
  raiseWalls(environment, [database.host]);
  const removed = [...saved.keys()].filter((name) => !environment.has(name)).toSorted();
  return { environment, removed };
}

function isHarmless(name: string): boolean {
  return KEPT.some((pattern) => pattern.test(name));
}

/** What an installation sets that a copy takes the place of, so that nothing leaves it. @param reached Hosts of its storage. */
export function cloneWalls(reached: readonly string[] = []): Map<string, string> {
  const walls = new Map<string, string>();
  raiseWalls(walls, reached);
  return walls;
}

/** What the copy itself needs is reached without the proxy that is none. */
function raiseWalls(environment: Map<string, string>, reached: readonly string[]): void {
  for (const [name, value] of WALLS) environment.set(name, value);
  const open = ["localhost", "127.0.0.1", "::1", ...reached.filter((host) => host !== "" && !host.startsWith("/"))];
  for (const name of ["no_proxy", "NO_PROXY"]) environment.set(name, [...new Set(open)].join(","));
}

const PROVIDERS: Readonly<Record<string, readonly string[]>> = {
  amazon: [".amazonaws.com"],
  google: ["storage.googleapis.com", "oauth2.googleapis.com", "www.googleapis.com"],
  microsoft: [".blob.core.windows.net"],
};

/** Where uploaded files lie that are in a bucket. */
export function storageHosts(environment: Environment): string[] {
  const service = environment.get("ACTIVE_STORAGE_SERVICE") ?? "local";
  const endpoint = URL.parse(environment.get("STORAGE_ENDPOINT") ?? "")?.hostname;
  if (service === "s3_compatible") return endpoint === undefined ? [] : [endpoint];
  return [...(PROVIDERS[service] ?? [])];
}

/** What a copy would have in common with the installation that was copied, and must not; a sentence's part each. */
export function sharedWith(saved: Environment, place: Environment, frontendUrl: string): string[] {
  const shared: string[] = [];
  const own = addressOf(saved.get("FRONTEND_URL"));
  if (own !== undefined && own === addressOf(frontendUrl))
    shared.push("the address (FRONTEND_URL) is the one of what is copied");
  if (own !== undefined && own === addressOf(place.get("FRONTEND_URL")))
    shared.push(
      "the installation that is there has the address (FRONTEND_URL) of what is copied: it may be that very one",
    );
  // The salt opens nothing alone.
  for (const name of RENEWED_SECRETS.slice(0, 3))
    if (isSame(saved, place, name)) shared.push(`${name} is the one of what is copied`);
  const redis = sharedRedis(redisOf(saved), redisOf(place));
  if (redis !== undefined) shared.push(`Redis is the one of what is copied (${redis})`);
  for (const name of BUCKET_SERVICES) {
    const [a, b] = [bucketServiceOf(saved, name), bucketServiceOf(place, name)];
    if (a === undefined || b === undefined || a.bucket === "" || a.bucket !== b.bucket) continue;
    if ((saved.get("STORAGE_ENDPOINT") ?? "") !== (place.get("STORAGE_ENDPOINT") ?? "") && name === "s3_compatible")
      continue;
    shared.push(`the storage service '${name}' writes into the bucket of what is copied (${b.bucket})`);
  }
  return shared;
}

/** The names of one machine, or of one Compose project, say nothing of another's. */
function sharedRedis(a: RedisPlace | undefined, b: RedisPlace | undefined): string | undefined {
  if (a === undefined || b === undefined || a.database !== b.database) return undefined;
  if (a.sentinels.length > 0) return a.sentinels.find((sentinel) => b.sentinels.includes(sentinel));
  const isElsewhere = a.host.includes(".") && !a.host.startsWith("127.");
  return isElsewhere && a.host === b.host && a.port === b.port ? `${a.host}:${a.port}` : undefined;
}

function isSame(a: Environment, b: Environment, name: string): boolean {
  const value = a.get(name) ?? "";
  return value !== "" && value === b.get(name);
}

function addressOf(url: string | undefined): string | undefined {
  return URL.parse(url ?? "")?.host.toLowerCase();
}

/** The text of an environment file, each value quoted so that it is read back as it is. */
export function formatCloneEnvironment({ environment }: CloneEnvironment): string {
  const lines = [...environment].map(([name, value]) => `${name}=${quoteValue(value)}`);
  return [
    "# A clone: it can send nothing to anybody. Give it a Redis of its own before it is started.",
    ...lines,
    "",
  ].join("\n");
}

function quoteValue(value: string): string {
  if (/^[\w.:/@,+-]*$/.test(value)) return value;
  if (!value.includes("'")) return `'${value}'`;
  return `"${value.replaceAll(/[\\"$]/g, "\\$&")}"`;
}
