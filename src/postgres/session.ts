/**
 * The settings of every session of ours. Those that shape text are part of what a range's bytes mean: pg_dump's,
 * and a few that it leaves to chance (time zone, money).
 */

import { TIMEOUTS } from "./timeouts.ts";

/** Settings that decide how values look as text; a change of this list changes ranges. */
export const TEXT_SETTINGS = [
  ["DateStyle", "ISO, MDY"],
  ["IntervalStyle", "postgres"],
  ["TimeZone", "UTC"],
  ["bytea_output", "hex"],
  ["extra_float_digits", "3"],
  // Dollars and cents for `money` whatever the server's language: read and written the same everywhere.
  ["lc_monetary", "C"],
  ["standard_conforming_strings", "on"],
  ["xmloption", "content"],
] as const;

const CONDUCT_SETTINGS = [
  ...TIMEOUTS.map((name) => [name, "0"] as const),
  // A policy that hides rows must be an error, not a smaller backup.
  ["row_security", "off"],
  // Rows come in the order of the statement, not where another scan happens to be.
  ["synchronize_seqscans", "off"],
  ["max_parallel_workers_per_gather", "0"],
  ["jit", "off"],
  // Messages are read for what went wrong.
  ["lc_messages", "C"],
] as const;

/** Only a superuser may set these, and they only help. */
const OPTIONAL = new Set(["lc_messages"]);

/** Statements that set everything the server knows of, and the session's own mark. */
export function sessionStatement(mark: string): string {
  const rows = [...TEXT_SETTINGS, ...CONDUCT_SETTINGS]
    .filter(([name]) => !OPTIONAL.has(name))
    .map(([name, value]) => `('${name}', '${value}')`)
    .join(", ");
  const optional = [...TEXT_SETTINGS, ...CONDUCT_SETTINGS]
    .filter(([name]) => OPTIONAL.has(name))
    .map(([name, value]) => `('${name}', '${value}')`)
    .join(", ");
  // The last but one: a server that notices a lost client stops a long scan when we are gone; not every system can.
  return `
    select pg_catalog.set_config(s.name, v.value, false)
    from (values ${rows}) v(name, value) join pg_catalog.pg_settings s on lower(s.name) = lower(v.name);
    select pg_catalog.set_config(s.name, v.value, false)
    from (values ${optional}) v(name, value) join pg_catalog.pg_settings s on lower(s.name) = lower(v.name)
    where (select rolsuper from pg_catalog.pg_roles where rolname = current_user);
    select pg_catalog.set_config(s.name, '10s', false)
    from pg_catalog.pg_settings s
    where s.name = 'client_connection_check_interval' and pg_catalog.version() like '%linux%';
    select pg_catalog.set_config('client_encoding', case e when 'SQL_ASCII' then e else 'UTF8' end, false)
    from pg_catalog.current_setting('server_encoding') e;
    select pg_catalog.set_config('chatkeep.session', '${mark}', false)`;
}
