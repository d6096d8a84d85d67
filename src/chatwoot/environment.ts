/**
 * What Chatwoot's environment says: the `.env` file as the dotenv gem reads it, which database the application
 * uses, and which storage services it knows.
 */
import { Failure } from "../base/errors.ts";

export type Environment = ReadonlyMap<string, string>;

export interface EnvFile {
  readonly values: Map<string, string>;
  /** Variables whose value is made by a shell command, `$(…)`: it is not run, so their text stands as written. */
  readonly commands: string[];
  /** Numbers of lines, from 1, that say nothing: neither a comment nor a name with a value. */
  readonly idleLines: number[];
}

/** Ruby's `\s`: JavaScript's knows more, among them the no-break space. */
const SPACE = " \t\r\n\f\v";
const isSpace = (char: string | undefined): boolean => char !== undefined && char !== "" && SPACE.includes(char);

function skip(text: string, from: number, test: (char: string) => boolean): number {
  let at = from;
  for (let char = text[at]; char !== undefined && test(char); char = text[at]) at += 1;
  return at;
}

/** True when nothing but blanks or a comment follows on the line. */
function endsLine(text: string, from: number): boolean {
  const at = skip(text, from, (char) => char !== "\n" && isSpace(char));
  return at >= text.length || text[at] === "\n" || text[at] === "#";
}

/** The end of a quoted value that begins at `from`, or undefined where it is no quoted value after all. */
function quotedEnd(text: string, from: number): number | undefined {
  const quote = text[from];
  const escaped: number[] = [];
  for (let at = from + 1; at < text.length; at += 1) {
    if (text[at] !== quote) continue;
    if (at > from + 1 && text[at - 1] === "\\") {
      escaped.push(at + 1);
      continue;
    }
    if (endsLine(text, at + 1)) return at + 1;
    break;
  }
  // A quote after a backslash ends the value too, where no other reading makes sense: 'C:\'
  return escaped.toReversed().find((end) => endsLine(text, end));
}

interface RawEntry {
  name: string;
  /** Undefined where nothing at all stands after the name or the `=`. */
  value: string | undefined;
  isExport: boolean;
  /** Where the value begins, or would; undefined where no `=` or `:` stands before it. */
  valueAt: number | undefined;
  end: number;
}

function readValue(text: string, from: number): { value: string | undefined; valueAt: number; end: number } {
  const start = skip(text, from, isSpace);
  if (text[start] === "'" || text[start] === '"') {
    const end = quotedEnd(text, start);
    if (end !== undefined) return { value: text.slice(start, end), valueAt: start, end };
  }
  const end = skip(text, from, (char) => char !== "#" && char !== "\n");
  return { value: end === from ? undefined : text.slice(from, end), valueAt: from, end };
}

/** Reads `[export] NAME = value`, `NAME: value` or a bare name: `start` is the first thing of a line that is no blank. */
function readEntry(text: string, start: number): RawEntry | undefined {
  const afterExport = text.startsWith("export", start) ? skip(text, start + 6, isSpace) : start;
  for (const at of afterExport > start + 6 ? [afterExport, start] : [start]) {
    const nameEnd = skip(text, at, (char) => /[\w.]/.test(char));
    if (nameEnd === at) continue;
    const head = { name: text.slice(at, nameEnd), isExport: at !== start };
    const separator = skip(text, nameEnd, isSpace);
    if (text[separator] === "=") return { ...head, ...readValue(text, separator + 1) };
    if (text[nameEnd] === ":" && isSpace(text[nameEnd + 1])) return { ...head, ...readValue(text, nameEnd + 2) };
    if (endsLine(text, nameEnd)) return { ...head, value: undefined, valueAt: undefined, end: nameEnd };
  }
  return undefined;
}

function trim(text: string): string {
  const start = skip(text, 0, isSpace);
  let end = text.length;
  while (end > start && (isSpace(text[end - 1]) || text[end - 1] === "\0")) end -= 1;
  return text.slice(start, end);
}

/** Where each bracket that is closed ends, by where it opens. */
function bracketEnds(text: string): Map<number, number> {
  const open: number[] = [];
  const ends = new Map<number, number>();
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "(") open.push(at);
    const start = text[at] === ")" ? open.pop() : undefined;
    if (start !== undefined && at > start + 1) ends.set(start, at + 1);
  }
  return ends;
}

/** Takes the backslash from `\$(…)`; tells whether a `$(…)` stands that the shell would run. */
function readCommands(value: string): { value: string; hasCommand: boolean } {
  let out = "";
  let hasCommand = false;
  const ends = bracketEnds(value);
  for (let at = 0; at < value.length;) {
    const isEscaped = value[at] === "\\" && value[at + 1] === "$";
    const dollar = isEscaped ? at + 1 : at;
    const end = value[dollar] === "$" ? ends.get(dollar + 1) : undefined;
    if (end === undefined) {
      out += value[at];
      at += 1;
      continue;
    }
    hasCommand ||= !isEscaped;
    out += value.slice(dollar, end);
    at = end;
  }
  return { value: out, hasCommand };
}

function substitute(value: string, lookUp: (name: string) => string): string {
  return value.replace(/(\\?)\$(?!\()\{?([A-Za-z0-9_]+)?\}?/g, (whole: string, escape: string, name?: string) => {
    if (escape !== "") return whole.slice(1);
    return name === undefined ? whole : lookUp(name);
  });
}

/** As the reader takes it: no byte order mark, and every line ends in a line feed. */
function plainText(text: string): string {
  return text.replace(/^\uFEFF/, "").replaceAll(/\r\n?/g, "\n");
}

/** A line of a `.env` file that names a variable, with its places in the text that the reader takes it for. */
export interface EnvEntry {
  name: string;
  /** As it is written, with quotes; undefined where nothing is. */
  written: string | undefined;
  isExport: boolean;
  /** Where what is written begins, or would; undefined where the name stands alone. */
  valueAt: number | undefined;
  end: number;
}

/** All variables of a `.env` file, in order, as {@link readEnvFile} meets them; `source` is what the places are places of. */
export function listEnvEntries(text: string): { source: string; entries: EnvEntry[] } {
  const source = plainText(text);
  const entries: EnvEntry[] = [];
  for (let at = skip(source, 0, isSpace); at < source.length;) {
    const entry = readEntry(source, at);
    if (entry !== undefined) {
      const { name, value, isExport, valueAt, end } = entry;
      entries.push({ name, written: value, isExport, valueAt, end });
    }
    const lineEnd = source.indexOf("\n", entry?.end ?? at);
    at = lineEnd === -1 ? source.length : skip(source, lineEnd, isSpace);
  }
  return { source, entries };
}

/**
 * Reads a `.env` file by the rules of the dotenv gem (3.x), which Chatwoot loads it with: `export`, comments,
 * single, double and no quotes, values over several lines, `NAME: value`, `$NAME` and `${NAME}`, backslashes,
 * any line ends, a byte order mark. Of two equal names the last one counts. Lines that are none of this are skipped.
 *
 * @param outer The environment that the process has anyhow: dotenv takes variables from it before the file's own.
 */
export function readEnvFile(text: string, outer: Environment = new Map()): EnvFile {
  const source = plainText(text);
  const values = new Map<string, string>();
  const commands = new Set<string>();
  const idleLines: number[] = [];
  let [line, counted] = [1, 0];
  for (let at = skip(source, 0, isSpace); at < source.length;) {
    const entry = readEntry(source, at);
    for (; counted < at; counted += 1) if (source[counted] === "\n") line += 1;
    if (source[at] !== "#" && isIdle(source, at, entry)) idleLines.push(line);
    // `export NAME` alone only says that an earlier value is meant for programs, too.
    if (entry !== undefined && !(entry.isExport && entry.value === undefined && values.has(entry.name))) {
      const read = evaluate(entry.value ?? "", outer, values);
      values.set(entry.name, read.value);
      if (read.hasCommand) commands.add(entry.name);
      else commands.delete(entry.name);
    }
    const lineEnd = source.indexOf("\n", entry?.end ?? at);
    at = lineEnd === -1 ? source.length : skip(source, lineEnd, isSpace);
  }
  return { values, commands: [...commands], idleLines };
}

/** A name alone is a variable that is empty to dotenv, and a mistake to everybody else. */
function isIdle(source: string, at: number, entry: RawEntry | undefined): boolean {
  if (entry === undefined) return true;
  return entry.value === undefined && !entry.isExport && !/[=:]/.test(source.slice(at, entry.end));
}

function evaluate(written: string, outer: Environment, earlier: Environment): { value: string; hasCommand: boolean } {
  const raw = trim(written);
  const quote = raw.length > 1 && /^['"]/.test(raw) && raw.at(-1) === raw[0] ? raw[0] : undefined;
  let value = quote === undefined ? raw : raw.slice(1, -1);
  if (quote === "'") return { value, hasCommand: false };
  const lookUp = (name: string) => outer.get(name) ?? earlier.get(name);
  if (quote === '"') value = keepLineBreaks(value, earlier.get(LINE_BREAK_MODE) ?? outer.get(LINE_BREAK_MODE));
  value = value.replaceAll(/\\([^$])/g, "$1");
  return readCommands(substitute(value, (name) => lookUp(name) ?? ""));
}

const LINE_BREAK_MODE = "DOTENV_LINEBREAK_MODE";

/** `\n` in double quotes stays these two characters, unless the old way was asked for. */
function keepLineBreaks(value: string, mode: string | undefined): string {
  if (mode === "legacy") return value.replaceAll("\\n", "\n").replaceAll("\\r", "\r");
  return value.replaceAll("\\n", "\\\\n").replaceAll("\\r", "\\\\r");
}

function given(env: Environment, name: string): string | undefined {
  const value = env.get(name);
  return value === undefined || value === "" ? undefined : value;
}

/** Rails' environment. Unset is taken for production, which every way of installing Chatwoot sets somewhere. */
export function railsEnvOf(env: Environment): string {
  return given(env, "RAILS_ENV") ?? given(env, "RACK_ENV") ?? "production";
}

export interface DatabaseParts {
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
}
/** Either a whole URL, or its parts. */
export type DatabaseSetting = { url: string } | (DatabaseParts & { url?: undefined });

/** Where libpq looks when no host is named, on Debian and its kin. */
const SOCKET_FOLDER = "/var/run/postgresql";

/**
 * The database that the application uses: `DATABASE_URL`, else `POSTGRES_*` with the defaults of Chatwoot's
 * `config/database.yml` for its Rails environment. What a URL leaves out is taken from there as well, as Rails does.
 *
 * @throws Failure `installation/invalid` when `DATABASE_URL` is no URL or `POSTGRES_PORT` no port.
 */
export function databaseOf(env: Environment): DatabaseSetting {
  const rails = railsEnvOf(env);
  const isProduction = rails === "production" || rails === "staging";
  const databases: Record<string, string> = { development: "chatwoot_dev", test: "chatwoot_test" };
  const port = Number(given(env, "POSTGRES_PORT") ?? "5432");
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Failure("installation/invalid", "POSTGRES_PORT in Chatwoot's environment is not a port number");
  }
  const parts: DatabaseParts = {
    host: env.get("POSTGRES_HOST") === "" ? SOCKET_FOLDER : (env.get("POSTGRES_HOST") ?? "localhost"),
    port,
    user: env.get("POSTGRES_USERNAME") ?? (isProduction ? "chatwoot_prod" : "postgres"),
    password: env.get("POSTGRES_PASSWORD") ?? (isProduction ? "chatwoot_prod" : "password"),
    database: given(env, "POSTGRES_DATABASE") ?? databases[rails] ?? "chatwoot_production",
  };
  const url = given(env, "DATABASE_URL");
  return url === undefined ? parts : { url: completeUrl(url.trim(), parts) };
}

function completeUrl(text: string, parts: DatabaseParts): string {
  if (!/^postgres(?:ql)?:\/\//i.test(text)) {
    throw new Failure("installation/invalid", "DATABASE_URL in Chatwoot's environment is not a PostgreSQL URL", {
      hint: "It should look like postgresql://user:password@host:5432/chatwoot_production.",
    });
  }
  const [, path] = /^[a-z]+:\/\/[^/?#]*\/?([^?#]*)/i.exec(text) ?? [];
  if (path !== "" || /[?&]dbname=/.test(text)) return text;
  return text.replace(/^([a-z]+:\/\/[^/?#]*)\/?/i, `$1/${encodeURIComponent(parts.database)}`);
}

/** The Redis that the application uses. */
export interface RedisPlace {
  /** Or the path of a socket, which begins with `/`; with sentinels the name of the master. */
  host: string;
  port: number;
  isSecure: boolean;
  /** The server's certificate must be right. */
  isVerified: boolean;
  database: number;
  user?: string;
  password?: string;
  /** `host:port` of each. */
  sentinels: string[];
  sentinelPassword?: string;
}

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

/** As it stands where it is no percent-encoding after all. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * What Chatwoot's `lib/redis/config.rb` makes of `REDIS_*`: `REDIS_URL`, whose password gives way to `REDIS_PASSWORD`, or the Redis
 * of this machine; with `REDIS_SENTINELS` nothing of the URL counts, but the sentinels and the master's name.
 * Undefined where `REDIS_URL` is no URL.
 */
export function redisOf(env: Environment): RedisPlace | undefined {
  const password = given(env, "REDIS_PASSWORD");
  const isVerified = env.get("REDIS_OPENSSL_VERIFY_MODE") !== "none";
  const sentinels = sentinelsOf(env);
  if (sentinels.length > 0) {
    // One that is empty says that they have none, whatever the master has.
    const sentinelPassword = env.get("REDIS_SENTINEL_PASSWORD") ?? password ?? "";
    return {
      host: given(env, "REDIS_SENTINEL_MASTER_NAME") ?? "mymaster",
      port: REDIS_PORT,
      isSecure: false,
      isVerified,
      database: 0,
      ...(password === undefined ? {} : { password }),
      sentinels,
      ...(sentinelPassword === "" ? {} : { sentinelPassword }),
    };
  }
  const text = (given(env, "REDIS_URL") ?? `redis://127.0.0.1:${REDIS_PORT}`).trim();
  return redisUrlOf(text, { password, isVerified });
}

/** `redis://[user:password@]host[:port][/database]`, `rediss:` for TLS, or `unix:/path`; undefined for anything else. */
export function redisUrlOf(
  text: string,
  { password: other, isVerified }: { password?: string | undefined; isVerified: boolean },
): RedisPlace | undefined {
  const url = URL.parse(text);
  if (url === null || !/^(?:rediss?|unix):$/.test(url.protocol)) return undefined;
  const isSocket = url.protocol === "unix:";
  const password = other ?? decoded(url.password);
  const user = decoded(url.username);
  const database = isSocket ? url.searchParams.get("db") : /^\/(\d+)$/.exec(url.pathname)?.[1];
  return {
    host: isSocket ? decoded(url.pathname) : url.hostname.replace(/^\[(.*)\]$/, "$1") || "127.0.0.1",
    port: Number(url.port || REDIS_PORT),
    isSecure: url.protocol === "rediss:",
    isVerified,
    database: Number(database ?? 0),
    ...(user === "" ? {} : { user }),
    ...(password === "" ? {} : { password }),
    sentinels: [],
  };
}

function sentinelsOf(env: Environment): string[] {
  return (given(env, "REDIS_SENTINELS") ?? "")
    .split(",")
    .map((text) => text.trim())
    .filter((text) => text !== "")
    .map((text) => (/:\d+$/.test(text) ? text : `${text.replace(/:$/, "")}:${SENTINEL_PORT}`));
}

/** A storage service as `config/storage.yml` defines it; `variables` are the names that hold its credentials. */
export type StorageService =
  /** Where web and worker keep their files in different folders, both: a file is in one of them. */
  { serviceName: string; kind: "local"; roots: readonly [string, ...string[]] } | BucketService;

export interface BucketService {
  serviceName: string;
  kind: "s3" | "gcs" | "azure";
  bucket: string;
  variables: string[];
  /** Those of `variables` that it cannot work without and that are empty. */
  missing: string[];
}

interface RemoteService {
  kind: "s3" | "gcs" | "azure";
  bucket: string;
  needed: readonly string[];
  optional: readonly string[];
}

const REMOTE_SERVICES: Readonly<Record<string, RemoteService>> = {
  amazon: {
    kind: "s3",
    bucket: "S3_BUCKET_NAME",
    needed: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"],
    optional: [],
  },
  google: { kind: "gcs", bucket: "GCS_BUCKET", needed: ["GCS_PROJECT", "GCS_CREDENTIALS"], optional: [] },
  microsoft: {
    kind: "azure",
    bucket: "AZURE_STORAGE_CONTAINER",
    needed: ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCESS_KEY"],
    optional: [],
  },
  s3_compatible: {
    kind: "s3",
    bucket: "STORAGE_BUCKET_NAME",
    needed: ["STORAGE_ACCESS_KEY_ID", "STORAGE_SECRET_ACCESS_KEY", "STORAGE_ENDPOINT"],
    optional: ["STORAGE_REGION", "STORAGE_FORCE_PATH_STYLE"],
  },
};

/** Those whose files lie in a bucket. */
export const BUCKET_SERVICES: readonly string[] = Object.keys(REMOTE_SERVICES);

/** The service that new files go to. Reading goes by each blob's own `service_name`. */
export function activeStorageService(env: Environment): string {
  return given(env, "ACTIVE_STORAGE_SERVICE") ?? "local";
}

/**
 * The storage services that blobs may name, with what each needs: `local` always, the others when something of
 * theirs is set or new files go there.
 *
 * @param root Chatwoot's own folder, under which `local` keeps its files in `storage`.
 */
export function storageServicesOf(env: Environment, root: string): StorageService[] {
  const services: StorageService[] = [
    { serviceName: "local", kind: "local", roots: [`${root.replace(/\/+$/, "")}/storage`] },
  ];
  for (const serviceName of BUCKET_SERVICES) {
    const service = bucketServiceOf(env, serviceName);
    // The AWS_* keys alone may be there for something else.
    if (service === undefined || (service.bucket === "" && activeStorageService(env) !== serviceName)) continue;
    services.push(service);
  }
  return services;
}

/** A service of Chatwoot's `config/storage.yml` whose files lie in a bucket, used or not; undefined for any other name. */
export function bucketServiceOf(env: Environment, serviceName: string): BucketService | undefined {
  const service = Object.hasOwn(REMOTE_SERVICES, serviceName) ? REMOTE_SERVICES[serviceName] : undefined;
  if (service === undefined) return undefined;
  const needed = [service.bucket, ...service.needed];
  return {
    serviceName,
    kind: service.kind,
    bucket: env.get(service.bucket) ?? "",
    variables: [...needed, ...service.optional],
    missing: needed.filter((name) => given(env, name) === undefined),
  };
}
