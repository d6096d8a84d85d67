import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { readTables } from "../../src/postgres/catalogue.ts";
import { type EarlierCut, isOutgrown, planTable, type TablePlan } from "../../src/postgres/range-plan.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("plans");
});
after(async () => {
  await server.stop();
});

const run = async (sql: string) => await server.query(sql, "plans");

async function plan(table: string, earlier?: EarlierCut): Promise<TablePlan> {
  await using snapshot = await openSnapshot(address, { signal });
  const { tables } = await readTables(snapshot.connection);
  const facts = tables.find((one) => one.name === table);
  assert(facts !== undefined);
  return await planTable(snapshot.connection, facts, earlier);
}

/** Rows of the table that lie in each range, and in none. */
async function coverage(table: string, { ranges }: TablePlan): Promise<{ each: number[]; outside: number }> {
  const inside = ranges.map(({ from, to }) => `id >= ${from}::numeric and id < ${to}::numeric`);
  const [row] = await run(
    `select array[${inside.map((c) => `(select count(*)::int from ${table} where ${c})`).join(", ")}] as each,
       (select count(*)::int from ${table} where not (${inside.join(" or ")})) as outside`,
  );
  return row as { each: number[]; outside: number };
}

test("ids at both ends of 64 bits with gaps of 2^62 make a range each, and only buckets with rows are listed", async () => {
  await run(
    `create table ends (id bigint primary key);
     insert into ends values (-9223372036854775808), (-4611686018427387904), (-1), (0), (4611686018427387904), (9223372036854775807)`,
  );
  for (const k of [0, 1, 20, 61, 62, 63]) {
    const found = await plan("ends", { k, j: k });
    const { each, outside } = await coverage("ends", found);
    assert.equal(outside, 0, `k = ${k}`);
    assert(
      each.every((rows) => rows > 0),
      `k = ${k}: a range without rows`,
    );
    assert.equal(
      each.reduce((sum, rows) => sum + rows, 0),
      6,
      `k = ${k}: a row in two ranges`,
    );
  }
  const fine = await plan("ends", { k: 0, j: 0 });
  assert.deepEqual(
    fine.ranges.map((range) => range.bucket),
    ["-9223372036854775808", "-4611686018427387904", "-1", "0", "4611686018427387904", "9223372036854775807"],
  );
});

test("dense ids are cut into ranges of about the wanted size", async () => {
  await run(
    `create table dense (v text, id serial primary key);
     insert into dense (v) select repeat(md5(i::text), 60) from generate_series(1, 30000) i`,
  );
  const found = await plan("dense");
  const { each, outside } = await coverage("dense", found);
  assert.equal(outside, 0);
  assert.equal(
    each.reduce((sum, rows) => sum + rows, 0),
    30_000,
  );
  const bytes = Math.max(...each) * 1930;
  assert(bytes > LIMITS.rangeTargetBytes / 4 && bytes <= LIMITS.rangeTargetBytes * 1.1, `${bytes} bytes in a range`);
  assert.deepEqual(found.columns, ["id", "v"], "the key comes first");
});

test("ids that are spread over 64 bits do not make a range of each row", async () => {
  await run(
    `create table spread (id bigint primary key);
     insert into spread select (('x' || substr(md5(i::text), 1, 16))::bit(64)::bigint) from generate_series(1, 5000) i`,
  );
  const found = await plan("spread");
  assert(found.ranges.length <= 16, `${found.ranges.length} ranges`);
  assert.equal((await coverage("spread", found)).outside, 0);
});

test("an earlier cut is kept, unless it would make too many ranges", async () => {
  const kept = await plan("dense", { k: 3, j: 1 });
  assert.deepEqual([kept.k, kept.j, kept.ranges.length], [3, 1, 3751]);
  await run("create table grown (id int primary key); insert into grown select i from generate_series(1, 70000) i");
  const again = await plan("grown", { k: 0, j: 0 });
  assert((again.k ?? 0) > 0);
  assert.equal((await coverage("grown", again)).outside, 0);
});

test("ranges that came to be far too large are cut anew where nothing hangs on them, and never made larger by that", async () => {
  const { k, j } = await plan("dense");
  const outgrown = await plan("dense", { k: 40, j: 36, isOutgrown: true });
  assert.deepEqual([outgrown.k, outgrown.j], [k, j]);
  assert.equal((await coverage("dense", outgrown)).outside, 0);
  const kept = await plan("dense", { k: 40, j: 36 });
  assert.deepEqual([kept.k, kept.ranges.length], [40, 1]);
  const finer = await plan("dense", { k: 3, j: 1, isOutgrown: true });
  assert.deepEqual([finer.k, finer.j], [3, 1]);
  const far = 4 * LIMITS.rangeTargetBytes;
  assert.deepEqual(
    [
      { bytes: 3 * far, ranges: 3 },
      { bytes: 3 * far + 1, ranges: 3 },
      { bytes: 0, ranges: 0 },
    ].map(isOutgrown),
    [false, true, false],
  );
});

test("tables without rows have no ranges and keep their cut; other keys make one range", async () => {
  await run(
    `create table hollow (id int primary key); create table bare (v text); create table texts (k text primary key);
     create table filled (v text); insert into filled values ('x')`,
  );
  assert.deepEqual((await plan("hollow", { k: 12, j: 8 })).ranges, []);
  assert.equal((await plan("hollow", { k: 12, j: 8 })).k, 12);
  assert.deepEqual((await plan("bare")).ranges, []);
  assert.deepEqual((await plan("texts")).ranges, []);
  assert.deepEqual((await plan("filled", { k: 3, j: 3 })).ranges, [{ bucket: "all" }]);
});

test("planning in a snapshot leaves no lock behind, and notices a table that was emptied", async () => {
  await run("create table watched (id int primary key); insert into watched select generate_series(1, 10)");
  await using snapshot = await openSnapshot(address, { signal });
  const { tables } = await readTables(snapshot.connection);
  const facts = tables.find((one) => one.name === "watched");
  assert(facts !== undefined);
  assert.equal((await planTable(snapshot.connection, facts)).ranges.length, 1);
  // It would wait for ever if the snapshot's session still held a lock.
  await run("begin; lock table watched in access exclusive mode nowait; commit");
  await run("truncate watched");
  await assert.rejects(planTable(snapshot.connection, facts), (error) => isFailure(error, "database/changed"));
  // The session survived it.
  const other = tables.find((one) => one.name === "dense");
  assert(other !== undefined);
  assert((await planTable(snapshot.connection, other)).ranges.length > 1);
});
