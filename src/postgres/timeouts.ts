/**
 * Timeouts that a server sets for a role, a database or everybody. Each session of ours switches them off first of all; where one is so short
 * that it ends a session before that, the session is begun again with it switched off from the start. That is not done at
 * once, since a pooler lets nobody in who asks for settings so, and a server nobody who names one that it does not know.
 */
import type { Connection } from "./connect.ts";
import { quoteLiteral } from "./names.ts";
import { sqlState } from "./server-errors.ts";

/** Those that every server has. */
const OLD = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] as const;
/** Of PostgreSQL 14 and 17. */
const NEWER = ["idle_session_timeout", "transaction_timeout"] as const;

export const TIMEOUTS: readonly string[] = [...OLD, ...NEWER];

const BY_STATE: Readonly<Record<string, string>> = {
  "57014": "statement_timeout",
  "55P03": "lock_timeout",
  "25P03": "idle_in_transaction_session_timeout",
  "57P05": "idle_session_timeout",
  "25P04": "transaction_timeout",
};

/** The setting that ended a statement or a session. */
export function timeoutBehind(error: unknown): string | undefined {
  return BY_STATE[sqlState(error) ?? ""];
}

/** For `options` at the start of a session, and `$PGOPTIONS`. */
export function withoutTimeouts(names: readonly string[] = OLD): string {
  return names.map((name) => `-c ${name}=0`).join(" ");
}

/** Those that the server knows. */
export async function readTimeouts(connection: Connection): Promise<string[]> {
  const rows = await connection.query<{ name: string }>(
    `select name from pg_catalog.pg_settings where name in (${TIMEOUTS.map(quoteLiteral).join(", ")})`,
  );
  return rows.map(({ name }) => name);
}

/** Those to be switched off when a server says that one ended a session which not every server has: it and all older ones. */
export function namedTimeouts(stderr: string): readonly string[] {
  if (stderr.includes("transaction timeout") && !stderr.includes("idle-in-transaction")) return TIMEOUTS;
  return stderr.includes("idle-session timeout") ? [...OLD, NEWER[0]] : [];
}

/** What PgBouncer answers to whoever asks for settings at the start of a session. */
export function refusesOptions(stderr: string): boolean {
  return stderr.includes("unsupported startup parameter");
}
