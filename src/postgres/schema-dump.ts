/**
 * The schema as `pg_dump` writes it: its custom format for `pg_restore`, and the same as text that is equal whenever
 * the schema is. The custom file holds the time it was made, so of two points with equal text one file will do.
 */
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { runProgram } from "../system/process.ts";
import { childEnvironment, type ServerAddress } from "./address.ts";
import type { ClientPrograms } from "./programs.ts";

export interface SchemaDump {
  /** `pg_dump --format=custom --schema-only`. */
  custom: Buffer;
  /** The same as SQL, without what differs between equal schemas. */
  sql: string;
}

export interface SchemaDumpOptions {
  /** The exported snapshot to read in; without it the present. */
  snapshotId?: string | undefined;
  signal: AbortSignal;
}

/** A session that must wait for a table's lock holds those of others meanwhile: so it gives up, and tries again. */
const LOCK_WAIT_MS = 5_000;

/**
 * @throws Failure `database/changed` when tables stay locked; `database/denied` naming what the role may not read;
 * `program/failed` with what pg_dump said.
 */
export async function dumpSchema(
  address: ServerAddress,
  programs: ClientPrograms,
  options: SchemaDumpOptions,
): Promise<SchemaDump> {
  const { signal, snapshotId } = options;
  const args = ["--format=custom", "--schema-only", "--no-owner", "--no-acl", `--lock-wait-timeout=${LOCK_WAIT_MS}`];
  if (snapshotId !== undefined) args.push(`--snapshot=${snapshotId}`);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { stdout } = await runProgram(programs.pgDump, args, { signal, env: childEnvironment(address) });
      return { custom: stdout, sql: await schemaText(stdout, programs, { signal }) };
    } catch (error) {
      if (!isLockTimeout(error) || attempt >= LIMITS.lockAttempts) throw dumpFailure(error, address);
    }
  }
}

/** The SQL of a custom-format dump, without what differs between equal schemas. */
export async function schemaText(
  custom: Uint8Array,
  programs: ClientPrograms,
  { signal }: { signal: AbortSignal },
): Promise<string> {
  const args = ["--schema-only", "--no-owner", "--no-acl", "--file=-"];
  const { stdout } = await runProgram(programs.pgRestore, args, { signal, input: custom });
  return normalizeSchema(stdout.toString("utf8"));
}

/**
 * Takes away what names versions or a random key: before the first statement and after the last, so that the same
 * text in a function's body is left alone. Pure.
 */
export function normalizeSchema(sql: string): string {
  const noise = /^(?:\\(?:un)?restrict .*|-- Dumped (?:from|by) .*|)$/;
  const lines = sql.split("\n");
  const first = lines.findIndex((line) => line.startsWith("SET "));
  const head = lines.slice(0, Math.max(0, first)).filter((line) => !noise.test(line));
  const rest = lines.slice(Math.max(0, first));
  while (rest.length > 0 && noise.test(rest.at(-1) ?? "")) rest.pop();
  return `${[...head, "", ...rest].join("\n")}\n`;
}

/** What a program of PostgreSQL printed before it failed. */
export function printedBy(error: unknown): string {
  return isFailure(error, "program/failed") ? (error.hint ?? "") : "";
}

function isLockTimeout(error: unknown): boolean {
  return /lock timeout/.test(printedBy(error));
}

function dumpFailure(error: unknown, address: ServerAddress): unknown {
  const printed = printedBy(error);
  const denied = /permission denied for ([^\n]*)/.exec(printed)?.[1];
  if (denied !== undefined) {
    return new Failure("database/denied", `'${address.user}' may not read ${denied}, so the schema cannot be saved`, {
      hint: `Use the role that owns the database, or: GRANT USAGE ON SCHEMA … TO "${address.user}"; GRANT SELECT ON ALL TABLES IN SCHEMA … TO "${address.user}".`,
      cause: error,
    });
  }
  if (isLockTimeout(error)) {
    return new Failure("database/changed", "a table stays locked by another session, so the schema cannot be saved", {
      hint: "A migration or a maintenance job holds it: pg_locks and pg_stat_activity name it. Try again when it has ended.",
      cause: error,
    });
  }
  if (/server version mismatch/.test(printed)) {
    return new Failure("program/missing", "pg_dump is older than the server", {
      hint: "Install the client programs of the server's own version: postgresql-client-<version>.",
      cause: error,
    });
  }
  if (/invalid snapshot identifier|snapshot ".*" does not exist/.test(printed)) {
    return new Failure("database/unreachable", "the snapshot of the database is gone: its session has ended", {
      hint: "Did the server restart, or was the session ended? Try again.",
      cause: error,
    });
  }
  return error;
}
