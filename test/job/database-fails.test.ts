/** A database that fails in the middle of a capture: it ends loudly, with what happened, and the next one goes on. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { contentsOf, take } from "./captures.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

async function makeDatabase(name: string): Promise<TestAddress> {
  const address = await server.createDatabase(name);
  await server.query(
    `create table first (id bigint primary key, v text); insert into first select n, repeat('x', 2000) from generate_series(1, 500) n;
     create table last (id bigint primary key, v text); insert into last values (1, 'one');`,
    name,
  );
  return address;
}

/** Runs once, before the second range is read. */
function inTheMiddle(act: () => Promise<unknown>) {
  let ranges = 0;
  return async () => {
    ranges += 1;
    if (ranges === 2) await act();
  };
}

test("a role that loses a right meanwhile: the table is named, and with the right back all is saved", async () => {
  const owner = await makeDatabase("rights");
  await server.query("create role reader login; grant select on all tables in schema public to reader", "rights");
  const address = { ...owner, user: "reader" };
  const whole = await take(address);
  const beforeRange = inTheMiddle(async () => await server.query("revoke select on first, last from reader", "rights"));
  await assert.rejects(take(address, undefined, { beforeRange }), (error) => {
    return (
      isFailure(error, "database/denied") && /'reader' may not read table public\.(first|last)/.test(error.message)
    );
  });
  await server.query("grant select on all tables in schema public to reader", "rights");
  assert.deepEqual(contentsOf(await take(address, whole)), contentsOf(whole));
});

test("a server that crashes meanwhile: it is said, and the next capture has everything", async () => {
  const address = await makeDatabase("crashing");
  const whole = await take(address);
  const beforeRange = inTheMiddle(async () => {
    const victims = await server.query(
      "select pid from pg_stat_activity where datname = 'crashing' and pid <> pg_backend_pid() and application_name like 'chatkeep%' limit 1",
      "crashing",
    );
    const starts = () => server.log().split("database system is ready to accept connections").length;
    const known = starts();
    process.kill(Number(victims[0]?.["pid"]), "SIGKILL");
    while (starts() === known) await sleep(20);
  });
  await assert.rejects(take(address, undefined, { beforeRange }), (error) => isFailure(error, "database/unreachable"));
  assert.deepEqual(contentsOf(await take(address, whole)), contentsOf(whole));
});
