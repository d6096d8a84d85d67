/** A watch whose server comes later, and one whose server was taken the place of by another, as the command line begins them. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readWatch } from "../../src/app/watched.ts";
import { loadConfig } from "../../src/app/config.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { runWatch } from "../../src/app/watch.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import type { WatchStatus } from "../../src/job/watch-book.ts";
import { createRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { callCli, summaryOf } from "../harness/cli.ts";
import { StoppedPostgres } from "../harness/stopped-postgres.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { type Listener, startListener } from "../harness/told.ts";
import { CHEAP } from "../repo/small-backup.ts";

const ID = "6f1c0000-0000-4000-8000-00000000cafe";
const PATIENCE_MS = 120_000;
const SETTINGS = ["max_slot_wal_keep_size=1GB"];
/** Who waits for half a second or more waits for less. */
const clock = {
  ...systemClock,
  sleep: async (ms: number, signal: AbortSignal) => await systemClock.sleep(Math.min(ms, 100), signal),
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

async function configure({ port, more = "" }: { port: number; more?: string }): Promise<string> {
  const path = folder.at("chatkeep.yaml");
  await writeFile(
    path,
    `installation: { id: ${ID}, name: acme, kind: manual, database-url: "postgres://postgres@127.0.0.1:${port}/postgres", storage: ${folder.path} }
repositories: [{ name: primary, location: ${folder.at("repository")}, password-file: ${folder.at("password")} }]
state-dir: ${folder.at("state")}
notify: [{ kind: generic, url: "${listener.url}" }]
${more}`,
  );
  return path;
}

function watch(config: string, mode: "auto" | "stream" | "interval") {
  const stop = new AbortController();
  const said: string[] = [];
  const s: Surroundings = {
    signal: stop.signal,
    progress: { ...silent, say: (line) => void said.push(line) },
    env: {},
    cwd: folder.path,
    clock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  const running = runWatch({ config }, { mode, flushEvery: "1s", interval: undefined }, s);
  let over: { error: unknown } | undefined;
  running.catch((error: unknown) => (over = { error }));
  const end = async () => {
    stop.abort(new Failure("run/cancelled", "the test is over"));
    await running.catch(() => {});
  };
  return {
    said,
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
  const config = await configure(server.address);
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

  await using second = watch(config, "stream");
  await second.until("it waits", (one) => one.mode === "waiting" && kindsOf(one).includes("log-not-received"));
  await server.start(SETTINGS);
  const begun = await second.until("it begins", (one) => one.log !== null && one.repositories[0]?.durable !== null);
  assert.deepEqual([begun.mode, begun.why], ["stream", null]);
  await second.until("nothing is wrong", (one) => !kindsOf(one).includes("log-not-received"));
  assert.equal(second.said.at(-1)?.startsWith("waiting"), false);
});

test("a server that takes the place of the one before is followed when somebody says so", async () => {
  await using other = await StoppedPostgres.make();
  await Promise.all([server.stop(), other.start(SETTINGS)]);
  const config = await configure(other.address);
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
});

test("what somebody must mend ends a watch at once, whether its server is there or not", async () => {
  await server.stop();
  await writeFile(folder.at("password"), "a wrong one\n", { mode: 0o600 });
  const config = await configure(server.address);
  await using watching = watch(config, "auto");
  await assert.rejects(watching.running, (error) => isFailure(error, "repo/wrong-password"));
});
