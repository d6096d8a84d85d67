/**
 * The program `watch` over a failover: the primary is killed, a standby takes its place behind the same address, and lacks what the
 * primary wrote last. It is followed on with a slot of its own, and what only the old one had is kept and told.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { slotName } from "../../src/postgres/replication-slots.ts";
import { parseMoment } from "../../src/point/moment.ts";
import { startAccount, TABLES } from "../harness/account.ts";
import { runCli } from "../harness/cli.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { type Standby, startStandby } from "../harness/standby.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { startListener } from "../harness/told.ts";
import { ask } from "../job/continuous/following.ts";
import { isReady, startWatch } from "../scenario/watched-desk.ts";
import { makeDesk, untilDurable } from "./account-desk.ts";

const ARGS = ["--mode", "stream", "--flush-every", "1s"];
/** No commit is there but those of the test, and what is acknowledged is on the disk. */
const SETTINGS = ["max_slot_wal_keep_size=1GB", "autovacuum=off", "synchronous_commit=on"];
const KIND = "failover-left-behind";

interface Front extends AsyncDisposable {
  readonly port: number;
  /** Every connection is cut, and new ones lead to that port. */
  leadTo(port: number): void;
}

/** One address, behind which servers take turns. */
async function startFront(port: number): Promise<Front> {
  let target = port;
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const other = connect(target, "127.0.0.1");
    for (const [one, peer] of [
      [socket, other],
      [other, socket],
    ] as const) {
      open.add(one);
      one.on("error", () => {});
      one.once("close", () => {
        open.delete(one);
        peer.destroy();
      });
      one.pipe(peer);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    leadTo(next) {
      target = next;
      cut();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      cut();
    },
  };
}

/** As an account's commit of that number. */
async function commit(address: TestAddress, n: number): Promise<void> {
  const inserts = TABLES.map((table) => `insert into ${table} values (${n}, repeat(md5('${n}'), 8))`);
  await ask(address, `begin; ${inserts.join("; ")}; commit`);
}

/** What the primary writes from now on does not come to its standby. */
async function cutOff(primary: TestServer, standby: Standby): Promise<void> {
  await standby.caughtUp();
  await standby.query("alter system set primary_conninfo = ''");
  await standby.query("select pg_reload_conf()");
  const receivers = "select 1 from pg_stat_replication where application_name = 'walreceiver'";
  while ((await primary.query(receivers)).length > 0) await sleep(20);
}

test("a failover: the promoted server is followed on without a gap, and what the old one wrote alone is kept and told", async () => {
  await using folder = await temporaryFolder();
  await using primary = await startPostgres({ settings: SETTINGS });
  await using standby = await startStandby(primary, SETTINGS);
  await using front = await startFront(primary.address.port);
  await using listener = await startListener();
  const address = { ...primary.address, port: front.port };
  const desk = await makeDesk({ root: folder.path, address, location: folder.at("repository"), env: {} });
  await appendFile(desk.config, `notify:\n  - { kind: generic, url: "${listener.url}/told" }\n`);
  const { database } = desk.installation.database;
  const at = ({ address: own }: TestServer) => ({ ...own, database });
  await using watching = startWatch(desk, ARGS);
  await watching.until("a base is there", isReady);
  const account = await startAccount({ ...address, database });
  await sleep(500);
  await account.stop();
  const shared = account.entries.length;
  await cutOff(primary, standby);
  for (let more = 1; more <= 3; more += 1) await commit(at(primary), shared + more);
  // No other commit may come to these.
  await untilDurable(watching, primary.address, { isFlushed: true });

  process.kill(primary.pid, "SIGKILL");
  await standby.promote();
  front.leadTo(standby.address.port);
  await commit(at(standby), shared + 1);
  const { findings } = await watching.until("it is followed, and told", (status) => {
    return status.log?.timeline === 2 && status.findings.some(({ kind, level }) => kind === KIND && level === "alarm");
  });
  await untilDurable(watching, standby.address);
  const [slot] = await standby.query(
    `select active from pg_replication_slots where slot_name = '${slotName(desk.id)}'`,
  );
  assert.equal(slot?.["active"], true, "it has a slot there");
  const told = findings.find(({ kind }) => kind === KIND);
  assert.equal(told?.level, "alarm");
  const [, from = "", to = ""] =
    /: 3 commits, from (lsn:1:\S+) to (lsn:1:\S+), the last of .* It is in 'primary'$/.exec(told.message) ?? [];
  assert.deepEqual(
    findings.filter(({ kind }) => kind === "log-gap"),
    [],
  );
  assert.deepEqual(await desk.window(), { ranges: 2, gaps: [] });
  const lastAt = async (word: string) => {
    const asked = parseMoment(word, Date.now());
    assert.ok(asked !== undefined, `${word} of ${told.message}`);
    return await desk.lastAt(asked);
  };
  assert.equal(await lastAt("now"), shared + 1);
  assert.equal(await lastAt(to), shared + 3);
  assert.equal(await lastAt(from), shared);
  // What the finding names to look at it does that.
  const chatkeep = async (...args: string[]) => await runCli(["--config", desk.config, ...args], { cwd: folder.path });
  const moments = await chatkeep("moments", ...(/'chatkeep moments (.*?)'/.exec(told.hint)?.[1] ?? "").split(" "));
  assert.equal(moments.stdout.match(/^lsn:1:/gm)?.length, 3, moments.stdout + moments.stderr);
  const diff = await chatkeep("diff", from, to);
  assert.match(diff.stdout, new RegExp(`${TABLES[0]}.*3`), diff.stdout + diff.stderr);
  const notices = () => listener.told.filter(({ body }) => body.includes(KIND)).length;
  while (notices() === 0) await sleep(100);
  await watching.stop();

  // One that begins knows it still, and tells nobody again.
  await using next = startWatch(desk, ARGS);
  await next.until("it follows", ({ log }) => log !== null);
  await commit(at(standby), shared + 2);
  await untilDurable(next, standby.address);
  const again = await next.until("it knows it", ({ base, findings: now }) => {
    return base !== null && now.some(({ kind, level }) => kind === KIND && level === "alarm");
  });
  assert.equal(again.findings.find(({ kind }) => kind === KIND)?.message, told.message);

  await next.until("it was told what is there", (status) => status.at > again.at);
  await next.stop();
  assert.equal(notices(), 1);
  assert.deepEqual(await desk.window(), { ranges: 2, gaps: [] });
});

test("where the promoted server has let go of its log by the time that it is followed, that is a gap, and a base is taken", async () => {
  const small = ["min_wal_size=32MB", "max_wal_size=32MB", "wal_keep_size=0"];
  await using folder = await temporaryFolder();
  await using primary = await startPostgres({ settings: [...SETTINGS, ...small] });
  await using standby = await startStandby(primary, [...SETTINGS, ...small]);
  await using front = await startFront(primary.address.port);
  const address = { ...primary.address, port: front.port };
  const desk = await makeDesk({ root: folder.path, address, location: folder.at("repository"), env: {} });
  const { database } = desk.installation.database;
  const first = startWatch(desk, ARGS);
  await first.until("a base is there", isReady);
  const account = await startAccount({ ...address, database });
  await sleep(500);
  await account.stop();
  await untilDurable(first, primary.address);
  await first.stop();
  const shared = account.entries.length;
  await commit({ ...address, database }, shared + 1);
  await standby.caughtUp();
  process.kill(primary.pid, "SIGKILL");
  await standby.promote();
  front.leadTo(standby.address.port);
  await standby.query("create table burst (body text)");
  for (let round = 0; round < 6; round += 1) {
    await standby.query("insert into burst select repeat(md5(g::text), 30) from generate_series(1, 20000) g");
    await standby.query("select pg_switch_wal()");
    await standby.query("checkpoint");
  }
  await using second = startWatch(desk, ARGS);
  await second.until("a base is taken behind the gap", ({ base, log, findings }) => {
    return (
      log?.timeline === 2 && base?.seconds !== null && base !== null && findings.every(({ kind }) => kind !== "log-gap")
    );
  });
  await commit({ ...address, database }, shared + 2);
  await untilDurable(second, standby.address);
  await second.stop();
  const { ranges, gaps } = await desk.window();
  assert.equal(ranges, 2, gaps.join());
  assert.ok(gaps.length > 0, "the gap is shown");
  assert.equal(await desk.lastAt({ kind: "now" }), shared + 2);
});
