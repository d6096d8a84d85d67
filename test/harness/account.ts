/**
 * An independent account of what a database acknowledged: one client that commits numbered rows into three tables, and keeps outside
 * of it when each commit was asked for and when it was acknowledged. So it can be said of any copy of the database what must
 * be in it, what must not, and that nothing is half.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { type Lsn, parseLsn } from "../../src/wal/lsn.ts";
import { assertVaried, isPrepared, makeVaried, vary } from "./account-varied.ts";
import type { TestAddress } from "./postgres.ts";

/** Milliseconds since 1970, by this machine's clock, which is the server's too. */
export interface Entry {
  readonly askedMs: number;
  /** Undefined where no answer came. */
  readonly acknowledgedMs: number | undefined;
  /** The log's end before the commit was asked for: what lies before it has every earlier commit, and not this one. */
  readonly lsn: Lsn | undefined;
}

export interface Account extends AsyncDisposable {
  /** By number, from 1 on. */
  readonly entries: readonly Entry[];
  /** No more is written; what is under way is answered, or fails. */
  stop(): Promise<void>;
}

export interface AccountOptions {
  /** Between two commits. */
  pauseMs?: number;
  /** True: it connects again when it was cut, asks what became of the commit that had no answer, and goes on. */
  isPersistent?: boolean;
  /** True: commits do what else databases do, too; not with one that is persistent. The server has `VARIED_SETTINGS`. */
  isVaried?: boolean;
}

interface Asked {
  askedMs: number;
  lsn: Lsn | undefined;
}

export const TABLES = ["account_one", "account_other", "account_third"] as const;
const RECONNECT_MS = 100;
const CUT = Symbol("cut");

async function open(address: TestAddress): Promise<Client> {
  const client = new Client(address);
  client.on("error", () => {});
  await client.connect();
  await client.query("set synchronous_commit = on");
  return client;
}

/** Undefined where the server or the way to it is gone; anything else is no part of a test. */
async function orCut<T>(act: () => Promise<T>): Promise<T | typeof CUT> {
  try {
    return await act();
  } catch (error) {
    const { code = "" } = error as { code?: string };
    // A row that a session which was cut committed all the same is looked for like one that was not answered.
    // EPIPE looks like a state of SQL, none of which begins so.
    if (/^[0-9A-DF-Z][0-9A-Z]{4}$/.test(code) && !/^(08|57P|23505)/.test(code)) throw error;
    return CUT;
  }
}

export async function startAccount(
  address: TestAddress,
  { pauseMs = 5, isPersistent = false, isVaried = false }: AccountOptions = {},
): Promise<Account> {
  let client = await open(address);
  if (isVaried) await makeVaried(client);
  for (const table of TABLES) await client.query(`create table ${table} (n bigint primary key, body text not null)`);
  const entries: Entry[] = [];
  const unanswered = (entry: Asked) => void entries.push({ ...entry, acknowledgedMs: undefined });
  const answered = (entry: Asked) => void entries.push({ ...entry, acknowledgedMs: Date.now() });
  const over = new AbortController();
  const commit = async (entry: Asked) => {
    const n = entries.length + 1;
    await client.query("begin");
    for (const table of TABLES) {
      await client.query(`insert into ${table} (n, body) values ($1::bigint, repeat(md5($1::bigint::text), 8))`, [n]);
    }
    if (isVaried) await vary(client, n);
    const isOfTwo = isVaried && isPrepared(n);
    if (isOfTwo) await client.query(`prepare transaction 'account ${n}'`);
    const { rows } = await client.query<{ lsn: string }>("select pg_current_wal_insert_lsn()::text as lsn");
    entry.lsn = parseLsn(rows[0]?.lsn ?? "");
    entry.askedMs = Date.now();
    await client.query(isOfTwo ? `commit prepared 'account ${n}'` : "commit");
  };
  const writing = (async () => {
    while (!over.signal.aborted) {
      const entry: Asked = { askedMs: Date.now(), lsn: undefined };
      const done = await orCut(async () => await commit(entry));
      if (done === CUT) {
        const again = isPersistent ? await reconnect(address, over.signal) : undefined;
        if (again === undefined) {
          unanswered(entry);
          break;
        }
        await client.end().catch(() => {});
        client = again.client;
        if (again.last > entries.length) answered(entry);
      } else answered(entry);
      await sleep(pauseMs);
    }
  })();
  writing.catch(() => {});
  const stop = async () => {
    over.abort();
    await writing;
    await client.end().catch(() => {});
  };
  return { entries, stop, [Symbol.asyncDispose]: stop };
}

/** Until the server is there again; undefined where the account is closed before. */
async function reconnect(
  address: TestAddress,
  signal: AbortSignal,
): Promise<{ client: Client; last: number } | undefined> {
  while (!signal.aborted) {
    const found = await orCut(async () => {
      const client = await open(address);
      const { rows } = await client.query<{ last: number }>(
        `select coalesce(max(n), 0)::int as last from ${TABLES[0]}`,
      );
      return { client, last: rows[0]?.last ?? 0 };
    });
    if (found !== CUT) return found;
    await sleep(RECONNECT_MS);
  }
  return undefined;
}

/** The numbers that a copy of the database has: all tables have the same, and none is left out before the last. */
export async function lastIn(address: TestAddress): Promise<number> {
  const client = new Client(address);
  await client.connect();
  try {
    const counts: { rows: number; whole: number; last: number }[] = [];
    for (const table of TABLES) {
      const { rows } = await client.query<{ rows: number; whole: number; last: number }>(
        `select count(*)::int as rows, (count(*) filter (where body = repeat(md5(n::text), 8)))::int as whole,
                coalesce(max(n), 0)::int as last from ${table}`,
      );
      counts.push(...rows);
    }
    const [one] = counts;
    assert.ok(one !== undefined);
    for (const other of counts) assert.deepEqual(one, other, "nothing is half");
    assert.deepEqual([one.rows, one.whole], [one.last, one.last], "nothing is left out, and nothing else is there");
    const { rows } = await client.query<{ is: boolean }>("select to_regclass('account_moving') is not null as is");
    if (rows[0]?.is === true) await assertVaried(client, one.last);
    return one.last;
  } finally {
    await client.end();
  }
}

/** Asserts that a copy that was had as of a moment has exactly what was committed then, as far as an account can tell. */
export function assertAsOf(entries: readonly Entry[], last: number, moment: { atMs: number; what: string }): void {
  const { atMs, what } = moment;
  const must = entries.filter(({ acknowledgedMs }) => acknowledgedMs !== undefined && acknowledgedMs < atMs).length;
  const may = entries.filter(({ askedMs }) => askedMs <= atMs).length;
  assert.ok(last >= must, `${what}: ${last} commits are there, and ${must} were acknowledged before`);
  assert.ok(last <= may, `${what}: ${last} commits are there, and only ${may} had been asked for`);
}

/** Asserts that a copy that was had up to an entry's position has every commit before it, and no other. @param at The entry's index. */
export function assertBefore(last: number, at: number, what: string): void {
  assert.equal(last, at, `${what}: ${last} commits are there, and ${at} were made before`);
}
