/**
 * The schema as `pg_dump` writes it: its custom format for `pg_restore`, and the same as text that is equal whenever
 * the schema is. The custom file holds the time it was made, so of two points with equal text one file will do.
 */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { runProgram } from "../system/process.ts";
import { childEnvironment, describeAddress, type ServerAddress } from "./address.ts";
import { CONFLICT, conflictFailure, withConflictRetries } from "./conflict.ts";
import { withPassword } from "./password.ts";
import type { ClientPrograms } from "./programs.ts";
import { connectPatiently } from "./spare-sessions.ts";
import { namedTimeouts, refusesOptions, withoutTimeouts } from "./timeouts.ts";

export interface SchemaDump {
  /** `pg_dump --format=custom --schema-only`, with owners and rights. */
  custom: Buffer;
  /** The same as SQL, without owners and rights, in pg_restore's own words. */
  bare: string;
  /** The same without what else differs between equal schemas. */
  sql: string;
}

export interface SchemaDumpOptions {
  /** The exported snapshot to read in; without it the present. */
  snapshotId?: string | undefined;
  /** Names of timeouts that the server knows, to be switched off; without it those that all servers know. */
  timeouts?: readonly string[];
  signal: AbortSignal;
}

/**
 * @throws Failure `database/changed` when tables stay locked, or one was dropped since the snapshot; `database/denied` naming what the role may not read;
 * `database/conflict` when a standby ended it again and again;
 * `program/missing` when pg_dump is too old; `database/failed` with what it said.
 */
export async function dumpSchema(
  address: ServerAddress,
  programs: ClientPrograms,
  options: SchemaDumpOptions,
): Promise<SchemaDump> {
  return await withConflictRetries(async () => await dumpOnce(address, programs, options));
}

async function dumpOnce(
  address: ServerAddress,
  programs: ClientPrograms,
  options: SchemaDumpOptions,
): Promise<SchemaDump> {
  const { signal, snapshotId } = options;
  // While pg_dump waits for the lock of one table it holds those of others: so it gives up soon, and tries again.
  const wait = `--lock-wait-timeout=${LIMITS.lockTimeoutMs}`;
  const args = ["--format=custom", "--schema-only", wait];
  if (snapshotId !== undefined) args.push(`--snapshot=${snapshotId}`);
  // pg_dump switches off most of them by itself, but not as the first thing.
  let timeouts = options.timeouts;
  let isPooled = false;
  for (let attempt = 1; ; attempt += 1) {
    const startup = isPooled ? undefined : `${withoutTimeouts(timeouts)} ${address.options ?? ""}`.trim();
    const env = { ...childEnvironment(await withPassword(address, { signal })), PGOPTIONS: startup };
    const { status, stdout, stderr } = await runProgram(programs.pgDump, args, { signal, env, allowStatus: [1] });
    if (status === 0) {
      const bare = await bareSchema(stdout, programs, { signal });
      return { custom: stdout, bare, sql: normalizeSchema(bare) };
    }
    const more = timeouts === undefined ? namedTimeouts(stderr) : [];
    if (more.length > 0) timeouts = more;
    else if (!isPooled && refusesOptions(stderr)) isPooled = true;
    // In the server's own words and language: a session of ours tells the reason, or that it is gone by now.
    else if (NOT_LET_IN.test(stderr) && attempt <= CONNECT_ATTEMPTS) {
      await (await connectPatiently(address, { signal })).close();
    } else if (!isLockTimeout(stderr) || attempt >= LIMITS.lockAttempts) throw dumpFailure(stderr, address);
  }
}

/** libpq's own words. */
const NOT_LET_IN = /connection to server .* failed: /;
const CONNECT_ATTEMPTS = 3;

/** The SQL of a schema's dump in the custom format. */
async function bareSchema(
  custom: Uint8Array,
  programs: ClientPrograms,
  { signal }: { signal: AbortSignal },
): Promise<string> {
  const args = ["--schema-only", "--no-owner", "--no-acl", "--file=-"];
  const { stdout } = await runProgram(programs.pgRestore, args, { signal, input: custom });
  return stdout.toString("utf8");
}

/** What pg_dump writes of the schema `public` where somebody gave it another owner: nothing, in four lines. */
const OWNED_PUBLIC = `--
-- Name: public; Type: SCHEMA; Schema: -; Owner: -
--

-- *not* creating schema, since initdb creates it


`;

/**
 * Takes away what names versions or a random key: before the first statement and after the last, so that the same
 * text in a function's body is left alone; and what only tells of an owner. Pure, and the same when done twice.
 */
export function normalizeSchema(sql: string): string {
  const noise = /^(?:\\(?:un)?restrict .*|-- Dumped (?:from|by) .*|)$/;
  const lines = sql.replace(OWNED_PUBLIC, "").split("\n");
  const first = lines.findIndex((line) => line.startsWith("SET "));
  const head = lines.slice(0, Math.max(0, first)).filter((line) => !noise.test(line));
  const rest = lines.slice(Math.max(0, first));
  while (rest.length > 0 && noise.test(rest.at(-1) ?? "")) rest.pop();
  return `${[...head, "", ...rest].join("\n")}\n`;
}

/** The last lines of what a program of PostgreSQL printed before it failed, as a hint. */
export function printedHint(stderr: string): string {
  const lines = stderr.trim().split("\n");
  // With jobs pg_restore says last of all that a worker ended, and before it why.
  const from = lines.findLastIndex(
    (line) => /error:|ERROR:|fatal:|FATAL:/.test(line) && !line.includes("a worker process died unexpectedly"),
  );
  const shown = lines.slice(Math.max(0, from), Math.max(0, from) + 8).join("\n");
  return shown === "" ? "It printed nothing that explains it." : `It said: ${withoutOptions(shown)}`;
}

/** How one gets at other servers is not shown, as passwords are in it. A text that was cut off ends without its quote. */
function withoutOptions(printed: string): string {
  const at = printed.search(/Command was: \w+ (?:USER MAPPING|SUBSCRIPTION|SERVER) /);
  if (at < 0) return printed;
  return printed.slice(0, at) + printed.slice(at).replaceAll(/'(?:[^']|'')*'?/g, "'…'");
}

/** pg_dump limits its waiting for locks by statement_timeout; where the server's deadlock_timeout is short, that is first. */
function isLockTimeout(stderr: string): boolean {
  return /LOCK TABLE/.test(stderr) && /(?:lock|statement) timeout|deadlock detected/.test(stderr);
}

/** What the snapshot still shows, and the server no longer has: tables by their names, the rest by their numbers. */
const GONE = /relation ".*" does not exist|could not open relation with OID|cache lookup failed for/;

/** libpq's words for a server that is gone, and the server's own as it goes. */
const LOST =
  /server closed the connection unexpectedly|connection to server .* failed|no connection to the server|could not receive data from server|terminating connection (?:due to administrator command|because of crash)/;

/** A program's server went away; undefined for anything else that went wrong. */
export function lostFailure(stderr: string, address: ServerAddress): Failure | undefined {
  if (!LOST.test(stderr)) return undefined;
  return new Failure("database/unreachable", `the connection to the server was lost (${describeAddress(address)})`, {
    hint: "Did the server restart, or was the session ended? Its log says why; try again then.",
  });
}

function dumpFailure(stderr: string, address: ServerAddress): Failure {
  if (CONFLICT.test(stderr)) return conflictFailure();
  const lost = lostFailure(stderr, address);
  if (lost !== undefined) return lost;
  const denied = /permission denied for ([^\n]*)/.exec(stderr)?.[1];
  if (denied !== undefined) {
    return new Failure("database/denied", `'${address.user}' may not read ${denied}, so the schema cannot be saved`, {
      hint: `Use the role that owns the database, or: GRANT USAGE ON SCHEMA … TO "${address.user}"; GRANT SELECT ON ALL TABLES IN SCHEMA … TO "${address.user}".`,
    });
  }
  if (isLockTimeout(stderr)) {
    return new Failure("database/changed", "a table stays locked by another session, so the schema cannot be saved", {
      hint: "A migration or a maintenance job holds it: pg_locks and pg_stat_activity name it. Try again when it has ended.",
    });
  }
  if (GONE.test(stderr)) {
    return new Failure("database/changed", "a table was dropped or replaced while the schema was being saved", {
      hint: "Is a migration running? Try again when it has ended.",
    });
  }
  if (stderr.includes("server version mismatch")) {
    return new Failure("program/missing", "pg_dump is older than the server", {
      hint: "Install the client programs of the server's own version: postgresql-client-<version>.",
    });
  }
  if (/invalid snapshot identifier|snapshot ".*" does not exist|could not import/.test(stderr)) {
    return new Failure("database/unreachable", "the snapshot of the database is gone: its session has ended", {
      hint: "Did the server restart, or was the session ended? Try again.",
    });
  }
  return new Failure("database/failed", "pg_dump could not save the schema", { hint: printedHint(stderr) });
}
