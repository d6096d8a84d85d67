import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addressInside, chooseMode, findWay, type WayToServer } from "../../src/app/watch-mode.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { type ErrorCode, type Failure, isFailure } from "../../src/base/errors.ts";
import type { ServerNetwork } from "../../src/installation/installation.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { connect } from "../../src/postgres/connect.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { connectInside } from "../../src/system/inside-network.ts";
import { IS_ROOT } from "../harness/namespace.ts";
import { type NetworkedServer, startInOwnNetwork } from "../harness/own-network.ts";
import { startPgbouncer } from "../harness/pgbouncer.ts";
import { startPostgres } from "../harness/postgres.ts";

const { signal } = new AbortController();
const s = { signal } as Surroundings;
const skip = IS_ROOT ? false : "only root enters other networks";
let server: NetworkedServer;
let network: ServerNetwork;
let inside: ServerAddress;

before(async () => {
  if (!IS_ROOT) return;
  server = await startInOwnNetwork();
  network = { name: "desk-postgres-1", port: server.inside.port, pid: async () => server.pid };
  const address = addressInside({ ...server.inside, host: "postgres" }, network);
  assert(address !== undefined);
  inside = address;
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
});

test("a server at 127.0.0.1 of its own network is reached from within that network", { skip }, async () => {
  await using connection = await connect(inside, { signal });
  const [row] = await connection.query<{ from: string }>("select host(inet_client_addr()) as from");
  assert.equal(row?.from, "127.0.0.1");
  // The connection is the process's own: the program that made it is gone, and what is large comes whole.
  const [large] = await connection.query<{ text: string }>("select repeat('x', 20000000) as text");
  assert.equal(large?.text.length, 20_000_000);
});

test("the log is streamed over such a connection", { skip }, async () => {
  await using session = await openReplication(inside, { signal });
  const { timeline, flushed } = await session.identifySystem();
  const from = flushed - (flushed % BigInt(await session.segmentBytes()));
  const stream = await session.streamWal({ from, timeline });
  await using connection = await connect(inside, { signal });
  await connection.query("create table noted as select generate_series(1, 20000) as id");
  let bytes = 0;
  for await (const part of stream) {
    bytes += part.bytes.length;
    if (bytes > 1_000_000) break;
  }
  assert(bytes > 1_000_000);
});

test("a signal cuts such a connection, and what is wrong in there is said", { skip }, async () => {
  const controller = new AbortController();
  const connection = await connect(inside, { signal: controller.signal });
  const asked = connection.query("select pg_sleep(600)");
  controller.abort(new Error("enough"));
  await assert.rejects(asked, /enough/);
  await assert.rejects(connectInside(server.pid, { host: "127.0.0.1", port: 1, signal }), (error) => {
    assert(isFailure(error, "database/unreachable"));
    assert.match(error.message, /nothing answers at 127\.0\.0\.1:1 inside the container: .*ECONNREFUSED/);
    return true;
  });
  await assert.rejects(connectInside(2 ** 22 + 1, { host: "127.0.0.1", port: 5432, signal }), (error) => {
    assert(isFailure(error, "database/unreachable"));
    assert.match(error.message, /the container's network cannot be entered: .*No such file/);
    return true;
  });
  await assert.rejects(connectInside(server.pid, { host: "127.0.0.1", port: 1, signal: controller.signal }), /enough/);
});

test(
  "where the server lets nobody in as the address is, the log is had through its container's network",
  { skip },
  async () => {
    await using connection = await connect(server.bySocket, { signal });
    const [row] = await connection.query<{ file: string }>("select current_setting('hba_file') as file");
    const file = row?.file ?? "";
    const was = await readFile(file, "utf8");
    // By the socket, as it stands for an address from which nobody may replicate.
    await writeFile(file, was.replace(/^local\s+replication.*$/m, ""));
    try {
      await connection.query("select pg_reload_conf()");
      for (let look = 0; look < 600; look += 1) {
        if ((await findWay({ address: server.bySocket, network: undefined }, s)).refused !== undefined) break;
        await sleep(100);
      }
      const way = { address: server.bySocket, network };
      const chosen = await chooseMode("auto", way, s);
      assert.equal(chosen.mode, "stream");
      assert.match(chosen.address.passage?.name ?? "", /in the container desk-postgres-1/);
      // Where that is no way either, the line is said that would change it.
      const told = await chooseMode("auto", { ...way, network: undefined }, s);
      assert.deepEqual([told.mode, told.address], ["interval", server.bySocket]);
      assert.match(told.why ?? "", /does not let 'postgres' replicate from its own machine by the socket/);
      assert.match(told.change ?? "", /^local replication postgres scram-sha-256 {2}It goes into '.*pg_hba\.conf'/);
      await assert.rejects(chooseMode("stream", { ...way, network: undefined }, s), (error) => {
        assert(isFailure(error, "database/denied"));
        assert.match(error.hint ?? "", /local replication postgres/);
        return true;
      });
      // A role that may not: the place is right, and the role is told.
      await connection.query("create role plain login password 'plain'");
      const plain = { ...server.bySocket, user: "plain", password: "plain" };
      const mayNot = await chooseMode("auto", { address: plain, network }, s);
      assert.deepEqual([mayNot.mode, mayNot.address], ["interval", plain]);
      assert.match(mayNot.change ?? "", /^ALTER ROLE "plain" REPLICATION;/);
    } finally {
      await writeFile(file, was);
      await connection.query("select pg_reload_conf()");
    }
  },
);

const far = Object.values(networkInterfaces())
  .flatMap((several) => several ?? [])
  .find(({ internal, family }) => !internal && family === "IPv4")?.address;
const noAddress = far === undefined ? "the machine has no address but loopback's" : false;

test(
  "a server that is named by another address of its own machine is asked at 127.0.0.1",
  { skip: noAddress },
  async () => {
    await using own = await startPostgres({ auth: "scram", settings: ["listen_addresses=*"] });
    const [row] = await own.query("show hba_file");
    const lines = ["host all all all scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"];
    await writeFile(String(row?.["hba_file"]), `${lines.join("\n")}\n`);
    await own.query("select pg_reload_conf()");
    const named = { ...own.address, host: far ?? "" };
    // The lines count for whoever comes after they were read: before that, nobody is let in from there, or everybody.
    let found = await findWay({ address: named, network: undefined }, s);
    for (let look = 0; look < 600 && found.address.host !== own.address.host; look += 1) {
      await sleep(100);
      found = await findWay({ address: named, network: undefined }, s);
    }
    assert.deepEqual(found, { address: own.address });
    // Who is not let in at all makes no points either, unless Chatwoot's own role can.
    const wrong = { address: { ...own.address, password: "wrong" }, network: undefined };
    for (const mode of ["auto", "stream"] as const)
      await assert.rejects(chooseMode(mode, wrong, s), (error) => isRefusal(error, "database/denied", /password/));
    const points = await chooseMode("auto", { ...wrong, database: own.address }, s);
    assert.deepEqual([points.mode, points.address], ["interval", wrong.address]);
    assert.match(points.why ?? "", /refuses the password of 'postgres'/);
    assert.match(points.change ?? "", /'watch\.database-url'/);
  },
);

async function onServer(settings: readonly string[], act: (way: WayToServer) => Promise<void>): Promise<void> {
  await using own = await startPostgres({ settings });
  await act({ address: own.address, network: undefined });
}

function isRefusal(error: unknown, code: ErrorCode, hint: RegExp): error is Failure {
  return isFailure(error, code) && !error.message.includes("\n") && hint.test(error.hint ?? "");
}

test("a server that has no log for anybody gets restore points, with the lines that would change it; one whose walsenders are in use is waited for", async () => {
  for (const { settings, why, change } of [
    {
      settings: ["wal_level=minimal", "max_wal_senders=0"],
      why: "the server writes too little into its log, and sends it to nobody (wal_level is minimal)",
      change:
        /^ALTER SYSTEM SET wal_level = 'replica'; ALTER SYSTEM SET max_wal_senders = 10; {2}A superuser runs both/,
    },
    {
      settings: ["max_replication_slots=0"],
      why: "the server has no replication slots (max_replication_slots is 0)",
      change: /^ALTER SYSTEM SET max_replication_slots = 10; {2}A superuser runs it, then the server is restarted/,
    },
  ]) {
    await onServer(settings, async (way) => {
      const chosen = await chooseMode("auto", way, s);
      assert.deepEqual([chosen.mode, chosen.why], ["interval", why]);
      assert.match(chosen.change ?? "", change);
      await assert.rejects(chooseMode("stream", way, s), (error) => {
        return isRefusal(error, "database/unsuitable", change) && error.message === why;
      });
    });
  }
  await onServer(["max_wal_senders=1"], async (way) => {
    await using busy = await openReplication(way.address, { signal });
    for (const mode of ["auto", "stream"] as const)
      await assert.rejects(chooseMode(mode, way, s), (error) => {
        return isRefusal(error, "database/full", /^Raise max_wal_senders/);
      });
    await busy.identifySystem();
  });
});

test("behind a pooler restore points are made, and the server's own address is asked for", async () => {
  await using own = await startPostgres();
  await using pooler = await startPgbouncer(own.address, { mode: "session", users: [{ name: own.address.user }] });
  const way = { address: { ...own.address, port: pooler.port }, network: undefined };
  const chosen = await chooseMode("auto", way, s);
  assert.deepEqual([chosen.mode, chosen.address], ["interval", way.address]);
  assert.equal(chosen.why, "a pooler stands between here and the server, and passes no replication on");
  assert.match(chosen.change ?? "", /^Give the server's own address/);
});
