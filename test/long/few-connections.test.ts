/** A server that has three connections for us, as small plans of providers do: a backup does one thing after the other. Restores with three are in managed-role.test.ts. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { PointReader } from "../../src/job/point-reader.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { savedPoints } from "../scenario/saved-point.ts";

let desk: Desk;
let live: string;
let newest: () => Promise<PointReader>;

before(async () => {
  desk = await openDesk({ hasTwoReaders: true, size: { messages: 200, conversations: 20, files: 6 } });
  live = desk.installation.database.database;
  const { repository } = await makeCheapToOpen(desk);
  newest = async () => {
    const point = (await savedPoints(repository)).at(-1);
    assert.ok(point);
    return point;
  };
  // Large enough to be looked through for what changed.
  await desk.server.query(
    `create table heavy (id bigint primary key, body text not null);
     insert into heavy select g, repeat(md5(g::text), 8) from generate_series(1, 20000) g;
     alter table heavy owner to chatwoot; drop extension pg_stat_statements`,
    live,
  );
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

async function limitTo(connections: number): Promise<void> {
  await desk.server.query(`alter role chatwoot nosuperuser createdb connection limit ${connections}`);
}

const dataTree = async () => await (await newest()).folderTree("database/data");

test("a backup over three connections, or two, makes the same rows as one over as many as it likes", async () => {
  await limitTo(-1);
  await desk.summary(["backup"]);
  const whole = await dataTree();
  await limitTo(3);
  const few = (await desk.summary(["backup"]))["database"] as { rangesReused: number };
  assert.ok(few.rangesReused > 0);
  assert.equal(await dataTree(), whole);
  await limitTo(2);
  await desk.summary(["backup", "--full"]);
  assert.equal(await dataTree(), whole);
});

test("one connection is too few, and that is said", async () => {
  await limitTo(1);
  const { status, stderr } = await desk.chatkeep(["backup"]);
  assert.equal(status, 1);
  assert.match(stderr, /no connection left for us \(chatwoot@/);
  assert.match(stderr, /hint: .*does with two/);
});
