/** What one changed row in the middle of an old range costs: one chunk, however large the range and the table are. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ChunkId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import type { TableEntry } from "../../src/point/manifest.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { assertSameAsFull, chunkBytes, take, type Taken } from "./captures.ts";

/** What every range may be longer than planned, since its rows are not all of one length. */
const SPARE = 1.5;
let server: TestServer;
let address: TestAddress;
let taken: Taken;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("rows");
  await run(
    `create table messages (id bigserial primary key, content text, content_attributes json, created_at timestamp);
     insert into messages (content, content_attributes, created_at)
       select repeat(md5(n::text), 1 + n % 15), '{"a": 1}', '2026-01-01'::timestamp + n * interval '1 s'
       from generate_series(1, 80000) n`,
  );
  taken = await take(address);
});
after(async () => {
  await server.stop();
});

async function run(sql: string): Promise<void> {
  await server.query(sql, "rows");
}

function chunksOf({ capture }: Taken): ChunkId[][] {
  return capture.tables.flatMap(({ ranges }) => ranges.map(({ chunks }) => chunks));
}

/** The bytes of each chunk that a capture adds to the one before; ranges whose turn it is add none. */
async function addedBy(sql: string): Promise<number[]> {
  const known = new Set(chunksOf(taken).flat());
  await run(sql);
  const now = await take(address, taken);
  assert.equal(now.capture.tables[0]?.ranges.length, taken.capture.tables[0]?.ranges.length);
  taken = now;
  return chunksOf(now)
    .flat()
    .filter((id) => !known.has(id))
    .map((id) => chunkBytes.get(id) ?? Number.NaN);
}

test("the table has ranges of many chunks", () => {
  const chunks = chunksOf(taken);
  assert.ok(chunks.length > 1, `${chunks.length} ranges`);
  assert.ok((chunks[0]?.length ?? 0) > 15, `${chunks[0]?.length} chunks`);
});

const CHANGES: Readonly<Record<string, string>> = {
  "a row that is changed": "update messages set content = 'edited' where id = 5000",
  "a row that is changed twice, and another beside it":
    "update messages set content = '1' where id = 5000; update messages set content = '2' where id in (5000, 5001)",
  "a row that is deleted": "delete from messages where id = 5002",
  "a row that comes where one was deleted": "insert into messages (id, content) values (5002, 'again')",
};

for (const [what, sql] of Object.entries(CHANGES)) {
  test(`${what} in the middle of an old range adds one chunk`, async () => {
    const [bytes = Number.NaN, ...more] = await addedBy(sql);
    assert.deepEqual(more, []);
    assert.ok(bytes <= SPARE * LIMITS.rangeChunkBytes, `${bytes} bytes`);
  });
}

test("a text that grows adds its chunk, with what it grew by, and moves no other", async () => {
  const growth = 200_000;
  const [bytes = Number.NaN, ...more] = await addedBy(
    `update messages set content = repeat('x', ${growth}) where id = 5003`,
  );
  assert.deepEqual(more, []);
  assert.ok(bytes > growth && bytes <= growth + SPARE * LIMITS.rangeChunkBytes, `${bytes} bytes`);
});

test("nothing that changed adds nothing, and after all of it every row is as one that was read", async () => {
  assert.deepEqual(await addedBy("vacuum freeze messages"), []);
  await assertSameAsFull(address, taken, taken);
});

function entryOf({ manifest }: Taken): TableEntry {
  const [entry] = manifest.tables;
  assert.ok(entry);
  return entry;
}

test("a table whose ranges came to be far too large is cut anew when all is read, and the next point takes over again", async () => {
  const { k, ranges } = entryOf(taken);
  assert.ok(k !== null && ranges > 1);
  // As if rows had been short once: all of them in one range.
  const large = { ...entryOf(taken), k: 40, j: 36, ranges: 1, bytes: 5 * LIMITS.rangeTargetBytes };
  const parent = { ...taken, manifest: { ...taken.manifest, tables: [large] } };
  const usual = entryOf(await take(address, parent));
  assert.deepEqual([usual.k, usual.ranges], [40, 1], "ranges stay where they are");
  const lacking = { ...large, unreadable: [{ from: "1", to: "2", why: "a page is damaged" }] };
  const held = { ...parent, manifest: { ...parent.manifest, tables: [lacking] } };
  assert.equal(
    entryOf(await take(address, held as Taken, { full: true })).k,
    40,
    "rows hang on the range that they lie in",
  );
  const anew = await take(address, parent, { full: true });
  assert.deepEqual([entryOf(anew).k, entryOf(anew).ranges], [k, ranges]);
  const next = await take(address, anew);
  assert.ok(next.capture.rangesReused > 0);
  await assertSameAsFull(address, next, anew);
});
