import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { openRedis } from "../../src/installation/redis.ts";
import { redisOf } from "../../src/chatwoot/environment.ts";
import { redisClients } from "../../src/system/redis-clients.ts";
import { connectRedis, type RedisAddress } from "../../src/system/redis.ts";
import { makeAuthority } from "../harness/certificates.ts";
import { freePort } from "../harness/postgres.ts";
import { startRedis, startSentinel, type TestRedis } from "../harness/redis.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const PASSWORD = "of-this-redis";
const { signal } = new AbortController();
let redis: TestRedis;

before(async () => {
  redis = await startRedis({ password: PASSWORD });
});
after(async () => {
  await redis.stop();
});

const at = (other: Partial<RedisAddress>): RedisAddress => ({ ...redis.address, ...other });

/** The failure of a connection that is tried once. */
async function refusal(address: RedisAddress): Promise<{ code: string; text: string }> {
  try {
    await using session = await connectRedis(address, { signal, patienceMs: 0 });
    throw new Error(`${session.shown} let us in`);
  } catch (error) {
    if (!isFailure(error)) throw error;
    assert.doesNotMatch(error.message, /\n/);
    assert.ok(error.hint !== undefined && error.hint !== "");
    assert.ok(!`${error.message}${error.hint}`.includes(PASSWORD));
    return { code: error.code, text: `${error.message} | ${error.hint}` };
  }
}

test("text goes in and comes out, and keys are found without holding anybody up", async () => {
  await using session = await connectRedis(redis.address, { signal });
  assert.equal(await session.command("SET", "a:1", "née ✓"), "OK");
  assert.equal(await session.command("GET", "a:1"), "née ✓");
  assert.equal(await session.command("GET", "a:none"), null);
  await session.pipeline(Array.from({ length: 2_500 }, (_, n) => ["SET", `many:${n}`, "x"] as const));
  const found = new Set<string>();
  for await (const keys of session.scan("many:*")) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 2_500);
  await session.command("FLUSHDB");
});

test("a wrong password, none, one too many, no server and no name are one line each, with what to do", async () => {
  const wrong = await refusal(at({ password: "wrong" }));
  assert.equal(wrong.code, "redis/denied");
  assert.match(wrong.text, /its default user, with a password\): WRONGPASS .*REDIS_PASSWORD/);
  const { password: _, ...open } = redis.address;
  const none = await refusal(open);
  assert.equal(none.code, "redis/denied");
  assert.match(none.text, /without a password\): NOAUTH/);
  await using free = await startRedis();
  assert.match((await refusal(at({ port: free.port, password: "x" }))).text, /has no password, and .* names one/);
  const gone = await refusal(at({ port: await freePort() }));
  assert.equal(gone.code, "redis/unreachable");
  assert.match(gone.text, /nothing listens there \| Is it running\?/);
  assert.match((await refusal(at({ host: "redis.invalid" }))).text, /redis\.invalid:\d+ cannot be reached: the name /);
  assert.match(
    (await refusal(at({ host: "/nowhere/redis.sock" }))).text,
    /redis\.sock cannot be reached: there is no such/,
  );
  assert.match((await refusal(at({ database: 99 }))).text, /DB index is out of range \| REDIS_URL ends/);
  await assert.rejects(openRedis({}, { signal }), { code: "installation/invalid" });
});

test("what hangs up, or says nothing at all, is told and does not hold us up", async () => {
  const servers: Server[] = [];
  const listen = async (answer: string | undefined) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      if (answer !== undefined) socket.end(answer);
    }).listen(0, "127.0.0.1");
    servers.push(server);
    await once(server, "listening");
    return (server.address() as { port: number }).port;
  };
  try {
    assert.match((await refusal(at({ port: await listen("") }))).text, /cut the connection.*has to say 'rediss:'/);
    const secure = await refusal(at({ port: await listen(""), isSecure: true }));
    assert.match(secure.text, /cut the connection.*REDIS_URL says 'rediss:'/);
    const cut = new AbortController();
    const reason = new Error("stopped");
    const silent = at({ port: await listen(undefined) });
    const waiting = assert.rejects(connectRedis(silent, { signal: cut.signal }), reason);
    cut.abort(reason);
    await waiting;
  } finally {
    for (const server of servers) server.close();
  }
});

test("one that is still starting is waited for", async () => {
  const port = await freePort();
  const waiting = connectRedis({ ...redis.address, port }, { signal, patienceMs: 60_000 });
  await using late = await startRedis({ port, password: PASSWORD });
  await using session = await waiting;
  assert.equal(await session.command("PING"), "PONG");
  assert.equal(late.port, port);
});

test("with TLS, the certificate counts unless Chatwoot's environment says otherwise", async () => {
  await using folder = await temporaryFolder();
  const authority = await makeAuthority(folder.path, "root");
  const signed = await authority.sign("redis", ["localhost"]);
  const files = {
    "server.crt": await readFile(signed.certificate, "utf8"),
    "server.key": await readFile(signed.key, "utf8"),
    "root.crt": await readFile(authority.certificate, "utf8"),
  };
  const tlsPort = await freePort();
  await using _secure = await startRedis({
    password: PASSWORD,
    files,
    settings: [
      `tls-port ${tlsPort}`,
      "tls-cert-file server.crt",
      "tls-key-file server.key",
      "tls-ca-cert-file root.crt",
      "tls-auth-clients no",
    ],
  });
  const environment = { REDIS_URL: `rediss://localhost:${tlsPort}`, REDIS_PASSWORD: PASSWORD };
  const place = redisOf(new Map(Object.entries(environment)));
  assert.ok(place !== undefined);
  assert.match((await refusal(place)).text, /certificate that cannot be trusted.*REDIS_OPENSSL_VERIFY_MODE=none/);
  const any = redisOf(new Map(Object.entries({ ...environment, REDIS_OPENSSL_VERIFY_MODE: "none" })));
  await using session = await openRedis(any === undefined ? {} : { redis: any }, { signal });
  assert.equal(await session.command("PING"), "PONG");
});

test("through sentinels the master is found, wherever the application's names lead from here", async () => {
  await using master = await startRedis({ password: PASSWORD });
  await using sentinel = await startSentinel(master, {
    name: "main",
    password: "of-sentinels",
    masterPassword: PASSWORD,
  });
  const environment = {
    REDIS_SENTINELS: "sentinel-1:26379,sentinel-2",
    REDIS_SENTINEL_MASTER_NAME: "main",
    REDIS_SENTINEL_PASSWORD: "of-sentinels",
    REDIS_PASSWORD: PASSWORD,
  };
  const place = redisOf(new Map(Object.entries(environment)));
  assert.ok(place !== undefined);
  const closed = await freePort();
  const ways: Record<string, number> = { "sentinel-1": closed, "sentinel-2": sentinel.port };
  const reach = (host: string, port: number) => ({
    host: "127.0.0.1",
    port: ways[host] ?? port,
    through: "the container redis-1",
  });
  await using session = await openRedis({ redis: place, reach }, { signal, patienceMs: 0 });
  assert.equal(session.shown, `127.0.0.1:${master.port} (the container redis-1)`);
  await session.command("SET", "through", "sentinels");
  assert.equal(await master.session.command("GET", "through"), "sentinels");
  const other = openRedis({ redis: { ...place, host: "other" }, reach }, { signal, patienceMs: 0 });
  await assert.rejects(other, { code: "redis/failed", message: /knows no master with the name 'other'/ });
});

/** What an installation in containers says when a name leads nowhere. */
function failing(hint: string): () => never {
  return () => {
    throw new Failure("database/unreachable", "no container has the name 'redis'", { hint });
  };
}

test("where its name leads nowhere from here, that is told of Redis, without what would only help a database", async () => {
  const place = { redis: { ...redis.address, sentinels: [] } };
  const start = failing("Was it removed? Start it. Or give its address as 'database-url'.");
  await assert.rejects(openRedis({ ...place, reach: start }, { signal }), {
    code: "redis/unreachable",
    message: "no container has the name 'redis'",
    hint: "Was it removed? Start it.",
  });
  const forward = failing("Forward the port, and name 'database-url'.");
  await assert.rejects(openRedis({ ...place, reach: forward }, { signal }), { hint: /^Publish its port/ });
});

test("who else is connected is named, and what it is for Chatwoot; we ourselves are not", async () => {
  await using web = await connectRedis(redis.address, { signal });
  await using worker = await connectRedis(redis.address, { signal });
  await using elsewhere = await connectRedis(at({ database: 5 }), { signal });
  await using other = await connectRedis(redis.address, { signal });
  await other.command("CLIENT", "SETNAME", "");
  await web.command("CLIENT", "SETNAME", "ActionCable-PID-7");
  await worker.command("CLIENT", "SETNAME", "rails");
  await elsewhere.command("CLIENT", "SETNAME", "another-application");
  const blocked = worker.command("BRPOP", "queue:default", "60");
  await using ours = await connectRedis(redis.address, { signal });
  let seen = await redisClients(ours, 0);
  while (seen?.find(({ name }) => name === "rails")?.command !== "brpop") seen = await redisClients(ours, 0);
  const roles = Object.fromEntries(seen.map(({ name, role }) => [name, role]));
  assert.deepEqual(roles, { "": "unknown", "ActionCable-PID-7": "web", rails: "worker" });
  assert.match(seen[0]?.address ?? "", /^127\.0\.0\.1:\d+$/);
  await redis.session.command("LPUSH", "queue:default", "done");
  assert.deepEqual(await blocked, ["queue:default", "done"]);
});

test("a user who may not list clients, or write, is told what the ACL lacks", async () => {
  await redis.session.command("ACL", "SETUSER", "reader", "on", ">p", "~*", "+@read", "+ping", "+select");
  await using session = await connectRedis(at({ user: "reader", password: "p" }), { signal });
  assert.equal(await redisClients(session, 0), undefined);
  await assert.rejects(session.command("SET", "a", "b"), {
    code: "redis/denied",
    message: /as reader, with a password\): NOPERM/,
    hint: /RENAME/,
  });
});

test("a Redis that is gone in the middle, or a run that is stopped, ends what waits", async () => {
  const server = await startRedis();
  await using session = await connectRedis(server.address, { signal });
  const waiting = assert.rejects(session.command("BRPOP", "never", "0"), {
    code: "redis/unreachable",
    message: /cut the connection/,
  });
  await server.stop();
  await waiting;
  const cut = new AbortController();
  await using other = await connectRedis(redis.address, { signal: cut.signal });
  const reason = new Error("stopped");
  const blocked = assert.rejects(other.command("BRPOP", "never", "0"), reason);
  cut.abort(reason);
  await blocked;
  await assert.rejects(other.command("PING"), reason);
});
