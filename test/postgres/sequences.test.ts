import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { formatSetvals, furthest, readSequences } from "../../src/postgres/sequences.ts";
import { openSnapshot } from "../../src/postgres/snapshot.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
let server: TestServer;
let address: ServerAddress;

before(async () => {
  server = await startPostgres();
  address = await server.createDatabase("sequences");
  await server.query(
    `create table t (id bigserial primary key, other int generated always as identity);
     insert into t default values; insert into t default values;
     create sequence "odd ""name"" with 'quotes'"; create sequence fresh start 5;
     create sequence down increment -1 minvalue -9223372036854775808 start -9223372036854775807; select nextval('down');
     do $$ begin for i in 1 .. 450 loop execute format('create sequence conv_dpid_seq_%s', i); perform setval('conv_dpid_seq_' || i, i); end loop; end $$`,
    "sequences",
  );
});
after(async () => {
  await server.stop();
});

test("every sequence is read and set to where it stood, many of free-standing ones too", async () => {
  await using connection = await connect(address, { signal });
  const states = await readSequences(connection);
  assert.equal(states.length, 455);
  const of = (name: string) => states.find((state) => state.name === name);
  assert.deepEqual(of("fresh"), { schema: "public", name: "fresh", lastValue: "5", isCalled: false });
  assert.deepEqual(of("down"), { schema: "public", name: "down", lastValue: "-9223372036854775807", isCalled: true });
  assert.deepEqual(
    [of("t_id_seq")?.lastValue, of("t_other_seq")?.lastValue, of("conv_dpid_seq_450")?.lastValue],
    ["2", "2", "450"],
  );

  await connection.query(
    "select setval(c.oid::regclass, case c.relname when 'down' then -7 else 999 end) from pg_class c where relkind = 'S'",
  );
  await connection.query(formatSetvals(states));
  assert.deepEqual(await readSequences(connection), states);
  assert.equal(formatSetvals([]), "");
});

test("a sequence that is dropped after the snapshot starts the look over; one that may not be read is named", async () => {
  await server.query("create sequence doomed; create role timid login", "sequences");
  await using snapshot = await openSnapshot(address, { signal });
  await snapshot.connection.query("select 1");
  await server.query("drop sequence doomed", "sequences");
  await assert.rejects(readSequences(snapshot.connection), (error) => isFailure(error, "database/changed"));
  await using timid = await connect({ ...address, user: "timid" }, { signal });
  await assert.rejects(
    readSequences(timid),
    (error) =>
      isFailure(error, "database/denied") &&
      /sequence conv_dpid_seq_1\b/.test(error.message) &&
      /GRANT SELECT/.test(error.hint ?? ""),
  );
});

test("of a sequence that was set back between two looks, where it stood counts; of one that went on, where it stands", async () => {
  await server.query(
    `create table emptied (id bigserial primary key); insert into emptied select from generate_series(1, 5);
     create sequence onward; create sequence deeper increment -1; select setval('deeper', -5);
     create sequence round maxvalue 3 cycle; select setval('round', 3);
     create sequence begun`,
    "sequences",
  );
  await using connection = await connect(address, { signal });
  const before = await readSequences(connection);
  await server.query(
    `truncate emptied restart identity; select setval('onward', 7); select setval('deeper', -2); select nextval('round');
     select nextval('begun')`,
    "sequences",
  );
  const after = await readSequences(connection);
  const states = await furthest(connection, before, after);
  const of = (name: string) => states.find((state) => state.name === name);
  const expected = { emptied_id_seq: "5", onward: "7", deeper: "-5", round: "1", begun: "1" };
  for (const [name, lastValue] of Object.entries(expected)) {
    assert.deepEqual(of(name), { schema: "public", name, lastValue, isCalled: true });
  }
  assert.equal(states.length, after.length);
});
