/** An account that is kept outside of a database notices whatever a copy has too little, too much, or otherwise. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { lastIn, startAccount } from "./account.ts";
import { VARIED_SETTINGS } from "./account-varied.ts";
import { startPostgres } from "./postgres.ts";

/** Each leaves the numbers of the commits as they are. */
const HARMS = [
  ["insert into account_third values (-1, 'lost')", /nothing is half|nothing else is there/],
  ["update account_large set body = left(body, -1) where n = 13", /large rows/],
  ["delete from account_moving where n = (select min(n) from account_moving)", /come and go/],
  ["update account_moving set weight = 2", /come and go/],
  ["alter table account_moving alter column weight type numeric", /rewritten/],
  ["delete from account_refilled where n = (select max(n) from account_refilled)", /emptied/],
  ["create table account_made_1 as select 1 as n", /made and dropped/],
  ["select setval('account_numbers', 1)", /sequence/],
  ["update account_balance set amount = amount + 1 where id = 1", /given to another/],
] as const;

test("a copy of a database that an account was kept of has just what its commits did", async () => {
  await using server = await startPostgres({ settings: VARIED_SETTINGS });
  const address = await server.createDatabase("desk");
  await using account = await startAccount(address, { pauseMs: 0, isVaried: true });
  while (account.entries.length < 60) await sleep(10);
  await account.stop();
  assert.equal(await lastIn(address), account.entries.length);
  for (const [harm, said] of HARMS) {
    await server.query(`create database harmed template desk`);
    await server.query(harm, "harmed");
    await assert.rejects(async () => await lastIn({ ...address, database: "harmed" }), said, harm);
    await server.query("drop database harmed");
  }
});
