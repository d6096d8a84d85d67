/**
 * What can happen to a watch, its store and the line between: it is killed, cut off, refused and slowed down. Everything that was
 * acknowledged comes back, and no moment between is lacking. CHATKEEP_TEST_SEED repeats a run; CHATKEEP_TEST_KILLS and
 * CHATKEEP_TEST_AWAY_SECONDS make it shorter. Other faults are tried in watch-faults.test.ts.
 */
import assert from "node:assert/strict";
import { appendFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";
import { Failure } from "../../src/base/errors.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { startAccount } from "../harness/account.ts";
import { IS_ROOT } from "../harness/namespace.ts";
import { startInOwnNetwork } from "../harness/own-network.ts";
import { freePort, startPostgres, type TestAddress } from "../harness/postgres.ts";
import { mustRun } from "../harness/run.ts";
import { startS3 } from "../harness/s3.ts";
import { startS3Proxy } from "../harness/s3-proxy.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { ask, follow, type Gate, write } from "../job/continuous/following.ts";
import { newRepository } from "../repo/small-backup.ts";
import { isReady, readWatchStatus, startWatch, type Watching } from "../scenario/watched-desk.ts";
import { assertNothingLost, makeDesk, openAccountDesk, untilDurable } from "./account-desk.ts";

const KILLS = Number(process.env["CHATKEEP_TEST_KILLS"] ?? 40);
const AWAY_MS = Number(process.env["CHATKEEP_TEST_AWAY_SECONDS"] ?? 150) * 1000;
const seed = process.env["CHATKEEP_TEST_SEED"] ?? String(Date.now());
const ARGS = ["--mode", "stream", "--flush-every", "1s"];
const SETTINGS = ["max_slot_wal_keep_size=1GB"];
const PATIENCE_MS = 300_000;
const MIB = 1024 * 1024;

/** Waits until what is wrong is told, and for as long as it is to last. */
async function untilTold(watching: Watching, kind: string): Promise<void> {
  const lasting = sleep(AWAY_MS);
  await watching.until(`${kind} is told`, ({ findings }) => findings.some((one) => one.kind === kind));
  await lasting;
}

async function untilWell(watching: Watching, kind: string): Promise<void> {
  await watching.until(`${kind} is over`, ({ findings }) => findings.every((one) => one.kind !== kind));
}

test(`a watch is killed at ${KILLS} moments, and each time another goes on (CHATKEEP_TEST_SEED=${seed})`, async (t) => {
  const random = seededRandom(`${seed}/kills`);
  // A watch that is killed within seconds may get nothing stored, on a machine that is slow: the server has to keep all of it.
  await using desk = await openAccountDesk({ settings: ["max_slot_wal_keep_size=16GB"] });
  const { address } = desk.server;
  await using account = await startAccount(desk.installation.database, { isPersistent: true });
  const burst =
    "create table burst as select repeat(md5(g::text), 30) from generate_series(1, 20000) g; drop table burst";
  for (let kill = 1; kill <= KILLS; kill += 1) {
    await using watching = startWatch(desk, ARGS);
    // Some while it begins, some while a base is taken, some while spans are stored.
    if (random.below(3) > 0) await watching.until("it follows", ({ log }) => log !== null);
    if (random.below(2) > 0) await ask(address, burst);
    await sleep(random.below(4_000));
    await watching.kill();
  }
  await using last = startWatch(desk, ARGS);
  await last.until("it follows", ({ log }) => log !== null);
  // All may have been killed before their base was there, with much of the log in arrears by now.
  for (const end = performance.now() + PATIENCE_MS; (await desk.window()).ranges === 0; await sleep(500)) {
    const isLate = performance.now() >= end;
    assert.ok(!isLate, `a base is there: ${JSON.stringify(await readWatchStatus(desk))}\n${last.told()}`);
  }
  await assertNothingLost(desk, account, last, address);
  t.diagnostic(`${KILLS} kills, ${account.entries.length} commits`);
});

const skip = IS_ROOT ? false : "only root makes a network";

test("the network is cut for minutes, and nothing is lost", { skip }, async (t) => {
  await using server = await startInOwnNetwork(SETTINGS);
  await using folder = await temporaryFolder();
  const desk = await makeDesk({
    root: folder.path,
    address: server.bySocket,
    location: folder.at("repository"),
    env: {},
  });
  const { user, password, host, port, database } = server.inside;
  await appendFile(desk.config, `watch:\n  database-url: postgres://${user}:${password}@${host}:${port}/${database}\n`);
  const inside = ["nsenter", `--net=/proc/${server.pid}/ns/net`];
  const loopback = async (state: "up" | "down") => {
    await mustRun("nsenter", [...inside.slice(1), "ip", "link", "set", "lo", state]);
  };
  await using watching = startWatch(desk, ARGS, { within: inside });
  await watching.until("a base is there", isReady);
  // By the socket, which is no network.
  await using account = await startAccount(desk.installation.database);
  await untilDurable(watching, server.bySocket);
  await loopback("down");
  await untilTold(watching, "log-not-received");
  await loopback("up");
  await untilDurable(watching, server.bySocket);
  await untilWell(watching, "log-not-received");
  await assertNothingLost(desk, account, watching, server.bySocket);
  t.diagnostic(`cut for ${AWAY_MS / 1000} s, ${account.entries.length} commits`);
});

test("a bucket is away for minutes, and then slow, and nothing is lost", async (t) => {
  await using s3 = await startS3();
  // Nobody is given that port while it is away.
  const proxy = await startS3Proxy(s3.endpoint, await freePort());
  const location = `s3:${proxy.endpoint}/desk`;
  const port = Number(new URL(proxy.endpoint).port);
  await using desk = await openAccountDesk({ location, env: s3.env, settings: SETTINGS });
  const { address } = desk.server;
  await using watching = startWatch(desk, ARGS, desk);
  await watching.until("a base is there", isReady);
  await using account = await startAccount(desk.installation.database);
  await untilDurable(watching, address);
  await proxy[Symbol.asyncDispose]();
  await untilTold(watching, "log-behind");
  await using again = await startS3Proxy(s3.endpoint, port);
  await untilDurable(watching, address);
  await untilWell(watching, "log-behind");
  again.delayMs = 2_000;
  await sleep(AWAY_MS / 4);
  await untilDurable(watching, address);
  again.delayMs = 0;
  await assertNothingLost(desk, account, watching, address);
  t.diagnostic(`away for ${AWAY_MS / 1000} s, ${account.entries.length} commits`);
});

test("a file server is away for minutes, with every connection to it, and nothing is lost", async (t) => {
  await using sshd = await startSshd();
  await using desk = await openAccountDesk({
    location: sshd.location("repository"),
    env: sshd.env,
    settings: SETTINGS,
  });
  const { address } = desk.server;
  await using watching = startWatch(desk, ARGS, desk);
  await watching.until("a base is there", isReady);
  await using account = await startAccount(desk.installation.database);
  await untilDurable(watching, address);
  await sshd.away(async () => await untilTold(watching, "log-behind"));
  await untilDurable(watching, address);
  await untilWell(watching, "log-behind");
  await assertNothingLost(desk, account, watching, address);
  t.diagnostic(`away for ${AWAY_MS / 1000} s, ${account.entries.length} commits`);
});

/** Bytes. */
async function keptFor(address: TestAddress): Promise<number> {
  const kept = "max(pg_current_wal_lsn() - restart_lsn)::float8";
  const [row] = await ask(address, `select coalesce(${kept}, 0) as kept from pg_replication_slots`);
  return Number(row?.["kept"]);
}

test("before a server's disk fills with what is kept for us, it is given up, and followed anew", { skip }, async () => {
  const repository = await newRepository(createMemoryStore());
  const settings = ["max_slot_wal_keep_size=4GB", "min_wal_size=32MB", "max_wal_size=64MB", "checkpoint_timeout=30s"];
  await using server = await startPostgres({ settings, smallDiskBytes: 512 * MIB, isLogOnSmallDisk: true });
  await ask(server.address, "create table rows (id bigint generated always as identity, body text)");
  const gate: Gate = { refusal: undefined };
  const most = { gate, maxBytes: 32 * MIB, maxRetainedBytes: 128 * MIB };
  await using following = follow(server.address, { primary: repository }, most);
  await following.caughtUp();
  gate.refusal = new Failure("store/unreachable", "no answer");
  const patientUntil = performance.now() + 300_000;
  // More than the disk has, in steps that are each seen.
  for (let step = 0; step < 12; step += 1) {
    await write(server.address, 80_000);
    await ask(server.address, "truncate rows");
    await ask(server.address, "checkpoint");
    // By the server itself: what the watch knows of it is some seconds old.
    while ((await keptFor(server.address)) > most.maxRetainedBytes) {
      assert.ok(performance.now() < patientUntil, `what is kept is bounded: ${following.troubles.join(" ")}`);
      await sleep(100);
    }
  }
  assert.ok(following.troubles.includes("wal/given-up"), "it was given up");
  assert.doesNotMatch(server.log(), /No space left/);
  gate.refusal = undefined;
  await following.caughtUp();
  assert.ok(
    following.begun.some(({ gapped }) => gapped.includes("primary")),
    "and the gap is told",
  );
});
