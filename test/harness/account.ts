/**
 * An independent account of what a database acknowledged: one client that commits numbered rows into two tables, and keeps outside
 * of it when each commit was asked for and when it was acknowledged. So it can be said of any copy of the database what must
 * be in it, what must not, and that nothing is half.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import type { TestAddress } from "./postgres.ts";

/** Milliseconds since 1970, by this machine's clock, which is the server's too. */
export interface Entry {
  readonly askedMs: number;
  /** Undefined where no answer came. */
  readonly acknowledgedMs: number | undefined;
}

export interface Account extends AsyncDisposable {
  /** By number, from 1 on. */
  readonly entries: readonly Entry[];
  /** No more is written; what is under way is answered, or fails. */
  stop(): Promise<void>;
}

const TABLES = ["account_one", "account_other"] as const;

/** @param pauseMs between two commits. */
export async function startAccount(address: TestAddress, { pauseMs = 5 } = {}): Promise<Account> {
  const client = new Client(address);
  client.on("error", () => {});
  await client.connect();
  for (const table of TABLES) await client.query(`create table ${table} (n bigint primary key, body text not null)`);
  await client.query("set synchronous_commit = on");
  const entries: Entry[] = [];
  const over = new AbortController();
  const writing = (async () => {
    while (!over.signal.aborted) {
      const n = entries.length + 1;
      let askedMs = Date.now();
      try {
        await client.query("begin");
        for (const table of TABLES) {
          await client.query(`insert into ${table} (n, body) values ($1::bigint, repeat(md5($1::bigint::text), 8))`, [
            n,
          ]);
        }
        askedMs = Date.now();
        await client.query("commit");
        entries.push({ askedMs, acknowledgedMs: Date.now() });
      } catch (error) {
        // The server or the way to it is gone; anything else is no part of a test.
        const { code = "" } = error as { code?: string };
        if (/^[0-9A-Z]{5}$/.test(code) && !/^(08|57P)/.test(code)) throw error;
        entries.push({ askedMs, acknowledgedMs: undefined });
        return;
      }
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

/** The numbers that a copy of the database has: both tables have the same, and none is left out before the last. */
export async function lastIn(address: TestAddress): Promise<number> {
  const client = new Client(address);
  await client.connect();
  try {
    const counts: { rows: number; last: number }[] = [];
    for (const table of TABLES) {
      const { rows } = await client.query<{ rows: number; last: number }>(
        `select count(*)::int as rows, coalesce(max(n), 0)::int as last from ${table} where body = repeat(md5(n::text), 8)`,
      );
      counts.push(...rows);
    }
    const [one, other] = counts;
    assert.ok(one !== undefined && other !== undefined);
    assert.deepEqual(one, other, "nothing is half");
    assert.equal(one.rows, one.last, "nothing is left out");
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
