/** Drills in a database of their own on a server that is there: nothing else on it is touched, and nothing stays. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { findScratchServer, openScratchServer } from "../../src/postgres/scratch.ts";
import { ownMark } from "../../src/system/leftovers.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
const kinds = ["database-url"] as const;
let server: TestServer;
let driller: ServerAddress;
let needs: { kinds: typeof kinds; major: number; extensions: string[]; server: ServerAddress; signal: AbortSignal };

before(async () => {
  server = await startPostgres();
  await server.query("create role driller login createdb; create role reader login");
  await server.createDatabase("somebodys");
  driller = { ...server.address, user: "driller", database: "postgres" };
  needs = { kinds, major: server.major, extensions: ["plpgsql", "pgcrypto"], server: driller, signal };
});
after(async () => await server.stop());

async function databases(): Promise<string[]> {
  const rows = await server.query("select datname from pg_database where not datistemplate order by 1");
  return rows.map((row) => String(row["datname"]));
}

test("a database is made, says what it is, takes what is trusted, and is dropped at the end", async () => {
  const before = await databases();
  {
    await using scratch = await openScratchServer(needs);
    assert.match(scratch.address.database, /^chatkeep_drill_/);
    assert.match(scratch.where, /^a database of its own on PostgreSQL \d+\.\d+ at 127\.0\.0\.1:\d+$/);
    assert.deepEqual(await databases(), [...before, scratch.address.database].toSorted());
    await using connection = await connect(scratch.address, { signal });
    const [row] = await connection.query<{ note: string; collate: string; role: string }>(
      `select shobj_description(oid, 'pg_database') as note, datcollate as collate, current_user as role
       from pg_database where datname = current_database()`,
    );
    assert.deepEqual([row?.collate, row?.role], ["C", "driller"]);
    const note = JSON.parse(row?.note ?? "") as Record<string, unknown>;
    assert.deepEqual([note["chatkeep"], note["mark"]], ["drill", ownMark()]);
    await connection.query("create extension pgcrypto; create table t (id int)");
  }
  assert.deepEqual(await databases(), before);
});

test("a drill's database is in use from its beginning to its end, so that no other drill takes it for one that was left", async () => {
  await using scratch = await openScratchServer(needs);
  const sessions = await server.query(
    `select usename from pg_stat_activity where datname = '${scratch.address.database}'`,
  );
  assert.deepEqual(sessions, [{ usename: "driller" }]);
});

test("a run that was cancelled drops its database all the same", async () => {
  const before = await databases();
  const controller = new AbortController();
  await using scratch = await openScratchServer({ ...needs, signal: controller.signal });
  controller.abort(new Error("enough"));
  await scratch[Symbol.asyncDispose]();
  assert.deepEqual(await databases(), before);
});

test("a database that cannot be dropped is told and left, also when somebody will not wait: the drill's outcome goes on", async () => {
  const controller = new AbortController();
  const said: string[] = [];
  const scratch = await openScratchServer({
    ...needs,
    say: (line) => said.push(line),
    signal: controller.signal,
  });
  const { database } = scratch.address;
  await using holder = await connect({ ...server.address, database: "postgres" }, { signal });
  await holder.query("begin; lock pg_catalog.pg_database in share mode");
  const disposed = scratch[Symbol.asyncDispose]();
  await dropWaits();
  controller.abort(new Error("enough"));
  await disposed;
  assert.deepEqual(said, [
    `the drill's database '${database}' is left: dropping it took too long; the next drill drops it`,
  ]);
  await holder.query("rollback");
});

async function dropWaits(): Promise<void> {
  for (;;) {
    // In a session of its own each time: within a transaction the view stays as it was.
    const waiting = await server.query(
      "select from pg_stat_activity where query like 'drop database%' and wait_event_type = 'Lock'",
    );
    if (waiting.length > 0) return;
    await setTimeout(20);
  }
}

test("what an earlier drill left and cannot be dropped does not keep the next from its own", async () => {
  const name = "chatkeep_drill_0f0f0f.0f0f0f.0f0f0f.1_00000007";
  await server.createDatabase(name, "driller");
  await server.query(`comment on database "${name}" is '${note("0f0f0f.0f0f0f.0f0f0f.1", 8)}'`);
  await server.query(
    "create publication p; create subscription s connection 'dbname=x' publication p with (connect = false)",
    name,
  );
  const said: string[] = [];
  {
    await using scratch = await openScratchServer({ ...needs, say: (line) => said.push(line) });
    assert((await databases()).includes(scratch.address.database));
  }
  assert.equal(said.length, 1);
  assert.match(said[0] ?? "", new RegExp(`^'${name}', which an earlier drill left, stays: `));
  await server.query("alter subscription s set (slot_name = none); drop subscription s", name);
  await server.query(`drop database "${name}"`);
});

test("a server that does not fit says why", async () => {
  const refused = async (options: Partial<Parameters<typeof findScratchServer>[0]>, why: RegExp) =>
    await assert.rejects(
      findScratchServer({ ...needs, ...options }),
      (error) => isFailure(error, "program/missing") && why.test(error.hint ?? ""),
    );
  await refused({ server: { ...driller, user: "reader" } }, /'reader' may not create databases .*CREATEDB/);
  await refused({ major: server.major + 1 }, new RegExp(`has PostgreSQL .*or newer`));
  await refused({ extensions: ["no_such_extension"] }, /lacks the extension no_such_extension/);
  await refused({ extensions: ["pg_stat_statements"] }, /'driller' may not create the extension pg_stat_statements/);
  await refused({ server: { ...driller, port: 1 } }, /cannot be used: .*127\.0\.0\.1/);
  // An older point fits: its catalogue is compared instead of its text.
  assert.match(await findScratchServer({ ...needs, major: 9 }), /^a database of its own/);
});

test("the installation's own server is used only when it is handed over, and the proof says whose it was", async () => {
  const inPlace = { ...needs, kinds: ["in-place"] as const };
  await assert.rejects(
    findScratchServer(inPlace),
    (error) => isFailure(error, "program/missing") && /it is left alone.*--in-place-server/.test(error.hint ?? ""),
  );
  assert.match(
    await findScratchServer({ ...inPlace, inPlace: driller }),
    /, Chatwoot's own server, which bore the load$/,
  );
});

function note(mark: string, days: number): string {
  const at = new Date(Date.now() - days * 86_400_000).toISOString();
  return JSON.stringify({ chatkeep: "drill", mark, at });
}

test("what killed drills left is dropped by the next, and nothing that may be in use or is somebody else's", async () => {
  const dead = spawn(process.execPath, ["--version"], { stdio: "ignore" });
  await once(dead, "exit");
  const deadMark = ownMark().replace(/\d+$/, String(dead.pid));
  const elsewhere = "0f0f0f.0f0f0f.0f0f0f.1";
  const made: [name: string, comment: string | null, stays: boolean][] = [
    [`chatkeep_drill_${deadMark}_00000001`, null, false],
    [`chatkeep_drill_${deadMark}_00000002`, note(deadMark, 0), false],
    [`chatkeep_drill_${deadMark}_00000003`, null, true],
    [`chatkeep_drill_${ownMark()}_00000004`, note(ownMark(), 0), true],
    [`chatkeep_drill_${elsewhere}_00000005`, note(elsewhere, 1), true],
    [`chatkeep_drill_${elsewhere}_00000006`, note(elsewhere, 8), false],
    ["chatkeep_drill_my_notes", null, true],
  ];
  for (const [name, comment] of made) {
    await server.createDatabase(name, "driller");
    if (comment !== null) await server.query(`comment on database "${name}" is '${comment}'`);
  }
  const [, , busy] = made.map(([name]) => name);
  await using session = await connect({ ...driller, database: busy ?? "" }, { signal });
  await session.query("select 1");
  {
    await using scratch = await openScratchServer(needs);
    const there = new Set(await databases());
    for (const [name, , stays] of made) assert.equal(there.has(name), stays, name);
    assert(there.has("somebodys") && there.has(scratch.address.database));
  }
});
