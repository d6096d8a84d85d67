/**
 * What a database does besides adding rows, for an account that is kept outside of it: each is told by the number of its commit alone,
 * so that a copy can be asked whether it has just that. Transactions of two phases, subtransactions that are kept and lost, rows that
 * are stored out of line, rows that come and go, tables that are emptied, rewritten, made and dropped, and a sequence.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import type { SeededRandom } from "../../src/demo/random.ts";
import type { TestAddress } from "./postgres.ts";

/** What the server must be told for it. */
export const VARIED_SETTINGS = ["max_prepared_transactions=10"];

/** A table that keeps so many of the newest rows. */
const MOVING = 20;
/** So many numbers further, the same happens again. */
const CYCLE = 50;
/** PostgreSQL logs a sequence so far ahead. */
const LOGGED_AHEAD = 32;
const HALVES = 10;

const isLarge = (n: number) => n % 10 === 3;
const isInSubtransaction = (n: number) => n % 3 === 1;
const isRefill = (n: number) => n % CYCLE === 10;
const isRewrite = (n: number) => n % CYCLE === 25;
const isMaking = (n: number) => n % CYCLE === 40;

/** True where a commit is one of two phases. */
export function isPrepared(n: number): boolean {
  return n % 10 === 7;
}

/** The last number up to this one that is so; 0: none. */
function lastOf(last: number, is: (n: number) => boolean): number {
  for (let n = last; n > Math.max(0, last - CYCLE); n -= 1) if (is(n)) return n;
  return 0;
}

/** 32 KB that nothing makes smaller. */
const LARGE = "(select string_agg(md5(n::text || '/' || g), '') from generate_series(1, 1000) g)";

/** How wide the rewritten column is, which every rewrite changes. */
function weightAt(last: number): string {
  return Math.floor((last + CYCLE / 2) / CYCLE) % 2 === 1 ? "bigint" : "integer";
}

export async function makeVaried(client: Client): Promise<void> {
  await client.query(`
    create table account_large (n bigint primary key, body text not null);
    alter table account_large alter column body set storage external;
    create sequence account_numbers;
    create table account_moving (n bigint primary key, weight integer not null default 1,
      ticket bigint not null default nextval('account_numbers'));
    create table account_refilled (n bigint primary key);
    create table account_balance (id int primary key, amount bigint not null);
    insert into account_balance select id, 0 from generate_series(1, ${HALVES}) id;
    create table account_burst (body text)`);
}

/** What a commit does besides, within its transaction. */
export async function vary(client: Client, n: number): Promise<void> {
  const statements = [
    `insert into account_moving (n) values (${n})`,
    `delete from account_moving where n <= ${n - MOVING}`,
  ];
  if (isInSubtransaction(n)) {
    statements.unshift("savepoint kept");
    statements.push(
      "release savepoint kept",
      "savepoint lost",
      `delete from account_one where n > ${n - 5}`,
      "update account_moving set weight = -1",
      `insert into account_third values (${-n}, 'lost')`,
      "rollback to savepoint lost",
    );
  }
  if (isLarge(n)) statements.push(`insert into account_large select n, ${LARGE} from (values (${n})) as one (n)`);
  if (isRefill(n)) {
    statements.push("truncate account_refilled", `insert into account_refilled select generate_series(${n - 9}, ${n})`);
  }
  if (isRewrite(n)) statements.push(`alter table account_moving alter column weight type ${weightAt(n)}`);
  if (isMaking(n)) {
    if (n > CYCLE) statements.push(`drop table account_made_${n - CYCLE}`);
    statements.push(`create table account_made_${n} as select generate_series(1, ${n}) as n`);
  }
  await client.query(statements.join("; "));
}

type Row = Record<string, unknown>;

/** Asserts that a copy which has so many of the commits has what they did, and nothing of the one that would be next. */
export async function assertVaried(client: Client, last: number): Promise<void> {
  const one = async (sql: string): Promise<Row> => (await client.query<Row>(sql)).rows[0] ?? {};
  const numbers = Array.from({ length: last }, (_, index) => index + 1);
  assert.deepEqual(
    await one(`select count(*)::int as rows, coalesce(sum(n), 0)::int as sum from account_large where body = ${LARGE}`),
    { rows: numbers.filter(isLarge).length, sum: numbers.filter(isLarge).reduce((sum, n) => sum + n, 0) },
    "large rows",
  );
  const moving = numbers.slice(-MOVING);
  assert.deepEqual(
    (await client.query<Row>("select n::int, weight::int, ticket::int from account_moving order by n")).rows,
    moving.map((n) => ({ n, weight: 1, ticket: n })),
    "rows that come and go",
  );
  const { type } = await one(
    `select format_type(atttypid, atttypmod) as type from pg_attribute
     where attrelid = 'account_moving'::regclass and attname = 'weight'`,
  );
  assert.equal(type, weightAt(last), "a table that is rewritten");
  const refilled = lastOf(last, isRefill);
  assert.deepEqual(
    await one("select count(*)::int as rows, coalesce(min(n), 0)::int as least from account_refilled"),
    refilled === 0 ? { rows: 0, least: 0 } : { rows: 10, least: refilled - 9 },
    "a table that is emptied",
  );
  const made = lastOf(last, isMaking);
  const { tables } = await one(
    "select coalesce(string_agg(relname, ' '), '') as tables from pg_class where relname like 'account_made_%'",
  );
  assert.equal(tables, made === 0 ? "" : `account_made_${made}`, "tables that are made and dropped");
  if (made > 0) {
    assert.deepEqual(await one(`select count(*)::int as rows from account_made_${made}`), { rows: made });
  }
  const { next } = await one("select last_value::int + is_called::int as next from account_numbers");
  const ahead = Number(next) - last;
  assert.ok(ahead >= 1 && ahead <= LOGGED_AHEAD + 2, `the sequence goes on ${ahead} behind the last number`);
  assert.deepEqual(
    await one("select count(*)::int as rows, sum(amount)::int as sum from account_balance"),
    { rows: HALVES, sum: 0 },
    "what is taken from one is given to another",
  );
}

export interface Others extends AsyncDisposable {
  stop(): Promise<void>;
}

export interface OthersOptions {
  random: SeededRandom;
  /** True: some megabytes of the log every now and then. */
  isHeavy: boolean;
}

/**
 * Another client, whose transactions lie between those of the account: amounts go from one row to another, some of it is
 * rolled back, and some transactions stay open for a while.
 */
export async function startOthers(address: TestAddress, { random, isHeavy }: OthersOptions): Promise<Others> {
  const client = new Client(address);
  client.on("error", () => {});
  await client.connect();
  const over = new AbortController();
  const once = async () => {
    const [from, to, amount] = [1 + random.below(HALVES), 1 + random.below(HALVES), random.below(1000)];
    await client.query("begin");
    await client.query(`update account_balance set amount = amount - ${amount} where id = ${from}`);
    if (random.below(20) === 0) await sleep(random.below(1_500));
    await client.query(`update account_balance set amount = amount + ${amount} where id = ${to}`);
    await client.query(random.below(3) === 0 ? "rollback" : "commit");
    if (!isHeavy || random.below(8) > 0) return;
    const rows = 2_000 + random.below(10_000);
    await client.query(`insert into account_burst select repeat(md5(g::text), 30) from generate_series(1, ${rows}) g`);
    if (random.below(2) === 0) await client.query("truncate account_burst");
  };
  const writing = (async () => {
    while (!over.signal.aborted) {
      await once();
      await sleep(random.below(60));
    }
  })();
  // The server is killed under it.
  writing.catch(() => {});
  const stop = async () => {
    over.abort();
    await writing.catch(() => {});
    await client.end().catch(() => {});
  };
  return { stop, [Symbol.asyncDispose]: stop };
}
