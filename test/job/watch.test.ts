/** What a watch of a real server finds out by itself comes to be known: it is in its book, which is what is written down and told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import { watchLog } from "../../src/job/watch.ts";
import { WatchBook } from "../../src/job/watch-book.ts";
import { WatchedServer } from "../../src/job/watched-server.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { startPostgres } from "../harness/postgres.ts";
import { hasty, newRepository, reopen } from "../repo/small-backup.ts";
import { turnBit } from "./damaged-page.ts";
import { IDENTITY } from "./memory-desk.ts";

const PATIENCE_MS = 120_000;

function openBook(clock: Clock): WatchBook {
  return new WatchBook({
    program: "chatkeep test",
    host: "desk-1",
    pid: process.pid,
    mode: "stream",
    repositories: ["primary"],
    clock,
    rpoMs: 24 * 3_600_000,
  });
}

test("a base with damaged pages and a clock that is an hour behind are among a watch's findings, and in what it writes down", async () => {
  const settings = ["max_slot_wal_keep_size=1GB"];
  await using server = await startPostgres({ settings, hasChecksums: true });
  await server.query("create table filler as select n, repeat('x', 200) t from generate_series(1, 2000) n");
  await turnBit(server, server.address.database, "filler", 3);
  const repository = await newRepository(createMemoryStore());
  const clock = { ...hasty, now: () => hasty.now() - 3_600_000 };
  const book = openBook(clock);
  const said: string[] = [];
  const stop = new AbortController();
  const watching = watchLog({
    repositories: [{ name: "primary", open: async () => reopen(repository) }],
    identity: IDENTITY,
    server: new WatchedServer({
      address: server.address,
      replication: server.address,
      look: async (now) => now,
      say() {},
      signal: stop.signal,
    }),
    sources: () => assert.fail("there are no files"),
    book,
    program: "chatkeep test",
    clock,
    signal: stop.signal,
    flushMs: 100,
    maxRetainedBytes: 2 ** 40,
    isAccepted: async () => false,
    baseEveryMs: undefined,
    baseRate: undefined,
    rtoMs: undefined,
    replayRate: async () => 1,
    say: (line) => void said.push(line),
  });
  let failed: unknown;
  watching.catch((error: unknown) => (failed = error));
  const wanted = ["pages-damaged", "clock-differs"];
  const missing = () => wanted.filter((kind) => !book.findings.some((finding) => finding.kind === kind));
  for (const end = performance.now() + PATIENCE_MS; missing().length > 0; await sleep(50)) {
    if (failed !== undefined) throw failed;
    assert.ok(performance.now() < end, `${missing().join(" ")}; ${book.findings.map(({ kind }) => kind).join(" ")}`);
  }
  const { findings } = book.status;
  stop.abort(new Failure("run/cancelled", "the test is over"));
  await assert.rejects(watching, /the test is over/);
  const found = findings.filter(({ kind }) => wanted.includes(kind));
  const about = found.map(({ kind, subject, message }) => `${kind} ${subject ?? ""}: ${message}`).toSorted();
  assert.match(about[0] ?? "", /^clock-differs .*clock is (1 h|59 min) .* behind that of the database's server/);
  assert.match(about[1] ?? "", /^pages-damaged primary: .*'primary'/);
  assert.deepEqual(said, ["taking a base: there is none", "a base is in 'primary'"]);
});

test("a base that nobody is let in for any more has the server looked for, while the log's session goes on", async () => {
  await using server = await startPostgres({ settings: ["max_slot_wal_keep_size=1GB"] });
  await server.query("create role keeper login replication");
  const repository = await newRepository(createMemoryStore());
  const quick = {
    ...hasty,
    sleep: async (ms: number, aborts?: AbortSignal) => await hasty.sleep(Math.min(ms, 100), aborts),
  };
  const book = openBook(quick);
  const happened: string[] = [];
  const until = async (what: string, from: number) => {
    for (const end = performance.now() + PATIENCE_MS; !happened.slice(from).includes(what); await sleep(20)) {
      if (failed !== undefined) throw failed;
      assert.ok(performance.now() < end, `${what}: ${book.findings.map(({ message }) => message).join(" ")}`);
    }
  };
  const stop = new AbortController();
  const watching = watchLog({
    repositories: [{ name: "primary", open: async () => reopen(repository) }],
    identity: IDENTITY,
    server: new WatchedServer({
      address: server.address,
      replication: { ...server.address, user: "keeper" },
      look: async ({ address }) => {
        happened.push("look");
        return { address, replication: server.address };
      },
      say() {},
      signal: stop.signal,
    }),
    sources: () => assert.fail("there are no files"),
    book,
    program: "chatkeep test",
    clock: quick,
    signal: stop.signal,
    flushMs: 100,
    maxRetainedBytes: 2 ** 40,
    isAccepted: async () => false,
    baseEveryMs: 1,
    baseRate: undefined,
    rtoMs: undefined,
    replayRate: async () => 1,
    say: (line) => void (line.startsWith("a base is in") && happened.push("base")),
  });
  let failed: unknown;
  watching.catch((error: unknown) => (failed = error));
  try {
    await until("base", 0);
    // A role that may replicate and no more is enough, as docs/continuous.md says.
    assert.ok(!happened.includes("look"));
    await server.query("alter role keeper nologin");
    await until("look", 0);
    await until("base", happened.indexOf("look"));
  } finally {
    stop.abort(new Failure("run/cancelled", "the test is over"));
    await assert.rejects(watching, /the test is over/);
  }
});
