/** Transactions that others have open: who, how long, and never what they run. And replication slots, for the same reason. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { holdingSlotFinding, longTransactionFinding } from "../../src/job/long-transactions.ts";
import { connect } from "../../src/postgres/connect.ts";
import {
  type HoldingSlot,
  type LongTransaction,
  readHoldingSlots,
  readLongTransactions,
} from "../../src/postgres/long-transactions.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { signal } from "./captures.ts";

let server: TestServer;
let address: TestAddress;

before(async () => {
  server = await startPostgres({ settings: ["max_prepared_transactions=2", "wal_level=logical"] });
  address = await server.createDatabase("open");
  await server.query("create table t (id int); create table u (id int)", "open");
  await server.query("create role reader login; grant select on t to reader", "open");
});
after(async () => {
  await server.stop();
});

async function open(sql: string, user = "postgres"): Promise<Client & AsyncDisposable> {
  const client = new Client({ ...address, user });
  await client.connect();
  await client.query(sql);
  return Object.assign(client, { [Symbol.asyncDispose]: async () => await client.end() });
}

async function read(user = "postgres", olderThanSeconds = 0): Promise<LongTransaction[]> {
  await using connection = await connect({ ...address, user }, { signal });
  return await readLongTransactions(connection, { olderThanSeconds });
}

test("every open transaction but our own is listed, the oldest first, with who has it and whether it keeps readers out", async () => {
  await using reading = await open("begin; select 'secret' from t", "reader");
  await using _idle = await open("select 1");
  await using locking = await open("begin; lock table u in access exclusive mode");
  const [{ rows: one }, { rows: other }] = [
    await reading.query<{ pid: number }>("select pg_backend_pid() as pid"),
    await locking.query<{ pid: number }>("select pg_backend_pid() as pid"),
  ];
  const found = await read();
  assert.deepEqual(
    found.map(({ pid, user, state, isExclusive }) => ({ pid, user, state, isExclusive })),
    [
      { pid: one[0]?.pid, user: "reader", state: "idle in transaction", isExclusive: false },
      { pid: other[0]?.pid, user: "postgres", state: "idle in transaction", isExclusive: true },
    ],
  );
  assert.doesNotMatch(JSON.stringify(found), /secret/);
  assert.deepEqual(await read("postgres", 3600), []);
  assert.deepEqual(
    (await read("reader")).map(({ pid }) => pid),
    [one[0]?.pid],
  );
});

test("a prepared transaction, which belongs to no session, is listed with the lock that it holds", async () => {
  const client = await open("begin; lock table u in access exclusive mode; prepare transaction 'left behind'");
  await client.end();
  try {
    const found = await read();
    assert.deepEqual(
      found.map(({ pid, prepared, user, isExclusive }) => ({ pid, prepared, user, isExclusive })),
      [{ pid: undefined, prepared: "left behind", user: "postgres", isExclusive: true }],
    );
  } finally {
    await server.query("rollback prepared 'left behind'", "open");
  }
});

test("what is said of one: a note, and a warning when it keeps readers out or has done nothing for an hour", () => {
  const one: LongTransaction = {
    pid: 4711,
    prepared: undefined,
    user: "chatwoot",
    state: "active",
    seconds: 7200,
    isExclusive: false,
  };
  const tell = (changes: Partial<LongTransaction>) => {
    const { level, message, hint } = longTransactionFinding({ ...one, ...changes });
    return [`${level}: ${message}`, hint.slice(hint.indexOf("If nobody"))];
  };
  const end = "If nobody needs it: select pg_terminate_backend(4711).";
  assert.deepEqual(tell({}), ["note: session 4711 of 'chatwoot' has a transaction open for 2 h 0 min (active)", end]);
  assert.equal(tell({ state: "idle in transaction", seconds: 3599 })[0]?.split(":")[0], "note");
  assert.equal(tell({ state: "idle in transaction" })[0]?.split(":")[0], "warning");
  assert.deepEqual(tell({ isExclusive: true, seconds: 600 }), [
    "warning: session 4711 of 'chatwoot' has a transaction open for 10 min 0 s (active), with a table locked that a backup waits for",
    end,
  ]);
  assert.deepEqual(tell({ pid: undefined, prepared: "it's", user: undefined, state: undefined }), [
    "warning: prepared transaction 'it's' is open for 2 h 0 min",
    "If nobody needs it: rollback prepared 'it''s'.",
  ]);
});

async function readSlots(database: string, olderThanTransactions = 0): Promise<HoldingSlot[]> {
  await using connection = await connect({ ...address, database, user: "reader" }, { signal });
  return await readHoldingSlots(connection, { olderThanTransactions });
}

test("a logical slot keeps rows of its own database's catalogues, the longer the more transactions begin", async () => {
  await server.query("select pg_create_logical_replication_slot('stream', 'test_decoding')", "open");
  await server.query("select pg_create_physical_replication_slot('ordinary')");
  try {
    const [first, ...others] = await readSlots("open");
    const { transactions = 0, ...slot } = first ?? {};
    assert.deepEqual(slot, { name: "stream", isLogical: true, isActive: false, isOfAllTables: false });
    assert.deepEqual(others, []);
    for (let count = 0; count < 5; count += 1) await server.query("select pg_current_xact_id()");
    assert.equal((await readSlots("open", transactions + 5)).length, 1);
    assert.deepEqual(await readSlots("open", 1_000_000), []);
    assert.deepEqual(await readSlots("postgres"), []);
  } finally {
    for (const name of ["stream", "ordinary"]) await server.query(`select pg_drop_replication_slot('${name}')`, "open");
  }
});

test("what is said of a slot: a warning when nobody reads from it, and what drops it", () => {
  const one: HoldingSlot = {
    name: "it's",
    isLogical: false,
    isActive: false,
    isOfAllTables: true,
    transactions: 2_000_000,
  };
  const forgotten = holdingSlotFinding(one);
  assert.equal(
    `${forgotten.level}: ${forgotten.message}`,
    "warning: physical replication slot 'it's', which nobody reads from, keeps rows of all tables that died in the last 2,000,000 transactions",
  );
  assert.match(forgotten.hint, /pg_drop_replication_slot\('it''s'\)\.$/);
  const slow = holdingSlotFinding({ ...one, name: "stream", isLogical: true, isActive: true, isOfAllTables: false });
  assert.equal(
    `${slow.level}: ${slow.message}`,
    "note: logical replication slot 'stream' keeps rows of the system's catalogues that died in the last 2,000,000 transactions",
  );
});
