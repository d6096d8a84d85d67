/** A run that cannot begin: who is told, and what of a broken configuration can still be read. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { runDay } from "../../src/app/run.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
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
  await writeFile(folder.at("chatkeep.yaml"), text);
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
