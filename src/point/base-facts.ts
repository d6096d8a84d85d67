/** `base.json`: what a recovery must know of a physical base that its files do not say, or not before a server runs. */
import { Failure } from "../base/errors.ts";
import { formatLsn, isLsn, parseLsn } from "../wal/lsn.ts";
import { type Base, formatMicros, parseMicros } from "./continuous.ts";
import { parseRecord } from "./wal-facts.ts";

export interface BaseDatabase {
  readonly name: string;
  readonly oid: number;
  /** `UTF8`. */
  readonly encoding: string;
  /** `c`, `i` or `b`, as `pg_database.datlocprovider`; `c` before PostgreSQL 15. */
  readonly provider: string;
  readonly collate: string | null;
  readonly ctype: string | null;
  /** Of ICU or of the server's own provider. */
  readonly locale: string | null;
  /** What the provider said when the database was made, where it says; other versions may order text in another way. */
  readonly collationVersion: string | null;
  /** Undefined where nobody could look inside. */
  readonly extensions?: readonly { readonly name: string; readonly version: string }[] | undefined;
}

export interface BaseFacts {
  readonly program: string;
  readonly base: Base;
  /** The snapshot of the base whose unchanged pages were taken over; undefined where the server sent everything. */
  readonly builtOn?:
    | {
        readonly id: string;
        /** Bases since one of which the server sent everything; from 1 on. */ readonly count: number;
      }
    | undefined;
  /** The server found pages that their checksums do not fit, and sent them as they are; undefined where it found none, or did not look. */
  readonly hasDamagedPages?: true | undefined;
  /** The text of `backup_label`. */
  readonly backupLabel: string;
  /** The text of `tablespace_map`; null where there are none. */
  readonly tablespaceMap: string | null;
  /** As `SHOW server_version` says it. */
  readonly serverVersion: string;
  /** Settings that a recovery must have at least, and `shared_preload_libraries`, by name as the server has them. */
  readonly settings: Readonly<Record<string, string>>;
  readonly databases: readonly BaseDatabase[];
}

/** Settings that are part of the facts: a server that replays refuses to start with less of the first five. */
export const BASE_SETTINGS = [
  "max_connections",
  "max_worker_processes",
  "max_wal_senders",
  "max_prepared_transactions",
  "max_locks_per_transaction",
  "wal_segment_size",
  "shared_preload_libraries",
  "data_checksums",
  "wal_level",
] as const;

export function formatBaseFacts({ base, ...facts }: BaseFacts): string {
  const { systemId: system, from, to, beganUs, endedUs, ...rest } = base;
  const ended = endedUs === undefined ? {} : { ended: formatMicros(endedUs) };
  const told = { ...rest, system, from: formatLsn(from), to: formatLsn(to), began: formatMicros(beganUs), ...ended };
  return `${JSON.stringify({ schema: 1, base: told, ...facts }, null, 1)}\n`;
}

/** @throws Failure `point/invalid` for what {@link formatBaseFacts} did not write. */
export function parseBaseFacts(text: string): BaseFacts {
  const {
    schema: _schema,
    base,
    ...facts
  } = parseRecord(text, "base.json") as unknown as { schema: 1; base: BaseJson } & Omit<BaseFacts, "base">;
  if (typeof base !== "object" || typeof facts.backupLabel !== "string" || !Array.isArray(facts.databases)) throw odd();
  if (facts.builtOn !== undefined && typeof facts.builtOn.count !== "number") throw odd();
  if (typeof facts.settings !== "object" || typeof facts.serverVersion !== "string") throw odd();
  return { ...facts, base: parseBase(base) };
}

type BaseJson = Omit<Base, "systemId" | "from" | "to" | "beganUs" | "endedUs"> & {
  readonly system: string;
  readonly from: string;
  readonly to: string;
  readonly began: string;
  readonly ended?: string;
};

function parseBase({ system, from, to, began, ended, ...rest }: BaseJson): Base {
  const beganUs = parseMicros(began);
  const endedUs = parseMicros(ended);
  if (!isLsn(from) || !isLsn(to) || beganUs === undefined || typeof system !== "string") throw odd();
  if (typeof rest.major !== "number" || typeof rest.segmentBytes !== "number") throw odd();
  const times = { beganUs, ...(endedUs === undefined ? {} : { endedUs }) };
  return { ...rest, systemId: system, from: parseLsn(from), to: parseLsn(to), ...times };
}

function odd(): Failure {
  return new Failure("point/invalid", "base.json is not as Chatkeep writes it");
}
