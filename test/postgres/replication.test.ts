import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { connect } from "../../src/postgres/connect.ts";
import {
  openReplication,
  parseDuration,
  parseSize,
  refuseOtherCluster,
  type ReplicationSession,
} from "../../src/postgres/replication.ts";
import { wordsOf } from "../../src/postgres/replication-failures.ts";
import { adoptSlot, createSlot, dropSlot, readSlot, slotName } from "../../src/postgres/replication-slots.ts";
import type { WalStream } from "../../src/postgres/replication-stream.ts";
import { formatLsn, type Lsn, segmentName, segmentStart } from "../../src/wal/lsn.ts";
import { FLUSH, startPostgres, type TestServer } from "../harness/postgres.ts";
import { startStandby } from "../harness/standby.ts";

const { signal } = new AbortController();
const SEGMENT = 16 * 1024 * 1024;
let server: TestServer;

before(async () => {
  server = await startPostgres({ settings: ["max_slot_wal_keep_size=64MB", "min_wal_size=32MB", "max_wal_size=32MB"] });
  // Short, so that a consumer can be slower.
  await setPatience("2s");
  await server.query("create table rows (id bigint generated always as identity, body text)");
});
after(async () => {
  await server.stop();
});

const open = async (from: TestServer = server) => await openReplication(from.address, { signal });

/** The server's wal_sender_timeout, also for those who stream already. */
async function setPatience(timeout: string): Promise<void> {
  await server.query(`alter system set wal_sender_timeout = '${timeout}'`);
  await server.query("select pg_reload_conf()");
  while ((await server.query("show wal_sender_timeout"))[0]?.["wal_sender_timeout"] !== timeout) await sleep(20);
}

async function write(rows: number, to: TestServer = server): Promise<void> {
  await to.query(`insert into rows (body) select repeat(md5(g::text), 10) from generate_series(1, ${rows}) g`);
}

/** The end of the log as the server has it on its disk. */
async function flushed(of: TestServer = server): Promise<Lsn> {
  await of.query(FLUSH);
  await using session = await open(of);
  return (await session.identifySystem()).flushed;
}

/** What a stream gives up to a position. */
async function readTo(stream: WalStream, to: Lsn): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const { bytes } of stream) {
    parts.push(bytes);
    if (stream.received >= to) break;
  }
  return Buffer.concat(parts);
}

/** The same stretch out of the server's own files. */
async function logFiles(from: Lsn, to: Lsn, timeline: number, of: TestServer = server): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let at = segmentStart(from, SEGMENT); at < to; at += BigInt(SEGMENT)) {
    const name = segmentName(timeline, at, SEGMENT);
    const [row] = await of.query(`select pg_read_binary_file('pg_wal/${name}') as bytes`);
    parts.push(row?.["bytes"] as Buffer);
  }
  const all = Buffer.concat(parts);
  const skipped = Number(from - segmentStart(from, SEGMENT));
  return all.subarray(skipped, skipped + Number(to - from));
}

async function untilSlot(name: string, fits: (restart: Lsn | undefined) => boolean): Promise<void> {
  await using connection = await connect(server.address, { signal });
  for (;;) {
    if (fits((await readSlot(connection, name))?.restart)) return;
    await sleep(20);
  }
}

const failsWith = (code: Failure["code"], said: RegExp) => (error: unknown) => {
  assert(isFailure(error, code), `not ${code}: ${String(error)}`);
  assert.match(error.message, said);
  assert.notEqual(error.hint, undefined);
  return true;
};

async function startHere(session: ReplicationSession, slot?: string): Promise<{ stream: WalStream; from: Lsn }> {
  const { flushed: end, timeline } = await session.identifySystem();
  const from = segmentStart(end, SEGMENT);
  return { stream: await session.streamWal({ from, timeline, slot }), from };
}

const refused = (message: string) =>
  Object.assign(new Error(message), { code: "28000", routine: "ClientAuthentication" });

test("a lack of a line in pg_hba.conf is told of a server that speaks another language", () => {
  const words = "kein pg_hba.conf-Eintrag für Replikationsverbindung von Host";
  const from = (host: string, encryption: string) =>
    wordsOf(refused(`${words} »${host}«, Benutzer »a«, ${encryption}`));
  const entry = "no pg_hba.conf entry for replication connection from host";
  assert.equal(from("10.0.0.7", "keine Verschlüsselung"), `${entry} "10.0.0.7", user ""`);
  assert.equal(from("fe80::1", "SSL-Verschlüsselung"), `${entry} "fe80::1", user "", SSL encryption`);
  assert.equal(from("[local]", "keine Verschlüsselung"), `${entry} "[local]", user ""`);
  assert.equal(wordsOf(refused("Verbindung erfordert ein gültiges Client-Zertifikat")), "");
});

test("a server that speaks another language is understood, by a role that may not ask for English too", async () => {
  const language = process.env["LANGUAGE"];
  process.env["LANGUAGE"] = "de";
  const starting = startPostgres({ settings: ["lc_messages=C.UTF-8", "max_replication_slots=1"] });
  await using german = await starting.finally(() => {
    if (language === undefined) delete process.env["LANGUAGE"];
    else process.env["LANGUAGE"] = language;
  });
  await german.query("create role keeper login replication");
  await german.query("create role plain login");
  await assert.rejects(openReplication({ ...german.address, user: "plain" }, { signal }), /'plain' may not replicate/);
  for (let n = 0; n < 2; n += 1) await german.query("select pg_switch_wal()");
  await german.query("checkpoint");
  await german.query("select pg_create_physical_replication_slot('taken')");
  for (const user of ["postgres", "keeper"]) {
    await using session = await openReplication({ ...german.address, user }, { signal });
    await assert.rejects(createSlot(session, "another", { isTemporary: true }), (error) =>
      isFailure(error, "database/full"),
    );
    const stream = await session.streamWal({ from: BigInt(SEGMENT), timeline: 1 });
    await assert.rejects(readTo(stream, BigInt(2 * SEGMENT)), (error) => isFailure(error, "wal/gone"));
    if (user === "postgres") continue;
    // Not asked for again: each refusal is a line in the server's log.
    await using _again = await openReplication({ ...german.address, user }, { signal });
    assert.equal(german.log().match(/lc_messages/g)?.length, 1);
  }
});

test("what is streamed while rows are written is, byte for byte, what the server's files have", async () => {
  await using session = await open();
  assert.equal(await session.segmentBytes(), SEGMENT);
  const { stream, from } = await startHere(session);
  const writing = (async () => {
    for (let round = 0; round < 5; round += 1) await write(2_000);
    return await flushed();
  })();
  let to: Lsn | undefined;
  void writing.then((end) => (to = end));
  const parts: Buffer[] = [];
  let due = from;
  for await (const { start, bytes, serverEnd, serverTimeUs } of stream) {
    assert.equal(start, due);
    due += BigInt(bytes.length);
    assert(serverEnd >= start + BigInt(bytes.length));
    assert(serverTimeUs > 1_700_000_000_000_000n);
    parts.push(bytes);
    if (to !== undefined && stream.received >= to) break;
  }
  const got = Buffer.concat(parts);
  assert(got.equals(await logFiles(from, from + BigInt(got.length), 1)));
  // The stream was left, the session goes on.
  assert.match((await session.identifySystem()).systemId, /^\d{10,}$/);
});

test("a consumer that is slower than the server's patience is waited for, and nothing is lost", async () => {
  await using session = await open();
  // The server checkpoints meanwhile, and would remove what nobody holds.
  const { name } = await createSlot(session, "chatkeep_slow_consumer", { isTemporary: true });
  const { stream, from } = await startHere(session, name);
  // More than sockets and our own buffer hold together.
  for (let round = 0; round < 3; round += 1) await write(10_000);
  const to = await flushed();
  const pieces = stream[Symbol.asyncIterator]();
  const first = await pieces.next();
  assert(first.value !== undefined);
  // Longer than wal_sender_timeout twice.
  await sleep(4_500);
  const parts = [first.value.bytes];
  for (let next = await pieces.next(); next.value !== undefined; next = await pieces.next()) {
    parts.push(next.value.bytes);
    if (stream.received >= to) break;
  }
  await pieces.return();
  const got = Buffer.concat(parts);
  assert(got.equals(await logFiles(from, from + BigInt(got.length), 1)));
  assert(!server.log().includes("terminating walsender process due to replication timeout"));
});

test("a server that has nothing to send says how far it is, though nobody writes", async () => {
  await using session = await open();
  const { stream } = await startHere(session);
  let silent = 0;
  for await (const { bytes, serverEnd, start } of stream) {
    if (bytes.length > 0) continue;
    assert.equal(start, stream.received);
    assert(serverEnd <= start);
    silent += 1;
    if (silent === 3) break;
  }
});

test("a server that becomes less patient than it said is answered when it asks", async () => {
  await setPatience("1min");
  await using session = await open();
  const { stream } = await startHere(session);
  const pieces = stream[Symbol.asyncIterator]();
  await pieces.next();
  await setPatience("1s");
  // By ourselves we would say something after ten seconds: these come because the server asks for a sign of life.
  for (let asked = 0; asked < 5;) {
    const { value } = await pieces.next();
    assert(value !== undefined);
    if (value.bytes.length === 0) asked += 1;
  }
  await pieces.return();
  await setPatience("2s");
  assert(!server.log().includes("terminating walsender process due to replication timeout"));
});

test("a slot moves on by what was confirmed as durable, and by nothing else", async () => {
  const name = slotName("moves-on");
  await using connection = await connect(server.address, { signal });
  await using session = await open();
  const made = await adoptSlot(session, connection, name);
  assert.deepEqual([made.isPhysical, made.isTemporary, made.walStatus], [true, false, "reserved"]);
  assert(made.restart !== undefined && made.safeBytes !== undefined && made.safeBytes > 0);
  const { stream, from } = await startHere(session, name);
  await write(1_000);
  const to = await flushed();
  const pieces = stream[Symbol.asyncIterator]();
  while (stream.received < to) await pieces.next();
  const middle = from + (to - from) / 2n;
  stream.confirm({ written: to, flushed: middle });
  await untilSlot(name, (restart) => restart === middle);
  // Less than before moves nothing back, and what is confirmed last is told when the stream is left.
  stream.confirm({ written: from, flushed: from });
  stream.confirm({ written: to, flushed: to });
  await pieces.return();
  await untilSlot(name, (restart) => restart === to);
  const again = await adoptSlot(session, connection, name);
  assert.equal(again.restart, to);
  await dropSlot(session, connection, name);
  await dropSlot(session, connection, name);
  assert.equal(await readSlot(connection, name), undefined);
});

test("a slot that another reads from, or that is of another kind, is not taken", async () => {
  await using connection = await connect(server.address, { signal });
  await using ours = await open();
  const name = slotName("two-readers");
  await adoptSlot(ours, connection, name);
  const { stream, from } = await startHere(ours, name);
  const pieces = stream[Symbol.asyncIterator]();
  await pieces.next();
  await using theirs = await open();
  await assert.rejects(
    adoptSlot(theirs, connection, name),
    failsWith("wal/slot-in-use", /is read from by process \d+/),
  );
  const second = await theirs.streamWal({ from, timeline: 1, slot: name });
  await assert.rejects(readTo(second, from + 1n), failsWith("wal/slot-in-use", /is active for PID \d+/));
  await pieces.return();
  await createSlot(ours, "chatkeep_for_a_while", { isTemporary: true });
  await assert.rejects(
    adoptSlot(theirs, connection, "chatkeep_for_a_while"),
    failsWith("wal/slot-in-use", /temporary one of another session/),
  );
  await ours.close();
  await untilSlot("chatkeep_for_a_while", (restart) => restart === undefined);
  await dropSlot(theirs, connection, name);
});

test("names of slots are PostgreSQL's, and no two installations share one", () => {
  assert.equal(slotName("chatwoot_production"), "chatkeep_chatwoot_production");
  const odd = ["Chatwoot", "chat.woot", "chat-woot", "chat_woot", "ö".repeat(80), "o".repeat(80), "o".repeat(81)];
  const names = odd.map(slotName);
  for (const name of names) assert.match(name, /^chatkeep_[a-z0-9_]{1,54}$/);
  assert.equal(new Set(names).size, odd.length);
});

test("what the server has removed, never had or is of another cluster is told apart", async () => {
  const begin = await flushed();
  for (let round = 0; round < 3; round += 1) {
    await server.query("select pg_logical_emit_message(false, 'test', repeat('x', 1000))");
    await server.query("select pg_switch_wal()");
    await server.query("checkpoint");
  }
  await using session = await open();
  const { systemId, timeline, flushed: end } = await session.identifySystem();
  const removed = await session.streamWal({ from: 16_777_216n, timeline });
  assert(begin > 16_777_216n);
  await assert.rejects(readTo(removed, begin), failsWith("wal/gone", /WAL segment .* has already been removed/));
  const ahead = await session.streamWal({ from: end + BigInt(SEGMENT) * 100n, timeline });
  await assert.rejects(readTo(ahead, end), failsWith("wal/gone", /ahead of the WAL flush position/));
  const other = await session.streamWal({ from: end, timeline: 7 });
  await assert.rejects(readTo(other, end), failsWith("wal/gone", /timeline 7/));
  // Each was an answer; the session is still good.
  refuseOtherCluster(await session.identifySystem(), systemId, server.address);
  assert.throws(
    () => refuseOtherCluster({ systemId: "1" }, systemId, server.address),
    failsWith("wal/other-cluster", /is 1, not/),
  );
});

test("a role without the right, and a database name in the way, are told with what allows it", async () => {
  await server.query("create role plain login");
  const address = { ...server.address, user: "plain" };
  await assert.rejects(openReplication(address, { signal }), (error) => {
    failsWith("database/denied", /'plain' may not replicate/)(error);
    assert(error instanceof Failure);
    assert.match(error.hint ?? "", /ALTER ROLE "plain" REPLICATION;/);
    return true;
  });
});

test("aborting ends a stream with the signal's reason, and a server that goes says so", async () => {
  const stop = new AbortController();
  await using session = await openReplication(server.address, { signal: stop.signal });
  const { stream } = await startHere(session);
  const reading = readTo(stream, 1n << 62n);
  const reason = new Failure("run/cancelled", "enough");
  stop.abort(reason);
  await assert.rejects(reading, reason);
  assert.equal(session.isOpen, false);

  await using other = await open();
  const { stream: cut } = await startHere(other);
  const ended = assert.rejects(readTo(cut, 1n << 62n), failsWith("database/unreachable", /./));
  await server.query("select pg_terminate_backend(pid) from pg_stat_replication");
  await ended;
});

test("a timeline that ends says which one follows, and the same session goes on with it", async () => {
  await using standby = await startStandby(server);
  await standby.caughtUp();
  await using session = await open(standby);
  const { flushed: end, timeline } = await session.identifySystem();
  assert.equal(timeline, 1);
  const from = segmentStart(end, SEGMENT);
  const stream = await session.streamWal({ from, timeline });
  const reading = readTo(stream, 1n << 62n);
  await standby.promote();
  const old = await reading;
  assert.deepEqual(stream.next, { timeline: 2, from: from + BigInt(old.length) });
  const { name, text } = await session.timelineHistory(2);
  assert.equal(name, "00000002.history");
  assert(text.includes(`1\t${formatLsn(stream.next.from)}\t`), text);
  // Whoever comes late is told the same without a byte.
  const late = await session.streamWal({ from: stream.next.from, timeline: 1 });
  assert.equal((await readTo(late, 1n << 62n)).length, 0);
  assert.deepEqual(late.next, stream.next);
  await write(100, standby);
  const to = await flushed(standby);
  const second = await session.streamWal({ from: segmentStart(stream.next.from, SEGMENT), timeline: 2 });
  const got = await readTo(second, to);
  const begin = segmentStart(stream.next.from, SEGMENT);
  assert(got.equals(await logFiles(begin, begin + BigInt(got.length), 2, standby)));
  assert(got.subarray(0, Number(stream.next.from - begin)).equals(old.subarray(Number(begin - from))));
  await assert.rejects(session.timelineHistory(9), isFailure);
});

test("sizes and times are read as SHOW writes them", () => {
  assert.deepEqual(["16MB", "1GB", "512kB"].map(parseSize), [16 * 1024 ** 2, 1024 ** 3, 512 * 1024]);
  assert.deepEqual(["1min", "0", "2s", "500ms", "1d"].map(parseDuration), [60_000, 0, 2_000, 500, 86_400_000]);
});
