import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { Failure } from "../../src/base/errors.ts";
import { connect } from "../../src/postgres/connect.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;

before(async () => {
  server = await startPostgres({ auth: "scram" });
  await server.createDatabase("chatwoot_production");
  await server.query(
    `create role full_role login connection limit 0 password 'hunter2'; create role timid login password 'hunter2';
     alter role timid set statement_timeout = '20ms'; alter role timid set lock_timeout = '20ms'; alter role timid set datestyle = 'German'`,
  );
});
after(async () => {
  await server.stop();
});

async function refusal(address: ServerAddress): Promise<Failure> {
  try {
    await using connection = await connect(address, { signal });
    await connection.query("select 1");
  } catch (error) {
    assert(error instanceof Failure, String(error));
    const shown = `${error.message} ${error.hint ?? ""}`;
    if (address.password !== undefined) assert(!shown.includes(address.password), "a password must never be shown");
    assert.notEqual(error.hint, undefined);
    return error;
  }
  throw new assert.AssertionError({ message: "the connection was not refused" });
}

test("each way in which a server refuses is told, with what to do", async () => {
  const address = server.address;
  const cases: [string, ServerAddress, Failure["code"], RegExp][] = [
    [
      "down",
      { ...address, port: 1 },
      "database/unreachable",
      /^no PostgreSQL server answers \(postgres@127\.0\.0\.1:1/,
    ],
    ["no socket", { ...address, host: "/nonexistent" }, "database/unreachable", /socket cannot be opened/],
    ["wrong password", { ...address, password: "wr0ng" }, "database/denied", /refuses the password of 'postgres'/],
    ["unknown role", { ...address, user: "nobody_here" }, "database/denied", /refuses the password of 'nobody_here'/],
    ["full", { ...address, user: "full_role", password: "hunter2" }, "database/full", /no connection left/],
    ["no ssl", { ...address, ssl: { mode: "require" } }, "database/denied", /has no SSL/],
    ["no database", { ...address, database: "chatwoot" }, "database/unsuitable", /'chatwoot' does not exist/],
  ];
  for (const [name, wrong, code, message] of cases) {
    const failure = await refusal(wrong);
    assert.equal(failure.code, code, name);
    assert.match(failure.message, message, name);
  }
});

test("a password that is needed and not known is told", async () => {
  const { password: _, ...without } = server.address;
  const failure = await refusal(without);
  assert.equal(failure.code, "database/denied");
  assert.match(failure.message, /asks for a password/);
});

test("a missing database is told together with those that exist", async () => {
  const failure = await refusal({ ...server.address, database: "chatwoot" });
  assert.match(failure.hint ?? "", /^The server has these databases: chatwoot_production\./);
});

test("a session has our settings, whatever the role's own are", async () => {
  const address = { ...server.address, user: "timid", password: "hunter2", database: "chatwoot_production" };
  await using connection = await connect(address, { signal });
  const [row] = await connection.query(
    `select current_setting('statement_timeout') as a, current_setting('lock_timeout') as b, current_setting('TimeZone') as c,
       current_setting('row_security') as d, current_setting('client_encoding') as e, now()::text as f, 0.1::float8 + 0.2 as g,
       (select application_name from pg_stat_activity where pid = pg_backend_pid()) as h, pg_sleep(0.05)`,
  );
  assert.deepEqual(
    [row?.["a"], row?.["b"], row?.["c"], row?.["d"], row?.["e"], row?.["h"]],
    ["0", "0", "UTC", "off", "UTF8", "chatkeep"],
  );
  assert.match(String(row?.["f"]), /^\d{4}-\d\d-\d\d .*\+00$/);
});

test("several statements give the last one's rows, and 64-bit numbers stay exact", async () => {
  await using connection = await connect(server.address, { signal });
  const [row] = await connection.query("select 1 as a; select 9223372036854775807 as big");
  assert.deepEqual(row, { big: "9223372036854775807" });
  assert.deepEqual(await connection.query("select $1::text as t", ["x"]), [{ t: "x" }]);
});

test("aborting ends a waiting query with the signal's reason", async () => {
  const controller = new AbortController();
  await using connection = await connect(server.address, { signal: controller.signal });
  const waiting = connection.query("select pg_sleep(60)");
  const reason = new Failure("run/cancelled", "enough");
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  assert.equal(connection.isOpen, false);
  await assert.rejects(connect(server.address, { signal: controller.signal }), reason);
});

test("a session that the server ends is told as lost", async () => {
  await using connection = await connect(server.address, { signal });
  const [row] = await connection.query<{ pid: number }>("select pg_backend_pid() as pid");
  const waiting = connection.query("select pg_sleep(60)");
  const ended = assert.rejects(waiting, (error) => error instanceof Failure && error.code === "database/unreachable");
  await server.query(`select pg_terminate_backend(${row?.pid})`);
  await ended;
  await assert.rejects(
    connection.query("select 1"),
    (error) => error instanceof Failure && error.code === "database/unreachable",
  );
  assert.equal(connection.isOpen, false);
});
