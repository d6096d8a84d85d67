/** A swap by a role that is no superuser, beside sessions that stay, and over a line that breaks. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTo, createServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { formatBytes } from "../../src/base/bytes.ts";
import { keptFindings, liveBlockers, swappedFindings } from "../../src/job/restore-live.ts";
import { planRollback, rollback } from "../../src/job/rollback.ts";
import type { ServerAddress } from "../../src/postgres/address.ts";
import { listKept } from "../../src/postgres/kept-databases.ts";
import { swapDatabases } from "../../src/postgres/swap.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";

const signal = new AbortController().signal;
const clock = systemClock;
let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

/** Two databases that say which one they are, and the live one's address for `user`. */
async function makePair(live: string, user = "postgres", owner = user): Promise<ServerAddress> {
  const address = await server.createDatabase(live, owner);
  await server.createDatabase(`${live}_fresh`, owner);
  for (const [name, word] of [
    [live, "old"],
    [`${live}_fresh`, "new"],
  ] as const) {
    await server.query(`create table here as select '${word}' as word; grant select on here to public`, name);
  }
  return { ...address, user };
}

async function wordIn(database: string): Promise<unknown> {
  return (await server.query("select word from here", database))[0]?.["word"];
}

async function swap(address: ServerAddress, { at = clock, patienceMs = 60_000 } = {}): Promise<string> {
  const live = address.database;
  const asked = { live, fresh: `${live}_fresh`, why: "before", point: "0123456789abcdef" } as const;
  return await swapDatabases(address, asked, { clock: at, signal, patienceMs });
}

test("a member that does not inherit the owner's rights is refused by the plan, whose statements are enough", async () => {
  await server.query("create role shop; create role runner login noinherit in role shop");
  const address = await makePair("members", "runner", "shop");
  const { blockers } = await liveBlockers(address, { signal });
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["database-no-swap"],
  );
  assert.match(
    blockers[0]?.message ?? "",
    /'runner' may not create databases, and does not inherit the rights of 'shop', which owns 'members'/,
  );
  const statements = /^Let an administrator run: (.*;) Or restore/.exec(blockers[0]?.hint ?? "")?.[1] ?? "";
  await server.query(statements);
  assert.deepEqual(await liveBlockers(address, { signal }), { blockers: [], findings: [] });
  await swap(address);
  assert.equal(await wordIn("members"), "new");
});

test("a session that our role may not end is told before, and keeps none behind it from being ended", async () => {
  await server.query("create role tenant login createdb");
  const address = await makePair("stays", "tenant");
  const open = async (user: string, name: string) => {
    const client = new Client({ ...address, user, application_name: name });
    const ended = new Promise<void>((resolve) => client.on("error", () => resolve()));
    await client.connect();
    return { client, ended };
  };
  const before_ = await open("tenant", "worker");
  const console_ = await open("postgres", "console");
  const behind = await open("tenant", "web");
  try {
    const { blockers, findings } = await liveBlockers(address, { signal });
    assert.deepEqual(
      [blockers, findings.map(({ kind, level }) => [kind, level])],
      [[], [["database-sessions", "warning"]]],
    );
    assert.match(
      findings[0]?.message ?? "",
      /may not end 1 session on 'stays': process \d+ of role 'postgres' \(console/,
    );
    await assert.rejects(
      swap(address, { patienceMs: 0 }),
      (error) => isFailure(error, "target/unsuitable") && /does not end: process \d+ .*\(console/.test(error.message),
    );
    await Promise.all([before_.ended, behind.ended]);
    assert.equal(await wordIn("stays"), "old");
  } finally {
    await console_.client.end();
    for (const { client } of [before_, behind]) await client.end().catch(() => {});
  }
  await swap(address);
  assert.equal(await wordIn("stays"), "new");
});

test("a member of pg_signal_backend ends sessions of others of which it may see nothing", async () => {
  await server.query("create role ender login createdb in role pg_signal_backend; create role guest login");
  const address = await makePair("guests", "ender");
  const guest = new Client({ ...address, user: "guest" });
  const ended = new Promise<void>((resolve) => guest.on("error", () => resolve()));
  await guest.connect();
  assert.deepEqual((await liveBlockers(address, { signal })).findings, []);
  await swap(address);
  await ended;
  assert.equal(await wordIn("guests"), "new");
});

/** A line to the server that breaks at the word that ends the swap: before the server hears it, or before we hear that it was done. */
async function breaking(moment: "before" | "after" | "for good"): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    const upstream = connectTo(server.address.port, server.address.host);
    sockets.add(client).add(upstream);
    for (const socket of [client, upstream]) socket.on("error", () => {});
    client.on("data", (bytes: Buffer) => {
      const isEnd = bytes.includes("commit\0");
      if (!isEnd || moment !== "before") upstream.write(bytes);
      if (isEnd) client.destroy();
      if (isEnd && moment === "for good") proxy.close();
    });
    client.on("close", () => upstream.end());
    upstream.on("data", (bytes) => client.destroyed || client.write(bytes));
    upstream.on("close", () => client.destroy());
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const bound = proxy.address();
  assert.ok(bound !== null && typeof bound === "object");
  return {
    port: bound.port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      if (!proxy.listening) return;
      proxy.close();
      await once(proxy, "close");
    },
  };
}

test("where the answer to the swap is lost, the server is asked which database has the name", async () => {
  const address = await makePair("lost");
  {
    await using line = await breaking("before");
    await assert.rejects(swap({ ...address, port: line.port }), (error) => isFailure(error, "database/unreachable"));
    assert.deepEqual([await wordIn("lost"), await listKept(address, { signal })], ["old", []]);
  }
  await using line = await breaking("after");
  const kept = await swap({ ...address, port: line.port });
  assert.deepEqual([await wordIn("lost"), await wordIn(kept)], ["new", "old"]);
});

test("where the server cannot be asked either, that is said, and by which call it is learned", async () => {
  const address = await makePair("silent");
  await using line = await breaking("for good");
  await assert.rejects(
    swap({ ...address, port: line.port }),
    (error) =>
      isFailure(error, "database/unreachable") &&
      error.message.endsWith("not known which one is called 'silent' now") &&
      /'chatkeep rollback --plan' says which/.test(error.hint ?? ""),
  );
  while ((await listKept(address, { signal })).length === 0) await systemClock.sleep(20);
  const plan = await planRollback(address, undefined, { signal });
  assert.match(plan.findings.map(({ message }) => message).join(), /'silent' came from restore point/);
});

function clockAt(time: string): Clock {
  return { ...systemClock, now: () => Date.parse(time) };
}

test("what is kept has the moment of the swap, and a rollback that is said twice goes back once", async () => {
  const address = await makePair("twice");
  const at = "2026-03-01T02:03:04.000Z";
  const oldest = await swap(address, { at: clockAt(at) });
  await server.createDatabase("twice_fresh");
  await server.query("create table here as select 'newer' as word", "twice_fresh");
  // In the same second: another name.
  const newest = await swap(address, { at: clockAt("2026-03-01T02:03:04.500Z") });
  assert.deepEqual([oldest, newest], ["twice_before_20260301T020304", "twice_before_20260301T020304_2"]);
  assert.deepEqual(
    (await listKept(address, { signal })).map((kept) => [kept.name, kept.at]),
    [
      [newest, "2026-03-01T02:03:04.500Z"],
      [oldest, at],
    ],
  );
  const plan = await planRollback(address, undefined, { signal });
  assert.equal(plan.back, newest);
  const { database } = await rollback(address, plan, { clock, signal });
  assert.equal(await wordIn("twice"), "new");
  await assert.rejects(
    planRollback(address, undefined, { signal }),
    (error) =>
      isFailure(error, "target/unsuitable") &&
      error.message.includes(
        `'twice' is what it put back, and what was live until then is kept as '${database.previous}'`,
      ) &&
      error.hint ===
        `'chatkeep rollback ${database.previous}' undoes that; any other is put back by its name, too. Kept besides: ${oldest}.`,
  );
  assert.match(swappedFindings(await listKept(address, { signal }))[0]?.message ?? "", /put back by a rollback/);
  // Named, each can be put back.
  await rollback(address, await planRollback(address, oldest, { signal }), { clock, signal });
  assert.equal(await wordIn("twice"), "old");
});

test("what doctor says of kept databases has the kind, the sizes that the server tells, and since when", async () => {
  const address = await makePair("told");
  const at = "2026-03-01T02:03:04.000Z";
  const kept = await swap(address, { at: clockAt(at) });
  assert.deepEqual(keptFindings([]), []);
  const own = await listKept(address, { signal });
  const [size] = await server.query(`select pg_database_size('${kept}')::int as bytes`);
  assert.deepEqual(
    own.map(({ name, bytes }) => [name, bytes]),
    [[kept, size?.["bytes"]]],
  );
  const bytes = formatBytes(Number(size?.["bytes"]));
  const [first] = own;
  assert.ok(first !== undefined);
  const [finding, ...others] = keptFindings([
    first,
    { ...first, name: "told_older", at: "2026-02-01T00:00:00.000Z", bytes: 20 * 1024 ** 2 },
  ]);
  assert.deepEqual([finding?.kind, finding?.level, others], ["database-kept", "note", []]);
  const all = formatBytes(Number(size?.["bytes"]) + 20 * 1024 ** 2);
  assert.equal(
    finding?.message,
    `earlier restores keep 2 databases of ${all} beside the live one: ${kept} (of ${at}, ${bytes}), told_older (of 2026-02-01T00:00:00.000Z, 20.0 MiB)`,
  );
});
