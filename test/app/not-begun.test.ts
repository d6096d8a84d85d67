/** A run that cannot begin: who is told, and what of a broken configuration can still be read. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { waitUntilDue } from "../../src/app/due.ts";
import { runDay } from "../../src/app/run.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { isFailure } from "../../src/base/errors.ts";
import { formatInstant } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { ownMark } from "../../src/system/leftovers.ts";
import { HandClock } from "../harness/hand-clock.ts";
import { type Listener, startListener } from "../harness/told.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const SECRET = "canary-0123456789abcdef";

function surroundings(folder: TestFolder): Surroundings {
  return {
    signal: new AbortController().signal,
    progress: silent,
    env: {},
    cwd: folder.path,
    clock: new HandClock({ wakesAtOnce: true }),
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
}

async function runWith(folder: TestFolder, text: string): Promise<string | undefined> {
  const state = text.includes("state-dir:") ? "" : `state-dir: ${folder.at("state")}\n`;
  await writeFile(folder.at("chatkeep.yaml"), `${text}${state}`);
  try {
    await runDay({ config: "chatkeep.yaml" }, surroundings(folder));
    return undefined;
  } catch (error) {
    if (!isFailure(error)) throw error;
    return error.code;
  }
}

function settings(listener: Listener): string {
  return `notify:
  - { name: first, kind: generic, url: "${listener.url}/${SECRET}" }
  - { name: glad, kind: generic, url: "${listener.url}/glad", on: success }
ping: "${listener.url}/ping"
`;
}

const NAMED = `installation: { id: 6f1c0000-0000-4000-8000-000000000001, name: acme }
repositories: [{ name: primary, location: /var }]
`;

test("a configuration that is not valid is told to whom it names, and the dead-man's switch is called", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  assert.equal(await runWith(folder, `${NAMED}retention: { dayly: 3 }\n${settings(listener)}`), "config/invalid");
  assert.deepEqual(
    listener.told.map(({ path }) => path),
    [`/${SECRET}`, "/ping/fail"],
  );
  const told = JSON.parse(listener.told[0]?.body ?? "") as Record<string, unknown>;
  assert.equal(told["title"], "[chatkeep] acme: NO BACKUP was made");
  assert.equal(told["outcome"], "failure");
  assert.match(String(told["text"]), /error: .*chatkeep\.yaml:3:\d+: unknown key 'dayly'/);
  assert.ok(!String(told["text"]).includes(SECRET));
});

test("what cannot be read of it hinders nothing else", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  // No installation, a variable that is not set, and a channel list that makes no sense.
  assert.equal(await runWith(folder, `repositories: "\${NOWHERE}"\n${settings(listener)}`), "config/invalid");
  assert.match(listener.told[0]?.body ?? "", /"title":"\[chatkeep\] [^"]+: NO BACKUP was made"/);
  listener.told.length = 0;
  assert.equal(await runWith(folder, `${NAMED}notify: nobody\nping: "${listener.url}/ping"\n`), "config/invalid");
  assert.deepEqual(
    listener.told.map(({ path }) => path),
    ["/ping/fail"],
  );
  listener.told.length = 0;
  assert.equal(await runWith(folder, `${settings(listener)}installation: [`), "config/invalid");
  assert.deepEqual(listener.told, [], "no YAML at all");
});

test("a folder for the run's state that cannot be made is told, too", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  await writeFile(folder.at("file"), "");
  const text = `${NAMED}state-dir: ${folder.at("file")}/below\n${settings(listener)}`;
  assert.equal(await runWith(folder, text), "config/invalid");
  assert.match(listener.told[0]?.body ?? "", /no folder for the state of the daily run/);
});

test("who cannot be told keeps nobody else from being told, nor the failure from being shown", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  listener.answer = ({ path }) => ({ status: path.startsWith(`/${SECRET}`) ? 500 : 200 });
  assert.equal(await runWith(folder, `${NAMED}surplus: 1\n${settings(listener)}`), "config/invalid");
  assert.equal(listener.told.at(-1)?.path, "/ping/fail");
});

const HOUR = 3_600_000;

test("a container that is started again and again tells once a day that its run cannot begin", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const s = surroundings(folder);
  const start = async (text: string) => {
    await writeFile(folder.at("chatkeep.yaml"), text);
    await assert.rejects(waitUntilDue({ config: "chatkeep.yaml" }, s), (error) => isFailure(error, "config/invalid"));
    return listener.told.splice(0).map(({ path }) => path);
  };
  const state = `state-dir: ${folder.at("state")}\n`;
  const broken = `${NAMED}${state}surplus: 1\n${settings(listener)}`;
  assert.deepEqual(await start(broken), [`/${SECRET}`, "/ping/fail"]);
  assert.deepEqual(await start(broken), []);
  await s.clock.sleep(12 * HOUR);
  assert.deepEqual(await start(broken), []);
  assert.equal((await start(`${NAMED}${state}another: 1\n${settings(listener)}`)).length, 2, "that is another error");
  await s.clock.sleep(21 * HOUR);
  assert.equal((await start(`${NAMED}${state}another: 1\n${settings(listener)}`)).length, 2);
});

test("a run that meets one which hangs for more than a day tells so, once", async () => {
  await using folder = await temporaryFolder();
  await using listener = await startListener();
  const s = surroundings(folder);
  await s.clock.sleep(100 * HOUR);
  const own = folder.at("state", "6f1c0000-0000-4000-8000-000000000001");
  await mkdir(own, { recursive: true });
  const text = `${NAMED}state-dir: ${folder.at("state")}\n${settings(listener)}`;
  await writeFile(folder.at("chatkeep.yaml"), text);
  const meet = async (hours: number) => {
    const since = formatInstant(s.clock.now() - hours * HOUR);
    const holder = { id: "x", pid: process.pid, mark: ownMark(), began: "", since };
    await writeFile(`${own}/run.lock`, JSON.stringify(holder));
    await assert.rejects(runDay({ config: "chatkeep.yaml" }, s), (error) => isFailure(error, "run/locked"));
    return listener.told.splice(0);
  };
  assert.deepEqual(await meet(23), []);
  const told = await meet(25);
  assert.deepEqual(
    told.map(({ path }) => path),
    [`/${SECRET}`, "/ping/fail"],
  );
  assert.match(told[0]?.body ?? "", /another run is under way: process \d+, since /);
  assert.deepEqual(await meet(25), []);
});
