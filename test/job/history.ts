/**
 * A random history of a database: after each change, a capture that may take ranges over is compared with one that reads
 * everything. The same seed gives the same history.
 */
import assert from "node:assert/strict";
import { Client } from "pg";
import { type SeededRandom, seededRandom } from "../../src/demo/random.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { assertSameAsFull, type Taken, take } from "./captures.ts";

/** Ids of different thousands of millions lie in different ranges. */
const SPREAD = 1_000_000_000_000n;
const GROUPS = 6;

const SCHEMA = `
  create type mood as enum ('glad', 'sad', 'calm');
  create table notes (id bigint primary key, body text, mood mood, seen_at timestamptz);
  create table pairs (a int, b text, v text, primary key (a, b));
  create table bare (v text);
  create table parts (id int, v text, primary key (id)) partition by range (id);
  create table parts_low partition of parts for values from (0) to (1000);
  create table parts_high partition of parts for values from (1000) to (maxvalue);
  insert into notes select (n % ${GROUPS}) * ${SPREAD} + n, md5(n::text), 'glad', now() from generate_series(1, 600) n;
  insert into pairs select n, (97 * n % 100)::text, md5(n::text) from generate_series(1, 100) n;
  insert into bare select md5(n::text) from generate_series(1, 50) n;
  insert into parts select n * 20, md5(n::text) from generate_series(1, 100) n`;

interface Step {
  random: SeededRandom;
  number: number;
}

function anId({ random }: Step): bigint {
  return BigInt(random.below(GROUPS)) * SPREAD + BigInt(random.below(900));
}

const ONE_OF = (step: Step) => `id = (select min(id) from notes where id >= ${anId(step)})`;
const SOME_ROWS = ({ random, number }: Step, share: number) =>
  `hashint8extended(id, ${number}) % 100 between 0 and ${random.below(share)}`;

/** Each is one message to the server: a transaction of its own, unless it says otherwise. */
const CHANGES: Readonly<Record<string, (step: Step) => string>> = {
  nothing: () => "select 1",
  "a new row": (step) => `insert into notes values (${anId(step)}, 'new', 'sad', now()) on conflict do nothing`,
  "a changed row": (step) => `update notes set body = body || '.' where ${ONE_OF(step)}`,
  "a row written again as it was": (step) => `update notes set body = body where ${ONE_OF(step)}`,
  "a deleted row": (step) => `delete from notes where ${ONE_OF(step)}`,
  "a row in place of another": (step) =>
    `begin; delete from notes where ${ONE_OF(step)}; insert into notes values (${anId(step)}, 'other', 'calm', now()) on conflict do nothing; commit`,
  "many changed rows": (step) => `update notes set mood = 'calm' where ${SOME_ROWS(step, 60)}`,
  "many deleted rows": (step) => `delete from notes where ${SOME_ROWS(step, 30)}`,
  "many new rows": (step) =>
    `insert into notes select ${anId(step)} + n, md5(n::text), 'sad', now() from generate_series(1, 40) n on conflict do nothing`,
  "another key": (step) =>
    `update notes set id = ${anId(step)} where ${ONE_OF(step)} and not exists (select from notes where id = ${anId(step)})`,
  "a rollback": (step) =>
    `begin; update notes set body = 'never' where ${SOME_ROWS(step, 90)}; delete from pairs; rollback`,
  "a savepoint that is kept": (step) =>
    `begin; savepoint a; update notes set body = 'kept' where ${ONE_OF(step)}; release a; commit`,
  "a savepoint that is rolled back": (step) =>
    `begin; savepoint a; delete from notes; rollback to a; update notes set body = 'half' where ${ONE_OF(step)}; commit`,
  "rows without a key": ({ number }) =>
    `delete from bare where v < '3'; insert into bare select md5((n + ${number})::text) from generate_series(1, 5) n`,
  "rows with two keys": ({ random }) => `update pairs set b = b || 'x' where a = ${random.below(100)}`,
  "rows of partitions": ({ random, number }) =>
    `update parts set v = v || '.' where id = 20 * ${random.below(100)}; insert into parts values (${3000 + number}, 'new') on conflict do nothing`,
  "a row that moves to another partition": ({ random, number }) =>
    `update parts set id = ${5000 + number} where id = (select min(id) from parts where id >= ${20 * random.below(49)} and id < 1000)`,
  VACUUM: () => "vacuum notes",
  "VACUUM FREEZE": () => "vacuum freeze",
  "VACUUM FULL": () => "vacuum full notes",
  CLUSTER: () => "cluster notes using notes_pkey",
  TRUNCATE: () =>
    "begin; create temp table kept on commit drop as table bare; truncate bare; insert into bare table kept order by v; commit",
  "a column with a default": ({ number }) => `alter table notes add if not exists extra text default 'value ${number}'`,
  "a column of the same name": ({ number }) =>
    `begin; alter table notes drop if exists extra; alter table notes add extra text default 'again ${number}'; commit`,
  "a column that is no more": () => "alter table notes drop if exists extra",
  "a column of another type": ({ number }) =>
    `alter table notes alter body type ${number % 2 === 0 ? "text" : "varchar"}`,
  "a column of another name": ({ number }) =>
    `alter table pairs rename v to w${number}; alter table pairs rename w${number} to v`,
  "a label that is renamed": ({ number }) =>
    `alter type mood rename value 'sad' to 'sad${number}'; alter type mood add value 'sad'`,
  "labels that change places": () =>
    "begin; alter type mood rename value 'glad' to 'x'; alter type mood rename value 'calm' to 'glad'; alter type mood rename value 'x' to 'calm'; commit",
  "columns of a key in another order": ({ number }) =>
    `begin; alter table pairs drop constraint if exists pairs_pkey; alter table pairs add constraint pairs_pkey primary key (${number % 2 === 0 ? "a, b" : "b, a"}); commit`,
  "no key": () => "alter table pairs drop constraint if exists pairs_pkey",
  "tables that change places": ({ number }) =>
    `begin; create table bare_next (like bare); insert into bare_next select v || '!' from bare; alter table bare rename to old${number};
     alter table bare_next rename to bare; drop table old${number}; commit`,
  "a detached partition": () =>
    "begin; alter table parts detach partition parts_high; alter table parts attach partition parts_high for values from (1000) to (maxvalue); commit",
};

export interface History {
  /** How often each change was made. */
  changes: Map<string, number>;
  rangesReused: number;
  rangesRead: number;
}

/** @throws AssertionError that names the seed and the step, when a capture differs from one that reads everything. */
export async function liveThrough(address: ServerAddress, options: { seed: string; steps: number }): Promise<History> {
  const random = seededRandom(options.seed);
  const history: History = { changes: new Map(), rangesReused: 0, rangesRead: 0 };
  const client = new Client(address);
  await client.connect();
  try {
    await client.query(SCHEMA);
    let parent: Taken | undefined;
    for (let number = 0; number <= options.steps; number += 1) {
      const made: string[] = [];
      for (let more = number > 0; more; more = random.chance(0.4)) {
        const what = random.pick(Object.keys(CHANGES));
        await client.query(CHANGES[what]?.({ random, number }) ?? "");
        made.push(what);
      }
      const taken = await take(address, parent);
      await check(address, taken, parent).catch((cause: unknown) => {
        throw new assert.AssertionError({
          message: `seed ${options.seed}, step ${number}: after ${made.join(", ")}: ${cause instanceof Error ? cause.message : String(cause)}`,
        });
      });
      for (const what of made) history.changes.set(what, (history.changes.get(what) ?? 0) + 1);
      const ranges = taken.capture.tables.reduce((sum, table) => sum + table.ranges.length, 0);
      history.rangesReused += taken.capture.rangesReused;
      history.rangesRead += ranges - taken.capture.rangesReused;
      parent = taken;
    }
  } finally {
    await client.end();
  }
  return history;
}

async function check(address: ServerAddress, taken: Taken, parent: Taken | undefined): Promise<void> {
  assert.deepEqual(
    taken.capture.findings.filter(({ kind }) => kind === "stale-range"),
    [],
  );
  if (parent !== undefined) await assertSameAsFull(address, taken, parent);
}
