/** A disk that damaged a page of a table: what a backup saves and says, and what comes back of the restore point. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before as first, test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import type { ProofCheck } from "../../src/point/proof.ts";
import { damagePage, FEW_BUFFERS, idsOn, pageOf } from "../job/damaged-page.ts";
import { serverEnvironment, shell, tryShell } from "../scenario/by-hand.ts";
import { makeCheapToOpen } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

let desk: Desk;

first(async () => {
  desk = await openDesk({
    hasOwnState: true,
    size: { messages: 400, conversations: 40, files: 10 },
    server: { settings: FEW_BUFFERS },
  });
  await makeCheapToOpen(desk);
});
after(async () => {
  await desk[Symbol.asyncDispose]();
});

function rowsOf(summary: Record<string, unknown>): number {
  return (summary["database"] as { rows: number }).rows;
}

function found(summary: Record<string, unknown>, kind: string): Finding[] {
  return (summary["findings"] as Finding[]).filter((finding) => finding.kind === kind);
}

test("a damaged page: its table and ids are named, all else is saved, restored and proven, also what refers to it", async () => {
  const { database } = desk.installation.database;
  const { server } = desk;
  await server.query(
    `create table parent (id bigserial primary key, body text);
     insert into parent (body) select repeat(md5(n::text), 10) from generate_series(1, 200) n;
     create table child (id bigint primary key, parent_id bigint references parent);
     insert into child select n, n from generate_series(1, 200) n;
     create table other (id bigint primary key, child_id bigint references child);
     insert into other values (1, 1);
     create table spread (parent_id bigint references parent) partition by range (parent_id);
     create table spread_all partition of spread default;
     insert into spread select n from generate_series(1, 200) n`,
    database,
  );
  const whole = rowsOf(await desk.summary(["backup"]));
  const lost = new Map<string, number[]>();
  const before = new Map<string, number[]>();
  for (const [table, where] of [
    ["messages", "id = (select max(id) / 2 from messages)"],
    ["parent", "id = 100"],
  ] as const) {
    const ids = await server.query(`select id from ${table} order by id`, database);
    before.set(
      table,
      ids.map(({ id }) => Number(id)),
    );
    const page = await pageOf(server, database, table, where);
    lost.set(table, await idsOn(server, database, table, page));
    await damagePage(server, database, table, page);
  }
  const count = [...lost.values()].flat().length;
  for (const args of [["backup"], ["backup", "--full"]]) {
    const torn = await desk.summary(args, 3);
    const told = found(torn, "rows-unreadable");
    assert.deepEqual(
      told.map(({ level }) => level),
      ["alarm", "alarm"],
    );
    for (const [table, ids] of lost) {
      const named = new RegExp(
        `^the server cannot read the rows with ids ${ids[0]}\\b.* of table public\\.${table}: invalid page in block`,
      );
      assert.ok(
        told.some(({ message }) => named.test(message)),
        JSON.stringify(told),
      );
    }
    assert.equal(rowsOf(torn), whole - count);
  }
  const listed = await desk.chatkeep(["list"]);
  assert.match(listed.stdout, /^rows are lacking in [0-9a-f]{8}, [0-9a-f]{8}, which the server could not read/m);
  assert.match((await desk.chatkeep(["show", "latest"])).stdout, /^ +rows +not all: /m);
  const target = (await server.createDatabase("back")).database;
  const url = `postgresql://postgres@127.0.0.1:${server.address.port}/${target}`;
  const args = ["restore", "latest", "--only", "database", "--database-url", url];
  const plan = await desk.chatkeep([...args, "--plan"]);
  assert.match(
    plan.stdout + plan.stderr,
    /warning: the restore point lacks the rows with ids [^]*warning: the restore point lacks/,
  );
  const [unheld] = found(await desk.summary([...args, "--yes"], 3), "keys-not-held");
  assert.match(
    unheld?.message ?? "",
    /^2 foreign keys do not hold.*child_parent_id_fkey of public\.child \(NOT VALID\), spread_parent_id_fkey of public\.spread \(left out\)$/,
  );
  const idsIn = async (table: string) =>
    (await server.query(`select id from ${table} order by id`, target)).map(({ id }) => Number(id));
  for (const [table, ids] of lost) {
    const back = new Set(await idsIn(table));
    assert.deepEqual(
      before.get(table)?.filter((id) => !back.has(id)),
      ids,
    );
  }
  assert.equal((await idsIn("child")).length, 200);
  const keys = await server.query(
    "select conrelid::regclass::text as table, convalidated as holds from pg_constraint where contype = 'f' and conrelid in ('child'::regclass, 'other'::regclass) order by 1",
    target,
  );
  assert.deepEqual(keys, [
    { table: "child", holds: false },
    { table: "other", holds: true },
  ]);

  // By hand, with the script in the point.
  const password = (await readFile(desk.passwordFile, "utf8")).trim();
  const env = { RESTIC_REPOSITORY: desk.repository, RESTIC_PASSWORD: password };
  await shell("restic --no-cache restore latest --path /chatkeep --target by-hand", { cwd: desk.root, env });
  const byHand = await server.createDatabase("by_hand");
  const told = await tryShell("sh restore.sh --database", {
    cwd: join(desk.root, "by-hand", "chatkeep"),
    env: { ...serverEnvironment(byHand, server.programs), PGDATABASE: "by_hand" },
  });
  assert.equal(told.status, 0, told.stderr);
  assert.match(told.stderr, /a foreign key does not hold, since the server could not read all rows/);
  const made = await server.query(
    "select conrelid::regclass::text as t from pg_constraint where contype = 'f' and conrelid in ('child'::regclass, 'other'::regclass)",
    "by_hand",
  );
  assert.deepEqual(made, [{ t: "other" }]);
  assert.match(
    (await desk.chatkeep(["dump", "latest", "RESTORE.md"])).stdout,
    /could not read all rows of `public\.messages`, `public\.parent`/,
  );

  const drilled = await desk.chatkeep(["--json", "drill"]);
  const summary = JSON.parse(drilled.stdout.trim().split("\n").at(-1) ?? "{}") as {
    checks: ProofCheck[];
    proven: boolean;
  };
  const check = summary.checks.find(({ name }) => name === "rows");
  assert.equal(check?.ok, true, drilled.stdout);
  assert.match(
    check.detail,
    /every SHA-256 equal; the point itself lacks the rows with ids [\d, to]+ of table public\.messages, and rows of 1 more table$/,
  );
  // A key that cannot hold is said, and no failure of the point.
  assert.equal(summary.proven, true, drilled.stdout);
  assert.match(
    summary.checks.find(({ name }) => name === "schema")?.detail ?? "",
    /of schema equal; 2 foreign keys do not hold, because the restore point lacks rows: child_parent_id_fkey of public\.child \(NOT VALID\), spread_parent_id_fkey of public\.spread \(left out\)$/,
  );
});

test("accounts that cannot be read: a restore point is made all the same, and nobody is said to be gone", async () => {
  const { server } = desk;
  const { database } = desk.installation.database;
  const page = await pageOf(server, database, "accounts", "id = (select min(id) from accounts)");
  const mend = await damagePage(server, database, "accounts", page);
  const torn = await desk.summary(["backup"], 3);
  assert.ok(found(torn, "rows-unreadable").some(({ message }) => /table public\.accounts/.test(message)));
  assert.deepEqual(found(torn, "shrunk"), []);
  await mend();
  const mended = await desk.summary(["backup"], 3);
  assert.deepEqual(found(mended, "shrunk"), []);
  assert.ok(!found(mended, "rows-unreadable").some(({ message }) => /table public\.accounts/.test(message)));
});

test("a point that lacks rows comes back into its own place: a key that cannot hold is no difference, and is said", async () => {
  const { server } = desk;
  const { database } = desk.installation.database;
  await server.query(
    `create table mother (id bigserial primary key, body text);
     insert into mother (body) select repeat(md5(n::text), 10) from generate_series(1, 200) n;
     create table kid (id bigint primary key, mother_id bigint references mother);
     insert into kid select n, n from generate_series(1, 200) n;
     create table kids (mother_id bigint references mother) partition by range (mother_id);
     create table kids_all partition of kids default;
     insert into kids select n from generate_series(1, 200) n`,
    database,
  );
  await damagePage(server, database, "mother", await pageOf(server, database, "mother", "id = 100"));
  await desk.summary(["backup"], 3);
  const live = await desk.summary(["restore", "latest", "--only", "database", "--yes"], 3);
  const [unheld] = found(live, "keys-not-held");
  assert.match(unheld?.message ?? "", /kid_mother_id_fkey of public\.kid \(NOT VALID\), /);
  const counts = await server.query(
    "select (select count(*) from kid)::int as kid, (select count(*) from kids)::int as kids",
    database,
  );
  assert.deepEqual(counts, [{ kid: 200, kids: 200 }]);
});
