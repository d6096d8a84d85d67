/** Whether somebody works in a database: what is asked for by its name before it is replaced. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { describeUse } from "../../src/postgres/use.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const { signal } = new AbortController();
let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

test("a database is in use from its second account or its first conversation on", async () => {
  const address = await server.createDatabase("desk");
  const said = async (sql: string) => {
    await server.query(sql, "desk");
    return await describeUse(address, { signal });
  };
  assert.equal(await said("select 1"), undefined);
  assert.equal(await said("create table accounts (id int); create table conversations (id int)"), undefined);
  assert.equal(await said("insert into accounts values (1)"), undefined);
  assert.equal(await said("insert into conversations values (1)"), "1 account and 1 conversation");
  assert.equal(
    await said("delete from conversations; insert into accounts values (2)"),
    "2 accounts and 0 conversations",
  );
  assert.equal(
    await said("insert into conversations select generate_series(1, 5000)"),
    "2 accounts and 1,000 conversations or more",
  );
  assert.equal(await describeUse({ ...address, database: "nowhere" }, { signal }), undefined);
});
