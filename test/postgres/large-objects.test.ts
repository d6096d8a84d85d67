import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { largeObjectFindings } from "../../src/postgres/large-objects.ts";
import { loadLargeObjects } from "../../src/postgres/load-large-objects.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { idOf, type SavedObjects, saveObjects, toObjects } from "./saved.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("objects");
  await server.query("create role plain login");
  await run(
    `select lo_from_bytea(i, convert_to(repeat(md5(i::text), i % 50), 'UTF8')) from generate_series(20000, 20400) i;
     select lo_from_bytea(3000000000, string_agg(sha256(i::text::bytea), '' order by i)) from generate_series(1, 100000) i;
     select lo_from_bytea(4294967295, ''); comment on large object 20007 is 'it''s one'`,
  );
});
after(async () => await server.stop());

const run = async (sql: string, database = "objects") => await server.query(sql, database);

async function read(from: ServerAddress, earlier?: { k: number | null }): Promise<SavedObjects> {
  // What comes and goes after the snapshot was taken is none of it.
  const meanwhile = async () =>
    void (await run("select lo_unlink(20001); select lo_from_bytea(20500, 'late')", from.database).catch(() => {}));
  return await saveObjects(from, { earlier, meanwhile, signal });
}

async function load(target: ServerAddress, saved: SavedObjects): Promise<void> {
  await loadLargeObjects(target, toObjects(saved), { progress: silent, signal });
}

const CONTENT = `select oid::text as oid, md5(lo_get(oid)) as md5, obj_description(oid, 'pg_largeobject') as said
  from pg_largeobject_metadata order by oid`;

test("they come back to the bit as a snapshot saw them, in a database of a role that is no superuser", async () => {
  const before = await run(CONTENT);
  const saved = await read(address);
  assert.equal(saved.plan.objects, 403);
  assert.ok(saved.ranges.length > 1, "the large one has a range apart from the many small ones");
  const target = { ...(await server.createDatabase("objects_back", "plain")), user: "plain" };
  await load(target, saved);
  assert.deepEqual(await run(CONTENT, "objects_back"), before);
  const back = await read(target, saved.plan);
  assert.deepEqual(
    back.ranges.map(({ bucket, rows, sha256 }) => ({ bucket, rows, sha256 })),
    saved.ranges.map(({ bucket, rows, sha256 }) => ({ bucket, rows, sha256 })),
  );
});

test("a changed part of a large one changes two chunks at most, and no other range", async () => {
  const first = await read(address);
  await run("select lo_put(3000000000, 2000000, 'changed')");
  const second = await read(address, first.plan);
  const known = new Set(first.ranges.flatMap(({ chunks }) => chunks.map(idOf)));
  const fresh = second.ranges.flatMap(({ chunks }) => chunks.filter((chunk) => !known.has(idOf(chunk))));
  assert.ok(fresh.length >= 1 && fresh.length <= 2, `${fresh.length} chunks are new`);
  const changed = second.ranges.filter(({ sha256 }, at) => sha256 !== first.ranges[at]?.sha256);
  assert.equal(changed.length, 1);
});

test("those that a role may not read are named, and it reads the others", async () => {
  await run("grant select on large object 20007 to plain; grant select on large object 20008 to public");
  const plain = { ...address, user: "plain" };
  const { plan, ranges } = await read(plain);
  assert.equal(plan.objects, 2);
  assert.equal(
    ranges.reduce((sum, { rows }) => sum + rows, 0),
    2,
  );
  await using connection = await connect(plain, { signal });
  const [finding, ...others] = await largeObjectFindings(connection);
  assert.deepEqual(others, []);
  assert.equal(finding?.level, "alarm");
  assert.match(finding?.message ?? "", /^'plain' may not read 401 large objects, which are not saved: 20000, 20002, /);
  await using owner = await connect(address, { signal });
  assert.deepEqual(await largeObjectFindings(owner), []);
});

function saying(text: string, rows: number) {
  const read = async function* () {
    yield Buffer.from(text);
  };
  return { ranges: [{ bucket: "0", rows, read }], commentsSql: "" };
}

test("text that is none, or has a part too few, is refused", async () => {
  const target = await server.createDatabase("refused");
  const options = { progress: silent, signal };
  for (const [text, rows] of [
    ["1\t0\t00'); drop", 1],
    ["1\t0\t00\n", 2],
    ["1\t0\t0", 1],
  ] as const) {
    await assert.rejects(
      loadLargeObjects(target, saying(text, rows), options),
      (e) => isFailure(e, "point/invalid"),
      text,
    );
  }
});
