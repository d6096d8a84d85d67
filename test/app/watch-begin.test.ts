/** A watch whose server comes later, and one whose server was taken the place of by another, as the command line begins them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readWatch } from "../../src/app/watched.ts";
import { loadConfig } from "../../src/app/config.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { runWatch } from "../../src/app/watch.ts";
import { lookAgain, lookForServer } from "../../src/app/watch-begin.ts";
import { HappenedWriter, readHappened } from "../../src/app/watch-happened.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import { createRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { parseLsn } from "../../src/wal/lsn.ts";
import { callCli, startCli, summaryOf } from "../harness/cli.ts";
import { FLUSH } from "../harness/postgres.ts";
import { startStandInEngine, type StandInWorld } from "../harness/stand-in-engine.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { type Listener, startListener } from "../harness/told.ts";
import { longTest } from "../harness/whole.ts";
import { ENVIRONMENT, IMAGES, postgres, production } from "../installation/compose-shapes.ts";
import { ask } from "../job/continuous/following.ts";
import { CHEAP } from "../repo/small-backup.ts";
import { GIVEN_UP } from "./given-up.ts";

const ID = "6f1c0000-0000-4000-8000-00000000cafe";
const PATIENCE_MS = 120_000;
const skip = process.platform === "linux" ? false : "a container's own address is reached on Linux alone";
/** Every address of 127.0.0.0/8 is this machine's own, as those on a bridge are. */
const settings = (further: string) => ["max_slot_wal_keep_size=1GB", `listen_addresses=127.0.0.1,${further}`];
/** Who waits for half a second or more waits for less; who waits for a minute wants what no test here is about. */
const clock = {
  ...systemClock,
  sleep: async (ms: number, signal: AbortSignal) =>
    await systemClock.sleep(ms < 60_000 ? Math.min(ms, 100) : ms, signal),
};
let folder: TestFolder;
let listener: Listener;
let server: StoppedPostgres;

before(async () => {
  folder = await temporaryFolder();
  listener = await startListener();
  server = await StoppedPostgres.make();
  await writeFile(folder.at("password"), "the right one\n", { mode: 0o600 });
  await createRepository(openLocalStore(folder.at("repository")), {
    password: "the right one",
    clock: systemClock,
    hostname: "here",
    username: "me",
    cost: CHEAP,
    signal: new AbortController().signal,
  });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await listener[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

function manual(port: number): string {
  return `kind: manual, database-url: "postgres://postgres@127.0.0.1:${port}/postgres", storage: ${folder.path}`;
}

async function configure(installation: string): Promise<string> {
  const path = folder.at("chatkeep.yaml");
  await writeFile(
    path,
    `installation: { id: ${ID}, name: acme, ${installation} }
repositories: [{ name: primary, location: ${folder.at("repository")}, password-file: ${folder.at("password")} }]
state-dir: ${folder.at("state")}
notify: [{ kind: generic, url: "${listener.url}" }]
# No test waits for a base, and a slow one costs nothing.
watch: { base-rate: 32 }
`,
  );
  return path;
}

function surroundings(
  signal: AbortSignal,
  { env = {}, said = [], warned }: { env?: Surroundings["env"]; said?: string[]; warned?: string[] } = {},
): Surroundings {
  return {
    signal,
    progress: { ...silent, say: (line) => void said.push(line) },
    env,
    cwd: folder.path,
    clock,
    person: undefined,
    warn: (what) => void warned?.push(typeof what === "string" ? what : what.message),
    redact: (value) => value,
    hide: () => {},
  };
}

function watch(config: string, mode: "auto" | "stream" | "interval", env: Surroundings["env"] = {}) {
  const stop = new AbortController();
  const said: string[] = [];
  const warned: string[] = [];
  const s = surroundings(stop.signal, { env, said, warned });
  const running = runWatch({ config }, { mode, flushEvery: "1s", interval: undefined }, s);
  let over: { error: unknown } | undefined;
  running.catch((error: unknown) => (over = { error }));
  const end = async () => {
    stop.abort(new Failure("run/cancelled", "the test is over"));
    await running.catch(() => {});
  };
  return {
    said,
    warned,
    running,
    /** Waits until what it writes down of itself is as it should be. */
    async until(what: string, is: (status: WatchStatus) => boolean): Promise<WatchStatus> {
      for (const late = performance.now() + PATIENCE_MS; ; await sleep(20)) {
        const { report } = await readWatch(await loadConfig({ config }, s), s);
        if (report !== undefined && is(report)) return report;
        if (over !== undefined) throw over.error;
        assert.ok(performance.now() < late, `${what}: ${JSON.stringify(report)}\n${said.join("\n")}`);
      }
    },
    end,
    [Symbol.asyncDispose]: end,
  };
}

const kindsOf = ({ findings }: WatchStatus) => findings.map(({ kind }) => kind);

test("a watch whose server is not there yet says so and tells, ends when it is told to, and begins when the server is there", async () => {
  const config = await configure(manual(server.address.port));
  await using first = watch(config, "auto");
  const waiting = await first.until("it waits", (status) => kindsOf(status).includes("log-not-received"));
  assert.equal(waiting.mode, "waiting");
  assert.match(waiting.why ?? "", /^no PostgreSQL server answers \(/);
  assert.deepEqual(first.said, [`waiting for the database's server: ${waiting.why}`]);
  const status = await callCli(["--config", config, "status"], { cwd: folder.path });
  assert.match(status.stdout, /runs +yes.*\n +mode +none yet: it waits for the database's server, because no Postgre/);
  await first.until("a channel is told", () => listener.told.length > 0);
  assert.match(
    listener.told[0]?.body ?? "",
    /acme: continuous protection NEEDS YOU.*alarm: the log is not received: no P/,
  );
  await first.end();
  await assert.rejects(first.running, /the test is over/);

  const untilMs = systemClock.now() + 3 * LIMITS.watchEventMs;
  await new HappenedWriter({ path: folder.at("state", ID) }).write([{ key: "slot", findings: [GIVEN_UP], untilMs }]);
  await using second = watch(config, "stream");
  await second.until("what happened before is known", (one) => kindsOf(one).includes("slot-given-up"));
  const kept = async () =>
    (await readHappened({ path: folder.at("state", ID) })).map((one) => [one.key, one.untilMs < untilMs]);
  for (const late = performance.now() + PATIENCE_MS; (await kept())[0]?.[1] !== true; await sleep(20)) {
    assert.ok(performance.now() < late, "it is written down for the next one, and for no longer than a day");
  }
  await second.until("it waits", (one) => one.mode === "waiting" && kindsOf(one).includes("log-not-received"));
  await server.start(settings("127.0.0.2"));
  const begun = await second.until("it begins", (one) => one.log !== null && one.repositories[0]?.durable !== null);
  assert.deepEqual([begun.mode, begun.why], ["stream", null]);
  await second.until("nothing is wrong", (one) => !kindsOf(one).includes("log-not-received"));
  assert.equal(second.said.at(-1)?.startsWith("waiting"), false);
});

test(
  "a watch that is started before the engine waits for it; a database whose container is made anew is followed on at its new address, its log and its files",
  { skip },
  async () => {
    const made = (address: string) => {
      const shape = { POSTGRES_PORT: `${server.address.port}`, POSTGRES_DATABASE: "postgres" };
      const [web, worker, , redis] = production(folder.path, { environment: { ...ENVIRONMENT, ...shape } });
      return [web, worker, redis, postgres({ project: "chatwoot", ports: {}, address })].flatMap((one) => one ?? []);
    };
    const world: StandInWorld = { containers: made("127.0.0.2"), images: IMAGES };
    const socket = folder.at("docker.sock");
    await ask(
      server.address,
      "create table active_storage_blobs (id bigserial, key text, filename text, checksum text, byte_size bigint, service_name text, created_at timestamp default now())",
    );
    // What the watch before wrote down of itself says nothing of this one.
    await rm(folder.at("state", ID, "watch.json"));
    const env = { DOCKER_HOST: `unix://${socket}` };
    await using watching = watch(await configure("kind: docker-compose"), "stream", env);
    const waiting = await watching.until("it waits", (one) => kindsOf(one).includes("log-not-received"));
    assert.deepEqual([waiting.mode, waiting.why], ["waiting", `no Docker Engine listens at ${socket}`]);
    await using _engine = await startStandInEngine(world, socket);
    await watching.until("it is followed", ({ log }) => log !== null);

    await server.stop();
    world.containers = made("127.0.0.3");
    await server.start(settings("127.0.0.3"));
    await ask(
      server.address,
      "insert into active_storage_blobs (key, byte_size, service_name) values ('later', 1, 'local')",
    );
    await ask(server.address, FLUSH);
    const [row] = await ask(server.address, "select pg_current_wal_flush_lsn()::text as lsn");
    const to = parseLsn(String(row?.["lsn"]));
    await watching.until("the log goes on", ({ log }) => log !== null && parseLsn(log.durable) >= to);
    await watching.until("files are looked at", ({ repositories }) => repositories[0]?.filesWaiting === 1);
    const at = `postgres@127.0.0.3:${server.address.port}/postgres`;
    assert.deepEqual(
      watching.said.filter((line) => line.includes("elsewhere")),
      [`the log is asked for elsewhere now: ${at}`, `Chatwoot's database is elsewhere now: ${at}`],
    );
  },
);

test("what a server says that may pass is waited for, and no reason to do with less", async () => {
  // As a standby that ends whoever is in its way: to each it says no to SSL, and then that.
  const said = "SFATAL\0C40001\0Mterminating connection due to conflict with recovery\0\0";
  const answer = Buffer.alloc(5 + said.length, `E\0\0\0${String.fromCharCode(4 + said.length)}${said}`, "latin1");
  const standby = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => (data.length === 8 ? socket.write("N") : socket.end(answer)));
  });
  await once(standby.listen(0, "127.0.0.1"), "listening");
  try {
    const path = await configure(manual((standby.address() as AddressInfo).port));
    const s = surroundings(new AbortController().signal);
    const { config } = await loadConfig({ config: path }, s);
    for (const mode of ["auto", "stream"] as const) {
      const { server: looked } = await lookForServer({ config, mode }, s);
      assert.ok(isFailure(looked, "database/conflict"));
    }
  } finally {
    standby.close();
  }
});

test("while nobody answers, which way the log is had by cannot be told, and stays", async () => {
  await using other = await StoppedPostgres.make();
  const path = await configure(manual(other.address.port));
  const s = surroundings(new AbortController().signal);
  const { config } = await loadConfig({ config: path }, s);
  const before = { address: other.address, replication: { ...other.address, host: "127.0.0.2" } };
  const hosts = async () => {
    const { address, replication } = await lookAgain({ config, mode: "stream" }, before, s);
    return [address.host, replication.host];
  };
  assert.deepEqual(await hosts(), ["127.0.0.1", "127.0.0.2"]);
  await other.start(settings("127.0.0.2"));
  assert.deepEqual(await hosts(), ["127.0.0.1", "127.0.0.1"]);
});

test("a server that takes the place of the one before is followed when somebody says so", async () => {
  await using other = await StoppedPostgres.make();
  await Promise.all([server.stop(), other.start(settings("127.0.0.2"))]);
  const config = await configure(manual(other.address.port));
  await using watching = watch(config, "stream");
  await watching.until("it is another one", (status) => kindsOf(status).includes("other-cluster"));
  const ask = async (...args: readonly string[]) =>
    await callCli(["--config", config, "--json", "watch", "--new-server", ...args], { cwd: folder.path });
  const state = folder.at("state", ID, "watch-server.json");
  const unasked = await ask();
  assert.equal(unasked.status, 2, unasked.stderr);
  assert.match(unasked.stderr, /nobody confirmed that the server is the new one: nothing was changed/);
  await assert.rejects(readFile(state), /ENOENT/);

  const { server: accepted } = summaryOf((await ask("--yes")).stdout) as { server?: { systemId?: string } };
  const said = JSON.parse(await readFile(state, "utf8")) as Record<string, unknown>;
  assert.deepEqual([said["schema"], said["systemId"]], [1, accepted?.systemId]);
  const followed = await watching.until("it is followed", ({ log }) => log !== null);
  assert.equal(followed.log?.systemId, accepted?.systemId);
  await watching.until("nobody is told of it any more", (status) => !kindsOf(status).includes("other-cluster"));
  await watching.end();
  const about = watching.warned.filter((line) => /another one than|^stopped/.test(line));
  assert.deepEqual(
    about.map((line) => /^over|^stopped|^the log is not received/.exec(line)?.[0]),
    ["the log is not received", "over", "stopped"],
  );
});

longTest(
  "a watch that says only what somebody must see says an alarm while it goes on, and that it was stopped",
  async () => {
    await server.stop();
    const child = startCli(["--config", await configure(manual(server.address.port)), "--quiet", "watch"]);
    let stderr = "";
    child.stderr?.on("data", (data: Buffer) => {
      stderr += data.toString("utf8");
      if (stderr.includes("\n  ")) child.kill("SIGTERM");
    });
    const [status] = (await once(child, "close")) as [number];
    assert.equal(status, 130, stderr);
    assert.match(stderr, /^alarm: the log is not received: no PostgreSQL server answers \(.*\n {2}\S.*\n/);
    assert.match(stderr, /\nstopping cleanly\nstopped: the next watch goes on from where this one was\n$/);
  },
);

test("what somebody must mend ends a watch at once, whether its server is there or not", async () => {
  await server.stop();
  await writeFile(folder.at("password"), "a wrong one\n", { mode: 0o600 });
  const config = await configure(manual(server.address.port));
  await using watching = watch(config, "auto");
  await assert.rejects(watching.running, (error) => isFailure(error, "repo/wrong-password"));
});
