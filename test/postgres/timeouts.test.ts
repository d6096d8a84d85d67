import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { silent } from "../../src/base/progress.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { loadDatabase } from "../../src/postgres/load.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { digestsOf, saveDatabase, toSource } from "./saved.ts";

const { signal } = new AbortController();
let server: TestServer;
let database: ServerAddress;

/** So short that no session comes as far as its first statement. */
const TIMEOUTS = ["statement", "lock", "idle_in_transaction_session", "idle_session"];

before(async () => {
  server = await startPostgres();
  await server.query("create role hasty login createdb");
  for (const name of TIMEOUTS) await server.query(`alter role hasty set ${name}_timeout = '1ms'`);
  database = { ...(await server.createDatabase("hurried", "hasty")), user: "hasty" };
  await server.query(
    `create table t (id int primary key, body text);
     insert into t select g, md5(g::text) from generate_series(1, 5000) g;
     create index on t (body); alter table t owner to hasty`,
    "hurried",
  );
});
after(async () => {
  await server.stop();
});

test("a session outlives timeouts of a millisecond, at rest too", async () => {
  await using connection = await connect(database, { signal });
  await sleep(30);
  await connection.query("select pg_sleep(0.03)");
  await connection.query("begin");
  await sleep(30);
  assert.deepEqual(await connection.query("commit; select 1 as alive"), [{ alive: 1 }]);
});

test("a database is saved and loaded whatever timeouts its role has", async () => {
  const saved = await saveDatabase(database);
  const target = { ...(await server.createDatabase("hurried_back", "hasty")), user: "hasty" };
  await using folder = await temporaryFolder();
  await loadDatabase(target, await toSource(saved, join(folder.path, "schema.dump")), {
    programs: await findPrograms(server.major, { signal }),
    jobs: 2,
    progress: silent,
    signal,
  });
  assert.deepEqual(digestsOf(await saveDatabase(target)), digestsOf(saved));
});

/** As `/proc/net/tcp` writes 127.0.0.1 and a port. */
function onLoopback(port: number): string {
  return `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}

test("a session at rest asks for a sign of life after a minute", { skip: process.platform !== "linux" }, async () => {
  await using connection = await connect(database, { signal });
  const [row] = await connection.query<{ port: number }>("select inet_client_port() as port");
  const ends = [onLoopback(row?.port ?? 0), onLoopback(database.port)];
  const look = async () => {
    const sockets = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((line) => line.trim().split(/\s+/));
    // A port is used for several servers at once.
    return sockets.find((fields) => fields[1] === ends[0] && fields[2] === ends[1])?.[5] ?? "";
  };
  let timer = await look();
  // Until the last packet is acknowledged another timer runs. 2: keepalive. A hundred ticks are a second.
  for (let looks = 0; looks < 200 && !timer.startsWith("02:"); looks += 1) {
    await sleep(25);
    timer = await look();
  }
  const [kind, ticks] = timer.split(":");
  assert.equal(kind, "02", timer);
  assert.ok(Number.parseInt(ticks ?? "", 16) <= 60 * 100, timer);
});
