import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { readTables } from "../../src/postgres/catalogue.ts";
import { connect } from "../../src/postgres/connect.ts";
import { looksLikePooler, refuseSharedSessions } from "../../src/postgres/pooler.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { guardTable } from "../../src/postgres/table-guard.ts";
import { startPgbouncer, type TestPgbouncer } from "../harness/pgbouncer.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const { signal } = new AbortController();
let server: TestServer;
let database: ServerAddress;

before(async () => {
  server = await startPostgres({ auth: "scram" });
  database = await server.createDatabase("pooled");
  await server.query("create table t (id int primary key)", "pooled");
});
after(async () => {
  await server.stop();
});

async function poolIn(mode: "session" | "transaction" | "statement", settings?: string[]): Promise<TestPgbouncer> {
  const { user, password = "" } = server.address;
  return await startPgbouncer(server.address, {
    mode,
    users: [{ name: user, password }],
    ...(settings === undefined ? {} : { settings }),
  });
}

const isShared = (error: unknown) =>
  isFailure(error, "database/unsuitable") && /pooler gives each transaction another session/.test(error.message);

test("a server, and a pooler in session mode, give sessions that stay ours", async () => {
  await using direct = await connect(database, { signal });
  assert.equal(await refuseSharedSessions(direct, { signal }), false);
  await using pooler = await poolIn("session");
  await using pooled = await connect({ ...database, port: pooler.port }, { signal });
  assert.equal(await refuseSharedSessions(pooled, { signal }), true);
});

test("a pooler in transaction or statement mode is recognised, whichever session it gives next", async () => {
  for (const [mode, settings] of [
    ["transaction", []],
    ["transaction", ["server_round_robin = 1", "min_pool_size = 5"]],
    ["transaction", ["default_pool_size = 2"]],
    ["transaction", ["default_pool_size = 2", "server_round_robin = 1"]],
    ["statement", []],
  ] as const) {
    await using pooler = await poolIn(mode, [...settings]);
    const address = { ...database, port: pooler.port };
    await using connection = await connect(address, { signal });
    await assert.rejects(refuseSharedSessions(connection, { signal }), isShared, `${mode} ${settings.join(", ")}`);
  }
});

test("a pooler that others use at the same moment is recognised too", async () => {
  await using pooler = await poolIn("transaction", ["default_pool_size = 8"]);
  const address = { ...database, port: pooler.port };
  const others = await Promise.all(Array.from({ length: 6 }, async () => await connect(address, { signal })));
  const over = new AbortController();
  const traffic = others.map(async (other) => {
    while (!over.signal.aborted) await other.query("begin; select pg_backend_pid(); commit");
  });
  try {
    await using connection = await connect(address, { signal });
    await assert.rejects(refuseSharedSessions(connection, { signal }), isShared);
  } finally {
    over.abort();
    await Promise.all(traffic);
    for (const other of others) await other.close();
  }
});

test("no table is read in a session that became somebody else's", async () => {
  await using snapshot = await openSnapshot(database, { signal });
  const [table] = (await readTables(snapshot.connection)).tables;
  assert.ok(table);
  await using pooler = await poolIn("transaction", ["default_pool_size = 1"]);
  const address = { ...database, port: pooler.port };
  await using first = await connect(address, { signal });
  await first.query("begin");
  await guardTable(first, table);
  await first.query("commit");
  await using _ = await connect(address, { signal });
  await first.query("begin");
  await assert.rejects(guardTable(first, table), isShared);
  await first.query("rollback");
});

function at(host: string, port = 5432): ServerAddress {
  return { host, port, user: "u", database: "d" };
}

test("addresses of poolers are known by their looks", () => {
  for (const address of [
    at("ep-cool-1234-pooler.eu-central-1.aws.neon.tech"),
    at("aws-0-eu-west-1.pooler.supabase.com", 6543),
    at("db.abc.supabase.co", 6543),
    at("10.0.0.1", 6432),
  ]) {
    assert.equal(looksLikePooler(address), true, address.host);
  }
  for (const address of [
    at("ep-cool-1234.eu-central-1.aws.neon.tech"),
    at("db.abc.supabase.co"),
    at("localhost", 6543),
  ]) {
    assert.equal(looksLikePooler(address), false, address.host);
  }
});
