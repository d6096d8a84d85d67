/**
 * Where sequences stand. They are not part of a snapshot, so what is read is their state now: at or above what the
 * rows of the snapshot used, which is all that a sequence must be. Only setting one back undoes that (`TRUNCATE … RESTART
 * IDENTITY`, `setval`), so they are read when the snapshot has been taken and again when its rows have.
 */
import { Failure } from "../base/errors.ts";
import { ownedByExtension, USER_SCHEMAS } from "./user-objects.ts";
import type { Connection } from "./connect.ts";
import { qualifiedName, quoteLiteral } from "./names.ts";
import { sqlState, SQLSTATE } from "./server-errors.ts";
import { briefly } from "./table-guard.ts";

export interface SequenceState {
  schema: string;
  name: string;
  /** Decimal: sequences reach 2^63 - 1. */
  lastValue: string;
  /** False: `lastValue` itself comes next. */
  isCalled: boolean;
}

interface SequenceName {
  schema: string;
  name: string;
  [key: string]: unknown;
}

const SEQUENCES = `
  select n.nspname as schema, c.relname as name
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'S' and (c.relpersistence = 'p' or c.relpersistence = 'u' and not pg_catalog.pg_is_in_recovery()) and ${USER_SCHEMAS} and not ${ownedByExtension("pg_class", "c.oid")}
  order by n.nspname collate "C", c.relname collate "C"`;

/** Sequences asked for in one statement: Chatwoot has two for each account. */
const BATCH = 200;

/**
 * All sequences outside the system's schemas, the free-standing ones of Chatwoot's accounts too; takes no lock that lasts.
 * @throws Failure `database/changed` when one was dropped since the snapshot, `database/denied` naming it.
 */
export async function readSequences(connection: Connection): Promise<SequenceState[]> {
  const names = await connection.query<SequenceName>(SEQUENCES);
  const states: SequenceState[] = [];
  for (let at = 0; at < names.length; at += BATCH) {
    const batch = names.slice(at, at + BATCH);
    states.push(...(await briefly(connection, async () => await readBatch(connection, batch))));
  }
  return states;
}

async function readBatch(connection: Connection, batch: readonly SequenceName[]): Promise<SequenceState[]> {
  const parts = batch.map(
    (sequence, index) =>
      `select ${index} as at, last_value::text as last, is_called as called from ${qualifiedName(sequence)}`,
  );
  try {
    const rows = await connection.query<{ at: number; last: string; called: boolean }>(parts.join(" union all "));
    return rows.flatMap(({ at, last, called }) => {
      const name = batch[at];
      return name === undefined ? [] : [{ schema: name.schema, name: name.name, lastValue: last, isCalled: called }];
    });
  } catch (error) {
    throw sequenceFailure(error, connection);
  }
}

interface Direction extends SequenceName {
  isDescending: boolean;
  isCycling: boolean;
}

const DIRECTIONS = `
  select n.nspname as schema, c.relname as name, s.seqincrement < 0 as "isDescending", s.seqcycle as "isCycling"
  from pg_catalog.pg_sequence s join pg_catalog.pg_class c on c.oid = s.seqrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where s.seqincrement < 0 or s.seqcycle`;

/** Of each sequence the state that is further on, so that it is past all that was used in between. */
export async function furthest(
  connection: Connection,
  before: readonly SequenceState[],
  after: readonly SequenceState[],
): Promise<SequenceState[]> {
  const earlier = new Map(before.map((state) => [qualifiedName(state), state]));
  const unusual = new Map(
    (await connection.query<Direction>(DIRECTIONS)).map((known) => [qualifiedName(known), known]),
  );
  return after.map((state) => {
    const was = earlier.get(qualifiedName(state));
    const { isDescending = false, isCycling = false } = unusual.get(qualifiedName(state)) ?? {};
    // One that begins anew is meant to.
    return was !== undefined && !isCycling && isBehind(state, was, isDescending) ? was : state;
  });
}

function isBehind(state: SequenceState, other: SequenceState, isDescending: boolean): boolean {
  const [a, b] = [BigInt(state.lastValue), BigInt(other.lastValue)];
  if (a === b) return other.isCalled && !state.isCalled;
  return isDescending ? a > b : a < b;
}

function sequenceFailure(error: unknown, connection: Connection): unknown {
  const state = sqlState(error);
  const text = error instanceof Error ? error.message : "";
  if (state === SQLSTATE.tableMissing) {
    return new Failure("database/changed", "a sequence was dropped while the database was being saved", {
      hint: "Is a migration running? Try again when it has ended.",
      cause: error,
    });
  }
  if (state !== SQLSTATE.denied) return error;
  const role = connection.address.user;
  return new Failure("database/denied", `'${role}' may not read a sequence: ${text}`, {
    hint: `Run as the owner: GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO "${role}".`,
    cause: error,
  });
}

/** SQL that sets every sequence to where it stood. */
export function formatSetvals(sequences: readonly SequenceState[]): string {
  const lines = sequences.map((sequence) => {
    const name = quoteLiteral(qualifiedName(sequence));
    return `SELECT pg_catalog.setval(${name}, ${sequence.lastValue}, ${sequence.isCalled});`;
  });
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}
