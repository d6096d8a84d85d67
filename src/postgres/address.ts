/**
 * The room of PostgreSQL: one consistent look at a database, its rows as ranges, and the way back. It promises that
 * what it hands over is what the server had at one moment, or fails; it never returns less without saying so.
 * It does not know repositories, nor Chatwoot.
 *
 * This file: where a server is and who we are there. The password leaves it only for a connection or the
 * environment of a child process, never for a message or an argument.
 */
import type { Socket } from "node:net";
import { Failure } from "../base/errors.ts";

const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
export type SslMode = (typeof SSL_MODES)[number];

/** libpq's settings of the same names; paths are files in PEM. */
export interface SslSettings {
  mode: SslMode;
  /** `sslrootcert`: certificates that may sign the server's; `system` means those of the machine. */
  rootCertificate?: string | undefined;
  certificate?: string | undefined;
  key?: string | undefined;
}

const CHANNEL_BINDINGS = ["disable", "prefer", "require"] as const;
export type ChannelBinding = (typeof CHANNEL_BINDINGS)[number];

/** What libpq would do and we do not: where the address relies on one of these, nobody is served by passing it over. */
const NOT_HEEDED: ReadonlySet<string> = new Set([
  "hostaddr",
  "options",
  "passfile",
  "require_auth",
  "requirepeer",
  "service",
  "ssl_max_protocol_version",
  "ssl_min_protocol_version",
  "sslcertmode",
  "sslcrl",
  "sslcrldir",
  "sslnegotiation",
  "sslpassword",
  "target_session_attrs",
]);

export interface ServerAddress {
  /** A host name, an address, or the folder of a socket (starts with `/`). */
  host: string;
  port: number;
  user: string;
  password?: string | undefined;
  /** Prints the password, in its place. It may hold a secret itself. */
  passwordCommand?: string | undefined;
  database: string;
  /** Without it, as libpq does: encrypted where the server can. */
  ssl?: SslSettings | undefined;
  /** libpq's setting: whether signing in must prove that nobody stands in between. Without it as it may be. */
  channelBinding?: ChannelBinding | undefined;
  /** For the server at the start of each session, as libpq's setting of the same name; poolers take none. */
  options?: string | undefined;
  /** Where no route of this machine leads there: `host` and `port` are then those in there. Programs of PostgreSQL have no such way. */
  passage?: Passage | undefined;
}

/** A way into another network, as a container's. */
export interface Passage {
  /** For people: `in the container desk-postgres-1`. */
  readonly name: string;
  /** @throws Failure `database/unreachable`; the signal's reason. */
  open(to: { host: string; port: number }, options: { signal: AbortSignal }): Promise<Socket>;
}

const DEFAULT_PORT = 5432;

/** True when the server is reached through a socket of this machine. */
export function isSocket(address: ServerAddress): boolean {
  return address.host.startsWith("/");
}

function refuse(what: string, hint?: string): Failure {
  return new Failure("config/invalid", `the database URL ${what}`, {
    hint:
      hint ??
      "Write it as postgres://USER:PASSWORD@HOST:5432/DATABASE; '%', '/', '@', '?' and '#' in a password are written %25, %2F, %40, %3F and %23.",
  });
}

/**
 * `postgres://user:password@host:5432/database?sslmode=require`, as libpq and Rails write it.
 * @throws Failure `config/invalid`; its message never shows the text, which may hold a password.
 */
export function parseDatabaseUrl(text: string): ServerAddress {
  // libpq takes several, also with ports, which no URL can have elsewhere.
  if (/^\w+:\/\/(?:[^/?#]*@)?[^/?#@]*,[^/?#@]*(?:[/?#]|$)/.test(text.trim())) throw severalHosts();
  let url: URL;
  try {
    // libpq lets the host be left out, also after a user; WHATWG's URL does not.
    url = new URL(text.trim().replace(/^(\w+:\/\/[^/?#]*@)(?=[/?]|$)/, "$1localhost"));
  } catch {
    // The reason is left out on purpose: it quotes the text.
    throw refuse("cannot be read");
  }
  if (!/^(postgres|postgresql|postgis):$/.test(url.protocol)) throw refuse(`begins with '${url.protocol}'`);
  const given = url.searchParams;
  const unheeded = [...given.keys()].find((name) => NOT_HEEDED.has(name));
  if (unheeded !== undefined) {
    throw refuse(
      `has the parameter '${unheeded}', which Chatkeep does not heed`,
      "Say it otherwise: docs/managed-postgres.md has what a URL may say. A password file is named by $PGPASSFILE.",
    );
  }
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw refuse("has a '%' that is not followed by two hexadecimal digits");
    }
  };
  const user = given.get("user") ?? decode(url.username);
  const database = given.get("dbname") ?? decode(url.pathname.replace(/^\//, ""));
  const password = given.get("password") ?? decode(url.password);
  if (user === "") throw refuse("names no user");
  const host = given.get("host") ?? (decode(url.hostname.replace(/^\[(.*)\]$/, "$1")) || "localhost");
  if (host.includes(",")) throw severalHosts();
  return {
    host,
    port: parsePort(given.get("port") ?? url.port),
    user,
    ...(password === "" ? {} : { password }),
    database: database === "" ? user : database,
    ...sslOf(given),
    ...channelBindingOf(given.get("channel_binding")),
  };
}

function severalHosts(): Failure {
  return refuse(
    "names several hosts, and Chatkeep goes to one",
    "Name one of them, or an address that leads to the one that is in force; a ',' in a password is written %2C.",
  );
}

function channelBindingOf(text: string | null): { channelBinding?: ChannelBinding } {
  if (text === null) return {};
  const known = CHANNEL_BINDINGS.find((name) => name === text);
  if (known === undefined)
    throw refuse(`has the channel_binding '${text}', which is none of ${CHANNEL_BINDINGS.join(", ")}`);
  return { channelBinding: known };
}

function parsePort(text: string): number {
  if (text === "") return DEFAULT_PORT;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw refuse(`has the port '${text}'`);
  return port;
}

function sslOf(given: URLSearchParams): { ssl?: SslSettings } {
  const mode = given.get("sslmode");
  const files = {
    rootCertificate: given.get("sslrootcert") ?? undefined,
    certificate: given.get("sslcert") ?? undefined,
    key: given.get("sslkey") ?? undefined,
  };
  if (mode === null) return Object.values(files).some(Boolean) ? { ssl: { mode: "prefer", ...files } } : {};
  const known = SSL_MODES.find((name) => name === mode);
  if (known === undefined) throw refuse(`has the sslmode '${mode}', which is none of ${SSL_MODES.join(", ")}`);
  return { ssl: { mode: known, ...files } };
}

/** `user@host:5432/database`: for people, without the password. */
export function describeAddress(address: ServerAddress): string {
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const where = address.passage === undefined ? "" : ` ${address.passage.name}`;
  return `${address.user}@${host}:${address.port}/${address.database}${where}`;
}

/** What a child program of PostgreSQL finds its server with; `undefined` takes a variable of ours away from it. */
export function childEnvironment(address: ServerAddress): Record<string, string | undefined> {
  return {
    PGHOST: address.host,
    PGHOSTADDR: undefined,
    PGPORT: String(address.port),
    PGUSER: address.user,
    PGDATABASE: address.database,
    ...(address.password === undefined ? {} : { PGPASSWORD: address.password }),
    PGSERVICE: undefined,
    PGOPTIONS: address.options,
    PGSSLMODE: address.ssl?.mode ?? "prefer",
    PGSSLROOTCERT: address.ssl?.rootCertificate,
    PGSSLCERT: address.ssl?.certificate,
    PGSSLKEY: address.ssl?.key,
    PGCHANNELBINDING: address.channelBinding,
    PGAPPNAME: "chatkeep",
    PGTZ: "UTC",
    PGCLIENTENCODING: undefined,
    PGCONNECT_TIMEOUT: "20",
    // Messages are read for what went wrong, so they are asked for in English.
    LC_ALL: "C",
    LANGUAGE: undefined,
  };
}
