/** What the server cannot give: everything else is saved, what is lacking is named, and it is never taken for unchanged. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import type { TableEntry } from "../../src/point/manifest.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { contentsOf, factsOf, stampsOf, take, type Taken } from "./captures.ts";
import { damagePage, FEW_BUFFERS, idsOn, pageOf } from "./damaged-page.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: FEW_BUFFERS });
});
after(async () => {
  await server.stop();
});

const ROWS = 3000;

async function makeDatabase(name: string): Promise<TestAddress> {
  const address = await server.createDatabase(name);
  await server.query(
    `create table notes (id bigserial primary key, body text);
     insert into notes (body) select repeat(md5(n::text), 4) from generate_series(1, ${ROWS}) n;
     create table other (id bigint primary key, v text); insert into other select n, 'x' from generate_series(1, 10) n;
     create table words (v text); insert into words select repeat(md5(n::text), 4) from generate_series(1, 500) n;
     vacuum analyze`.replace("vacuum analyze", "analyze"),
    name,
  );
  return address;
}

function entryOf({ capture }: Taken, name: string): TableEntry {
  const found = capture.tables.find(({ entry }) => entry.name === name);
  assert.ok(found, `no table ${name}`);
  return found.entry;
}

function told({ capture }: Taken): Finding[] {
  return capture.findings.filter(({ kind }) => kind === "rows-unreadable");
}

/** Ids that lie side by side, as the manifest names them. */
function spanOf(ids: readonly number[]): { from: string; to: string } {
  return { from: String(ids[0]), to: String(ids.at(-1)) };
}

for (const [where, condition] of [
  ["in the middle", `id = ${ROWS / 2}`],
  ["that has the last row", `id = ${ROWS}`],
  ["that has the first row", "id = 1"],
] as const) {
  test(`of a table with a damaged page ${where} all other rows are saved, and the next backup reads it again`, async () => {
    const name = `page_${where.replaceAll(" ", "_")}`;
    const address = await makeDatabase(name);
    const whole = await take(address);
    assert.deepEqual(told(whole), []);
    const page = await pageOf(server, name, "notes", condition);
    const ids = await idsOn(server, name, "notes", page);
    const mend = await damagePage(server, name, "notes", page);
    const torn = await take(address, whole);
    const [alarm] = told(torn);
    assert.equal(alarm?.level, "alarm");
    const { message } = alarm;
    const { from, to } = spanOf(ids);
    assert.ok(
      message.startsWith(
        `the server cannot read the rows with ids ${from} to ${to} of table public.notes: invalid page in block ${page} of relation `,
      ),
      message,
    );
    const entry = entryOf(torn, "notes");
    assert.equal(entry.rows, ROWS - ids.length);
    assert.deepEqual(
      entry.unreadable?.map((one) => [one.from, one.to, one.kept]),
      [[from, to, undefined]],
    );
    assert.deepEqual(contentsOf(torn)["public.other"], contentsOf(whole)["public.other"]);
    assert.equal(entryOf(torn, "other").unreadable, undefined);

    // Nothing of it is taken over, while it is damaged and after.
    const again = await take(address, torn);
    assert.deepEqual(entryOf(again, "notes").unreadable, entry.unreadable);
    await mend();
    const mended = await take(address, again);
    assert.deepEqual(told(mended), []);
    assert.deepEqual(contentsOf(mended), contentsOf(whole));
    assert.equal(entryOf(mended, "notes").unreadable, undefined);
  });
}

test("a value that cannot be read any more is taken over from the point before while its row did not change", async () => {
  const address = await makeDatabase("values");
  await server.query(
    `alter table notes alter body set storage external;
     update notes set body = repeat(md5(id::text), 200) where id in (500, 501)`,
    "values",
  );
  const whole = await take(address);
  // What lies outside of the rows goes, as when a disk lost it.
  await server.query(
    `set allow_system_table_mods = on;
     do $$ declare t oid := (select reltoastrelid from pg_class where oid = 'notes'::regclass); begin
       update pg_class set relkind = 'r' where oid = t;
       execute format('delete from %s', t::regclass);
       update pg_class set relkind = 't' where oid = t;
     end $$`,
    "values",
  );
  await server.query("vacuum notes", "values");
  let point = whole;
  let alarms: Finding[] = [];
  // A seventh is read again each time.
  for (let turn = 0; turn < 7 && alarms.length === 0; turn += 1) {
    point = await take(address, point);
    alarms = told(point);
    assert.deepEqual(contentsOf(point), contentsOf(whole));
  }
  assert.match(
    alarms[0]?.message ?? "",
    /the rows with ids 500 to 501 of table public\.notes: missing chunk number 0 .*; they have not changed, and were taken over/,
  );
  // It is said each time from then on, and the stamp stays.
  const next = await take(address, point);
  assert.equal(told(next).length, 1);
  assert.deepEqual(contentsOf(next), contentsOf(whole));
  assert.deepEqual(stampsOf(next, "notes"), stampsOf(whole, "notes"));

  // Also where every row is read, because somebody wants it or the last time is long ago.
  for (const options of [{ full: true }, { fullEveryMs: 0 }]) {
    const full = await take(address, next, options);
    assert.equal(full.capture.rangesReused, 0);
    assert.match(told(full)[0]?.message ?? "", /taken over from the last restore point/);
    assert.deepEqual(contentsOf(full), contentsOf(whole));
    assert.deepEqual(stampsOf(full, "notes"), stampsOf(whole, "notes"));
  }
  // Not where stamps say nothing: then the rows may be others.
  const facts = await factsOf(address);
  const moved = await take(address, next, { server: { ...facts, timeline: facts.timeline + 1 } });
  assert.equal(entryOf(moved, "notes").rows, ROWS - 2);

  // A row of that range changes: what can be read is what there is now.
  await server.query("update notes set body = 'new' where id = 7", "values");
  const changed = await take(address, next);
  assert.deepEqual(
    entryOf(changed, "notes").unreadable?.map((one) => [one.from, one.to, one.kept]),
    [["500", "501", undefined]],
  );
  assert.equal(entryOf(changed, "notes").rows, ROWS - 2);
  assert.deepEqual(Object.values(stampsOf(changed, "notes")), [undefined]);
  assert.deepEqual(entryOf(await take(address, changed), "notes").unreadable, entryOf(changed, "notes").unreadable);
});

test("a table whose rows have no ids is named, and the others are saved", async () => {
  const address = await makeDatabase("wordless");
  const mend = await damagePage(server, "wordless", "words", 1);
  const taken = await take(address);
  assert.match(told(taken)[0]?.message ?? "", /^the server cannot read any row of table public\.words: invalid page/);
  assert.deepEqual([entryOf(taken, "words").rows, entryOf(taken, "notes").rows], [0, ROWS]);
  await mend();
  assert.equal(entryOf(await take(address, taken), "words").rows, 500);
});
