import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { loadDatabase } from "../../src/postgres/load.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { createDatabase, inspectTarget } from "../../src/postgres/target.ts";
import { assertSameDatabase } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { HOSTILE_SQL, largeTable } from "./hostile.ts";
import { cutsOf, digestsOf, saveDatabase, toSource } from "./saved.ts";

const signal = new AbortController().signal;
let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

async function makeHostile(name: string) {
  const address = await server.createDatabase(name);
  await server.query("create extension pg_trgm; create extension pgcrypto; create extension pg_stat_statements", name);
  await server.query(HOSTILE_SQL, name);
  await server.query(largeTable(30_000), name);
  return address;
}

async function options(jobs = 2) {
  return { programs: await findPrograms(15, { signal }), jobs, progress: silent, signal };
}

test("a database with everything hostile comes back line for line, and reads back with the same digests", async () => {
  await using folder = await temporaryFolder();
  const source = await makeHostile("hostile");
  const saved = await saveDatabase(source);
  const target = { ...source, database: "hostile_back" };
  await createDatabase(target, { encoding: "UTF8", collate: "C.UTF-8", ctype: "C.UTF-8", signal });
  assert.equal((await inspectTarget(target, { signal })).state, "empty");
  await loadDatabase(target, await toSource(saved, folder.at("schema.dump")), await options());
  assert.equal((await inspectTarget(target, { signal })).state, "not-empty");

  await assertSameDatabase(source, target);
  const back = await saveDatabase(target, { earlier: cutsOf(saved) });
  assert.deepEqual(digestsOf(back), digestsOf(saved));
  assert.equal(back.schema.sql, saved.schema.sql);
  assert.deepEqual(back.sequences, saved.sequences);

  // The next conversation takes the next number of its account.
  const next = "insert into conversations (account_id, display_id) values (2, 0) returning display_id as n";
  const [expected] = await server.query(next, "hostile");
  const [found] = await server.query(next, "hostile_back");
  assert.equal(found?.["n"], expected?.["n"]);
  await server.query("insert into accounts (name) values ('three')", "hostile_back");
});
