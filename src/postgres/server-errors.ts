/** What a server or the network answers, as a {@link Failure} that says what to do. Never with a password in it. */
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { describeAddress, isSocket, type ServerAddress } from "./address.ts";
import { CONFLICT, conflictFailure } from "./conflict.ts";

/** SQLSTATEs that the room reacts to. */
export const SQLSTATE = {
  databaseMissing: "3D000",
  tableMissing: "42P01",
  columnMissing: "42703",
  lockTimeout: "55P03",
  denied: "42501",
  snapshotGone: "22023",
  /** Its transaction ends at this moment. */
  snapshotEnding: "55000",
  full: "53300",
  noSpace: "53100",
} as const;

/** True where a server keeps to itself what was asked: the role may not know it, or a provider's server has no such thing. */
export function isKeptBack(error: unknown): boolean {
  return ["42501", "0A000", "42883"].includes(sqlState(error) ?? "");
}

/** The SQLSTATE of an error, or of the error behind a failure. */
export function sqlState(error: unknown): string | undefined {
  if (isFailure(error)) return error.cause === undefined ? undefined : sqlState(error.cause);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (error instanceof Error && code === POOLERS_OWN) return poolersState(error.message) ?? code;
  // Each has a digit: EPIPE, which the network says when a server has ended a session, is none.
  return typeof code === "string" && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/**
 * True where a server had too little of something (class 53), was told to stop (57), or could not read or write its own
 * files (58, XX001, XX002), whatever it was doing.
 */
export function isServersOwnFault(error: unknown): boolean {
  return /^(5[378]...|XX00[12])$/.test(sqlState(error) ?? "");
}

/** True where a server found its own data damaged: a page whose checksum is wrong, for one. */
export function isDataCorrupted(error: unknown): boolean {
  return sqlState(error) === "XX001";
}

const POOLERS_OWN = "08P01";

/** PgBouncer has one SQLSTATE for all that it says: its words tell the one that a server would have used. */
function poolersState(text: string): string | undefined {
  if (/database .* does not exist|no such database/.test(text)) return SQLSTATE.databaseMissing;
  if (text.includes("no more connections allowed")) return SQLSTATE.full;
  return undefined;
}

/** PgBouncer answers for a while what the server answered last, without asking it: a database may be there by now. */
export function isRemembered(error: unknown): boolean {
  return error instanceof Error && error.message.includes("server_login_retry");
}

function networkFailure(error: Error, code: string | undefined, address: ServerAddress): Failure | undefined {
  const place = describeAddress(address);
  const unreachable = (what: string, hint: string) =>
    new Failure("database/unreachable", `${what} (${place})`, { hint, cause: error });
  switch (code) {
    case "ECONNREFUSED":
      return unreachable(
        "no PostgreSQL server answers",
        isSocket(address)
          ? "Is the server running? The folder and the port together name its socket."
          : "Is the server running, and does it listen on this address and port (listen_addresses, port)?",
      );
    case "ENOENT":
    case "EACCES":
      return unreachable(
        "the server's socket cannot be opened",
        "Is the server running? Look at its setting unix_socket_directories, and at the folder's permissions.",
      );
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return unreachable(`the host '${address.host}' is not known`, "Is the name right, and does the DNS work here?");
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return unreachable("the server does not answer", "Does a firewall or a security group stand in between?");
    case "ECONNRESET":
    case "EPIPE":
      return unreachable("the connection was cut", "Did the server restart? Its log says why; try again then.");
    default:
      return undefined;
  }
}

/** What node's TLS and the `pg` library say without a code. */
function clientFailure(error: Error, address: ServerAddress): Failure | undefined {
  const text = error.message;
  const place = describeAddress(address);
  if (/client password must be a (non-empty )?string/.test(text)) {
    return new Failure("database/denied", `the server asks for a password and none is known (${place})`, {
      hint: "Is the password in the installation's environment file, or in the database URL?",
      cause: error,
    });
  }
  if (/does not support SSL/.test(text)) {
    return new Failure("database/denied", `the server has no SSL, and sslmode asks for it (${place})`, {
      hint: "Use sslmode=prefer, or switch SSL on at the server.",
      cause: error,
    });
  }
  if (/certificate|self-signed|altnames|unable to verify/i.test(text)) {
    return new Failure("database/denied", `the server's certificate is not trusted (${place}): ${text}`, {
      hint: "Name the certificate that signed it with sslrootcert, or use sslmode=require if you trust the network.",
      cause: error,
    });
  }
  if (/timeout expired|Connection terminated|connection error|not queryable|was closed/i.test(text)) {
    return new Failure("database/unreachable", `the connection to the server was lost (${place})`, {
      hint: "Did the server restart, or was the session ended? Its log says why; try again then.",
      cause: error,
    });
  }
  return undefined;
}

/** @param said the server's own words, which name the file that it could not write. */
export function noSpaceFailure(said: string, address: ServerAddress, cause?: unknown): Failure {
  return new Failure("database/no-space", `the database server's disk is full (${describeAddress(address)}): ${said}`, {
    hint: "Free some space on the disk that holds the server's data, then try again.",
    cause,
  });
}

/** Damaged data or index, an error of the disk or a file that is gone, and bytes that are no text of the encoding. */
const UNREADABLE = /^(XX...|58030|58P01|22021|22P05)$/;
/** A library that is not installed has the SQLSTATE of a file of data that is gone. */
const MISSING_LIBRARY = /^could not (?:access file|load library) "/;
const TOO_LONG = /invalid memory alloc request size|exceeds maximum allowed length/;

function stateFailure(error: Error, state: string, address: ServerAddress): Failure {
  const text = error.message;
  const place = describeAddress(address);
  const make = (code: ConstructorParameters<typeof Failure>[0], message: string, hint: string) =>
    new Failure(code, message, { hint, cause: error });
  // 40001, and 40P01 where it waited for a buffer: the message tells them from those of writers.
  if (state.startsWith("40") && CONFLICT.test(text)) return conflictFailure(error);
  if (state === "28P01") {
    return make(
      "database/denied",
      `the server refuses the password of '${address.user}' (${place})`,
      "Is the password the one that Chatwoot itself uses (POSTGRES_PASSWORD or DATABASE_URL)?",
    );
  }
  if (state === "28000") {
    return make(
      "database/denied",
      `the server refuses '${address.user}' (${place}): ${text}`,
      "Look at the server's pg_hba.conf: which users, addresses and encryption does it allow?",
    );
  }
  if (state === SQLSTATE.databaseMissing) {
    return make(
      "database/unsuitable",
      `the database '${address.database}' does not exist (${place})`,
      "Is it the name that Chatwoot uses (POSTGRES_DATABASE, or chatwoot_production)?",
    );
  }
  // Supavisor says it in words.
  if (state === SQLSTATE.full || text.includes("max clients reached")) {
    return make(
      "database/full",
      `the server has no connection left for us (${place})`,
      "Chatkeep does with two; try again later, or raise max_connections at the server, or the limit of the role or of the plan.",
    );
  }
  if (state === SQLSTATE.noSpace) return noSpaceFailure(text, address, error);
  if (state.startsWith("57P") || state.startsWith("08")) {
    return make(
      "database/unreachable",
      `the server ended the connection (${place}): ${text}`,
      "Is it starting, stopping or failing over? Try again in a minute.",
    );
  }
  if (state === SQLSTATE.denied) {
    return make("database/denied", text, `Grant it to '${address.user}', or use a role that has the right.`);
  }
  if (TOO_LONG.test(text) || state === "54000") {
    return make(
      "database/unreadable",
      `the server cannot write a value as text: ${text}`,
      "PostgreSQL writes nothing that is longer than 1 GB, a bytea value twice its size; pg_dump cannot either.",
    );
  }
  if (MISSING_LIBRARY.test(text)) {
    return make(
      "database/failed",
      `the server cannot load a library: ${text}`,
      "Is the package of an extension missing there, or named in session_preload_libraries?",
    );
  }
  if (UNREADABLE.test(state)) {
    return make(
      "database/unreadable",
      `the server cannot read its own data: ${text}`,
      "A page of this database is damaged on disk: look at the server's log and its disks before anything else.",
    );
  }
  return make("database/failed", `the server says: ${text}`, "The server's log says more.");
}

/** Anything thrown by a connection, as a failure. Failures pass through. */
export function serverFailure(error: unknown, address: ServerAddress): Failure {
  if (isFailure(error)) return error;
  if (!(error instanceof Error)) return new Failure("database/failed", messageOf(error), { cause: error });
  // Several addresses of one host, all refused: node wraps them.
  const inner = error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
  const code = "code" in inner && typeof inner.code === "string" ? inner.code : undefined;
  const network = networkFailure(inner, code, address) ?? clientFailure(inner, address);
  if (network !== undefined) return network;
  const state = sqlState(inner);
  if (state !== undefined) return stateFailure(inner, state, address);
  return new Failure("database/failed", `the connection to ${describeAddress(address)} failed: ${inner.message}`, {
    hint: "The server's log may say more.",
    cause: error,
  });
}
