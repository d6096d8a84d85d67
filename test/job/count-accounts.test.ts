/** What each account has, counted on a real server: by the scan that looks for changes, and without one. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { AccountCounts } from "../../src/base/account-counts.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { take } from "./captures.ts";

const LARGE = 1e12;
let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["log_temp_files=0", "work_mem=64kB", "statement_timeout=0"] });
});
after(async () => {
  await server.stop();
});

const TABLES = `
  create table accounts (id bigint primary key, name text not null);
  insert into accounts values (1, 'Acme'), (2, 'Beta'), (3, 'Empty');
  create table conversations (id bigint primary key, account_id int not null);
  insert into conversations select n, 1 + n % 2 from generate_series(1, 300) n;
  create table messages (account_id int not null, id bigint primary key, created_at timestamp);
  insert into messages select 1 + n % 2, n, '2026-01-01' from generate_series(1, 30000) n;
  insert into messages select 9, n, '2026-01-01' from generate_series(100000000, 100000010) n;
  create table contacts (id bigint primary key, account_id int);
  insert into contacts select n, nullif(n % 3, 0) from generate_series(1, 30) n;
  create table attachments (id bigint primary key, account_id int not null);
  insert into attachments select n, 1 + n % 2 from generate_series(1, 20000) n;
  create table active_storage_attachments (id bigint primary key, name text, record_type text, record_id bigint, blob_id bigint);
  create unique index on active_storage_attachments (record_type, record_id, name, blob_id);
  insert into active_storage_attachments select n, 'file', 'Attachment', n, n from generate_series(1, 15000) n;
  insert into active_storage_attachments select n, 'avatar', 'Contact', n, n from generate_series(20001, 20020) n;`;

async function makeDatabase(name: string, sql: string): Promise<TestAddress> {
  const address = await server.createDatabase(name);
  await server.query(`${sql}; analyze`, name);
  return address;
}

const EXPECTED: AccountCounts[] = [
  { account: null, name: null, counts: { conversations: 300, messages: 30_011, contacts: 20, files: 15_000 } },
  { account: "1", name: "Acme", counts: { conversations: 150, messages: 15_000, contacts: 10, files: 7_500 } },
  { account: "2", name: "Beta", counts: { conversations: 150, messages: 15_000, contacts: 10, files: 7_500 } },
  { account: "3", name: "Empty", counts: {} },
  { account: "9", name: null, counts: { messages: 11 } },
];

/** The log names the statement of each temporary file. */
function spilled(): string[] {
  const [, ...files] = server.log().split("LOG:  temporary file:");
  return files.map((text) => text.slice(text.indexOf("STATEMENT:")));
}

test("every account is counted, with and without a scan, by a capture that takes ranges over too, and nothing is written on the server's disk", async () => {
  const address = await makeDatabase("counted", TABLES);
  const scanned = await take(address);
  assert.deepEqual(scanned.capture.accounts, EXPECTED);
  const asked = await take(address, undefined, { stampedTableBytes: LARGE });
  assert.deepEqual(asked.capture.accounts, EXPECTED);
  await server.query("delete from messages where id <= 100", "counted");
  const next = await take(address, scanned);
  assert.ok(next.capture.rangesReused > 0);
  assert.deepEqual(
    next.capture.accounts.map(({ account, counts }) => [account, counts.messages]),
    [
      [null, 29_911],
      ["1", 14_950],
      ["2", 14_950],
      ["3", undefined],
      ["9", 11],
    ],
  );
  await server.query("select count(*) from (select created_at, id from messages order by 1, 2) sorted", "counted");
  while (!spilled().some((text) => text.includes("sorted"))) await sleep(5);
  const counting = spilled().filter(
    (text) => /count\(\*\)/.test(text.split("UTC [")[0] ?? "") && !text.includes("sorted"),
  );
  assert.deepEqual(counting, []);
});

test("what a database does not have is not counted, and what cannot be told by account is left out", async () => {
  const other =
    "create table messages (id bigint primary key, v text); create schema other; create table other.contacts (id bigint primary key, account_id int)";
  const { capture } = await take(await makeDatabase("foreign", other));
  assert.deepEqual(capture.accounts, [{ account: null, name: null, counts: {} }]);
});
