/** What becomes of each kind of key that Chatwoot has in Redis, on a real one; and how it comes back. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import type { Clock } from "../../../src/base/clock.ts";
import { isFailure } from "../../../src/base/errors.ts";
import { onDatabase } from "../../../src/demo/database.ts";
import { redisStage, type RedisKept } from "../../../src/job/stages/redis-stage.ts";
import type { StageContext } from "../../../src/job/stages/stage.ts";
import { type RedisCommand, type RedisReply, RedisSession } from "../../../src/system/redis.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { freePort, startPostgres, type TestAddress, type TestServer } from "../../harness/postgres.ts";
import { startRedis, type TestRedis } from "../../harness/redis.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { contextOf, makeDatabase, planned, said, TestRecord } from "./stage-desk.ts";

let server: TestServer;
let redis: TestRedis;
let folder: TestFolder;
let address: TestAddress;

before(async () => {
  [server, redis, folder] = await Promise.all([startPostgres(), startRedis({ password: "p" }), temporaryFolder()]);
  address = await makeDatabase(server, "chatwoot");
  await onDatabase(address, async (client) => {
    await client.query(
      "insert into accounts (id, name, created_at, updated_at) values (1, 'a', now(), now()), (9, 'b', now(), now())",
    );
  });
});
after(async () => {
  await Promise.all([server.stop(), redis.stop(), folder[Symbol.asyncDispose]()]);
});
beforeEach(async () => {
  await redis.session.command("FLUSHALL");
});

const RESTORE = "20260301T020304-abcd";

async function context(others: { url?: string; fresh?: undefined; clock?: Clock } = {}): Promise<StageContext> {
  const environment = { REDIS_URL: others.url ?? redis.url, REDIS_PASSWORD: "p" };
  return await contextOf({
    address,
    folder: join(folder.path, RESTORE),
    environment,
    others: {
      ...("fresh" in others ? { fresh: undefined } : {}),
      ...(others.clock === undefined ? {} : { clock: others.clock }),
    },
  });
}

/** Every kind of key that Chatwoot 4 and its Sidekiq have, by what becomes of it. */
const KEYS: Record<"aside" | "dropped" | "renewed" | "left", readonly (readonly [string, string, ...string[]])[]> = {
  aside: [
    ["SET", "alfred:CHATWOOT_INSTALLATION_ONBOARDING", "true"],
    ["SET", "alfred:CONVERSATION::7::DRAFT_MESSAGE", '{"content":"née ✓"}'],
    ["SET", "alfred:CONVERSATION::7::MUTED", "true", "EX", "20000"],
    ["SET", "alfred:CONVERSATION::7", "4711", "EX", "3600"],
    ["LPUSH", "queue:default", '{"class":"SendReplyJob"}', '{"class":"HookJob"}'],
    ["LPUSH", "queue:scheduled_jobs", '{"class":"TriggerScheduledItemsJob"}'],
    ["ZADD", "schedule", "1900000000.5", '{"class":"ConversationReplyEmailJob"}'],
    ["ZADD", "retry", "1800000000", '{"class":"WebhookJob"}'],
  ],
  dropped: [
    ["SET", "alfred:V1:GLOBAL_CONFIG:INSTALLATION_NAME", '{"value":"Old"}', "EX", "86400"],
    ["SADD", "alfred:UNREAD_CONVERSATIONS::V1::ACCOUNT::1::INBOX::3", "7"],
    ["SET", "alfred:UNREAD_CONVERSATIONS::V2::ACCOUNT::1::FILTER::2::VERSION", "3"],
    ["SET", "alfred:AUTO_ASSIGNMENT_IN_FLIGHT::3", "1"],
    ["SET", "alfred:MESSAGE_SOURCE_KEY::wamid.1", "true"],
  ],
  renewed: [
    ["SET", "alfred:idb-cache-key-account-1-inbox", "1700000000", "EX", "60"],
    ["SET", "alfred:idb-cache-key-account-77-team", "1700000000", "EX", "60"],
  ],
  left: [
    ["ZADD", "dead", "1700000000", '{"class":"GoneJob"}'],
    ["SADD", "queues", "default", "scheduled_jobs"],
    ["SET", "stat:processed", "812"],
    ["HSET", "cron_job:trigger_imap_email_inboxes_job", "status", "enabled"],
    ["SADD", "cron_jobs", "cron_job:trigger_imap_email_inboxes_job"],
    ["SET", "velma:rack::attack:29:192.0.2.1", "4", "EX", "60"],
    ["RPUSH", "alfred:ROUND_ROBIN_AGENTS:3", "1", "2"],
    ["ZADD", "alfred:ONLINE_PRESENCE::1::USERS", "1700000000", "1"],
    ["HSET", "alfred:ONLINE_STATUS::1", "1", "busy"],
    ["SET", "alfred:USER_SSO_AUTH_TOKEN::1::t", "true", "EX", "300"],
    ["SET", "alfred:REAUTHORIZATION_REQUIRED:channel_email:2", "true"],
    ["SET", "alfred:AUTHORIZATION_ERROR_COUNT:channel_email:2", "3"],
    ["SET", "alfred:LATEST_CHATWOOT_VERSION", "4.15.1"],
    ["SET", "alfred:IMAP_DELETED_MESSAGE::2::abc", "1"],
    ["SET", "another:application", "untouched"],
  ],
};

async function fill(): Promise<void> {
  for (const commands of Object.values(KEYS)) await redis.session.pipeline(commands);
}

/** All keys with their bytes, by name; what has a time to live has a mark. */
async function contents(session: RedisSession = redis.session): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for await (const keys of session.scan("*")) {
    for (const key of keys) {
      const type = String(await session.command("TYPE", key));
      const read: Record<string, [string, ...string[]]> = {
        string: ["GET", key],
        list: ["LRANGE", key, "0", "-1"],
        zset: ["ZRANGE", key, "0", "-1", "WITHSCORES"],
        set: ["SMEMBERS", key],
        hash: ["HGETALL", key],
      };
      const value = await session.command(...(read[type] ?? ["TYPE", key]));
      const sorted = type === "set" && Array.isArray(value) ? value.map(String).toSorted() : value;
      const isTimed = Number(await session.command("TTL", key)) > 0;
      all[key] = `${type} ${JSON.stringify(sorted)}${isTimed ? " timed" : ""}`;
    }
  }
  return all;
}

const names = (kind: keyof typeof KEYS) => KEYS[kind].map(([, key]) => key);

const BROWSERS = ["1", "9"].flatMap((id) =>
  ["label", "inbox", "team"].map((kind) => `alfred:idb-cache-key-account-${id}-${kind}`),
);

/** What has to be there once the stage is done. */
async function assertClean(before: Record<string, string>): Promise<void> {
  const now = await contents();
  for (const key of names("aside")) {
    assert.equal(now[key], undefined, key);
    assert.equal(now[`chatkeep:before:${RESTORE}:{${key}}`], before[key], key);
  }
  for (const key of names("dropped")) assert.equal(now[key], undefined, key);
  for (const key of names("left")) assert.equal(now[key], before[key], key);
  for (const key of new Set([...BROWSERS, ...names("renewed")])) {
    const seconds = Number(/^string "(\d+)" timed$/.exec(now[key] ?? "")?.[1]);
    assert.ok(Math.abs(seconds - Date.now() / 1000) < 600, `${key}: ${now[key]}`);
    const left = Number(await redis.session.command("TTL", key));
    assert.ok(left > 71 * 3600 && left <= 72 * 3600, `${key} lives ${left} s`);
  }
  const known = names("left").length + names("aside").length + new Set([...BROWSERS, ...names("renewed")]).size;
  assert.equal(Object.keys(now).length, known, Object.keys(now).join("\n"));
}

/** What has to be there once it is undone: caches are not, browsers ask anew. */
async function assertAsBefore(before: Record<string, string>): Promise<void> {
  const now = await contents();
  for (const key of [...names("aside"), ...names("left")]) assert.equal(now[key], before[key], key);
  for (const key of names("dropped")) assert.equal(now[key], undefined, key);
  for (const key of new Set([...BROWSERS, ...names("renewed")]))
    assert.match(now[key] ?? "", /^string "\d+" timed$/, key);
}

test("every kind of key: put aside, deleted, renewed or left; and all of it back", async () => {
  await fill();
  const before = await contents();
  const plan = await redisStage.plan(await context());
  assert.deepEqual([plan.blockers, plan.findings], [[], []]);
  assert.match(
    plan.lines.join("\n"),
    /5 jobs of Sidekiq and 1 draft are put aside.*7 keys of caches.*the first set-up/,
  );
  assert.deepEqual(await contents(), before);

  const record = new TestRecord<RedisKept>();
  const result = await redisStage.apply(await context(), record);
  assert.equal(result.holds, undefined);
  assert.match(said(result), /5 jobs and 1 draft put aside, none of them deleted/);
  assert.match(said(result), /browsers of 2 accounts/);
  await assertClean(before);

  // Web and worker ran on the restored database meanwhile.
  await redis.session.command("LPUSH", "queue:default", '{"class":"NewJob"}');
  await redis.session.command("LPUSH", "queue:low", '{"class":"NewJob"}');
  await redis.session.command("SET", "alfred:V1:GLOBAL_CONFIG:INSTALLATION_NAME", "new");
  const undone = await redisStage.undo(await context(), record);
  assert.match(said(undone), /have their names again.*; 2 jobs that came since stay put aside/);
  await assertAsBefore(before);
  const now = await contents();
  assert.equal(now[`chatkeep:after:${RESTORE}:{queue:low}`], 'list ["{\\"class\\":\\"NewJob\\"}"]');
  assert.equal(now["queue:low"], undefined);

  const discarded = await redisStage.discard?.(await context(), record);
  assert.match(discarded?.lines.join("\n") ?? "", /2 keys that had been put aside are deleted/);
  assert.deepEqual(
    Object.keys(await contents()).filter((key) => key.startsWith("chatkeep:")),
    [],
  );
});

test("cut off at any command of it, it goes on, and so does the way back", async () => {
  for (const direction of ["apply", "undo"] as const) {
    for (let at = 1, isWhole = false; !isWhole; at += 7) {
      await redis.session.command("FLUSHALL");
      await fill();
      const before = await contents();
      const record = new TestRecord<RedisKept>();
      if (direction === "undo") {
        await redisStage.apply(await context(), record);
        await redis.session.command("LPUSH", "queue:default", '{"class":"NewJob"}');
      }
      isWhole = await cutAt(at, direction, record);
      if (direction === "apply") {
        await redisStage.apply(await context(), record);
        await assertClean(before);
      }
      await redisStage.undo(await context(), record);
      await assertAsBefore(before);
    }
  }
});

/** Lets so many commands through and then refuses every one, as a Redis does whose disk is full. True where they were enough. */
async function cutAt(count: number, direction: "apply" | "undo", record: TestRecord<RedisKept>): Promise<boolean> {
  const original = Reflect.get(RedisSession.prototype, "tryPipeline") as (
    this: RedisSession,
    commands: readonly RedisCommand[],
  ) => Promise<RedisReply[]>;
  let left = count;
  RedisSession.prototype.tryPipeline = async function tryPipeline(commands) {
    const some = commands.slice(0, left);
    left -= some.length;
    const replies = await original.call(this, some);
    if (some.length < commands.length) throw new Error("cut");
    return replies;
  };
  try {
    await redisStage[direction](await context(), record);
    return true;
  } catch (error) {
    if (!(error instanceof Error) || error.message !== "cut") throw error;
    return false;
  } finally {
    RedisSession.prototype.tryPipeline = original;
  }
}

test("a key that is written again is put aside beside the first, and nothing is written over", async () => {
  await redis.session.command("LPUSH", "queue:default", "first");
  const record = new TestRecord<RedisKept>();
  await redisStage.apply(await context(), record);
  await redis.session.command("LPUSH", "queue:default", "second");
  await redisStage.apply(await context(), record);
  const now = await contents();
  assert.equal(now[`chatkeep:before:${RESTORE}:{queue:default}`], 'list ["first"]');
  assert.equal(now[`chatkeep:before:${RESTORE}:1:{queue:default}`], 'list ["second"]');
  await redisStage.undo(await context(), record);
  assert.equal((await contents())["queue:default"], 'list ["first"]');
});

test("without a Redis it is said before the first change, the restore holds there, and goes on once there is one", async () => {
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  const patient = { url, clock: new HandClock({ wakesAtOnce: true }) };
  const plan = await redisStage.plan(await context(patient));
  assert.deepEqual(plan.blockers, []);
  assert.match(plan.lines.join("\n"), /once it can be reached/);
  assert.deepEqual(
    plan.findings.map(({ kind, level }) => [kind, level]),
    [["redis-not-ready", "warning"]],
  );
  assert.match(
    plan.findings[0]?.message ?? "",
    /nothing listens there; the restore goes on until the database is in place/,
  );
  const record = new TestRecord<RedisKept>();
  const held = await redisStage.apply(await context(patient), record);
  assert.match(held.holds ?? "", /nothing listens there\. The database is in place, and Chatwoot stays stopped/);
  assert.equal(record.kept, undefined);
  // Nothing was done, so nothing is to be undone, with or without a Redis.
  assert.deepEqual(await redisStage.undo(await context({ url }), record), { lines: [], findings: [] });

  await using late = await startRedis({ port, password: "p" });
  await late.session.command("SET", "alfred:CHATWOOT_INSTALLATION_ONBOARDING", "true");
  const done = await redisStage.apply(await context({ url }), record);
  assert.equal(done.holds, undefined);
  // What the stop before it said of a Redis that was down is over.
  assert.deepEqual(redisStage.settles, ["redis-not-ready", "redis-not-asked"]);
  assert.match(said(done), /page of the first set-up, .* is taken away/);
  assert.deepEqual(await redisStage.planUndo?.(await context({ url }), record), { blockers: [], findings: [] });
  await late.stop();
  const back = await redisStage.planUndo?.(await context(patient), record);
  assert.deepEqual(
    back?.blockers.map(({ kind }) => kind),
    ["redis-not-ready"],
  );
  assert.match(back?.blockers[0]?.hint ?? "", /an empty Redis will do\. Then call 'chatkeep rollback' again\./);
  // Gone between the look and the way back: it is told, and nobody waits for it.
  assert.equal(redisStage.undoIs, "spared");
  await assert.rejects(redisStage.undo(await context(patient), record), (error) => {
    assert.ok(isFailure(error, "redis/unreachable"));
    assert.match(error.hint ?? "", /are in it as 'chatkeep:before:20260301T020304-abcd:\*', .*Sidekiq/);
    return true;
  });
});

test("a Redis that refuses writes, or whose ACL lacks rights, holds the restore with what to do", async () => {
  await fill();
  const before = await contents();
  await redis.session.command("ACL", "SETUSER", "weak", "on", ">w", "~*", "+@read", "+@connection", "+scan");
  const weak = { REDIS_URL: redis.url.replace("//", "//weak:w@") };
  const weakContext = await contextOf({ address, folder: join(folder.path, RESTORE), environment: weak });
  const held = await redisStage.apply(weakContext, new TestRecord());
  assert.match(held.holds ?? "", /refuses \(as weak, with a password\): NOPERM.*The ACL of Redis does not give/);
  assert.deepEqual(await contents(), before);
});

test("where the database stays, Redis stays", async () => {
  await fill();
  assert.equal(await planned(redisStage, await context({ fresh: undefined })), "");
});
