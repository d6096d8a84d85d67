/** What is left for a person where a database came back on another server than the one whose log was followed. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { newServerSteps } from "../../src/job/new-server-step.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { newRepository, signal } from "../repo/small-backup.ts";
import { LINE, putJournal } from "./continuous/spans.ts";

let server: TestServer;

before(async () => {
  server = await startPostgres();
});
after(async () => {
  await server.stop();
});

async function stepsAfter(followed: string | undefined, more: { isOwn?: boolean; isConfigured?: boolean } = {}) {
  const repository = await newRepository(createMemoryStore());
  if (followed !== undefined) await putJournal(repository, { at: 0, bytes: Buffer.alloc(16), systemId: followed });
  const { address } = server;
  const to = { address, installation: LINE.installation, isOwn: true, isConfigured: true, signal, ...more };
  return await newServerSteps(repository, to);
}

test("the command that says so is named where another cluster was followed, and nowhere else", async () => {
  const [row] = await server.query("select system_identifier::text as id from pg_control_system()");
  assert.deepEqual(await stepsAfter(undefined), []);
  assert.deepEqual(await stepsAfter(String(row?.["id"])), []);
  const [own = "", ...others] = await stepsAfter("7000000000000000001");
  assert.match(own, /^say 'chatkeep watch --new-server': this is another server than the one that was followed/);
  assert.deepEqual(others, []);
});

test("a database beside, and a machine without a configuration, have something before it", async () => {
  const [beside = ""] = await stepsAfter("7000000000000000001", { isOwn: false });
  assert.match(beside, /^when Chatwoot uses it, say 'chatkeep watch --new-server'/);
  const [anew = ""] = await stepsAfter("7000000000000000001", { isConfigured: false });
  assert.match(anew, /^bring the configuration back first \('chatkeep init --from'\), then say 'chatkeep watch/);
});

test("a server that does not answer any more keeps no restore from its end", async () => {
  const address = { ...server.address, port: 1, host: "127.0.0.1" };
  const repository = await newRepository(createMemoryStore());
  await putJournal(repository, { at: 0, bytes: Buffer.alloc(16), systemId: "7000000000000000001" });
  const to = { address, installation: LINE.installation, isOwn: true, isConfigured: true, signal };
  assert.deepEqual(await newServerSteps(repository, to), []);
});
