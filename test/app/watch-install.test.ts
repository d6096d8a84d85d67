/** `watch --remove` and `--print`, without systemd: what is at the server, and what is printed. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { after, before, test } from "node:test";
import { parseAllDocuments } from "yaml";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { runWatchService, type WatchServiceFlags } from "../../src/app/watch-install.ts";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { openReplication } from "../../src/postgres/replication.ts";
import { createSlot, slotName } from "../../src/postgres/replication-slots.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
const ID = "6f1c0000-0000-4000-8000-00000000cafe";
const SLOT = slotName(ID);
let server: TestServer;
let folder: TestFolder;

before(async () => {
  folder = await temporaryFolder();
  server = await startPostgres();
  const { port } = server.address;
  await writeFile(
    folder.at("chatkeep.yaml"),
    `installation: { id: ${ID}, name: acme, kind: manual, database-url: "postgres://postgres@127.0.0.1:${port}/postgres", storage: ${folder.path} }
repositories: [{ name: primary, location: ${folder.at("repository")} }]
state-dir: ${folder.at("state")}
watch: { flush-every: 5s }
`,
  );
});
after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

async function service(flags: Partial<WatchServiceFlags>) {
  const s: Surroundings = {
    signal,
    progress: silent,
    env: { XDG_CONFIG_HOME: folder.at("config") },
    cwd: folder.path,
    clock: systemClock,
    person: undefined,
    redact: (value) => value,
    hide: () => {},
  };
  const none = { mode: undefined, flushEvery: undefined, interval: undefined, image: undefined };
  const all = { ...none, action: "remove", confirm: async () => true, ...flags } as const;
  return await runWatchService({ config: folder.at("chatkeep.yaml") }, all, s);
}

async function slots(): Promise<unknown[]> {
  return (await server.query("select slot_name from pg_replication_slots")).map((row) => row["slot_name"]);
}

test("the slot is dropped only with consent, and what is left is said", async () => {
  const none = await service({});
  assert.deepEqual([none.slot, none.findings], [{ name: SLOT, wasThere: false, isDropped: false }, []]);
  {
    await using session = await openReplication(server.address, { signal });
    await createSlot(session, SLOT, { isTemporary: false });
  }
  await mkdir(folder.at("state", ID), { recursive: true });
  await writeFile(folder.at("state", ID, "watch.json"), "{}");
  const asked: string[] = [];
  const kept = await service({ confirm: async (question) => asked.push(question) < 0 });
  assert.match(asked.join("\n"), /^Drop the replication slot 'chatkeep_6f1c/);
  assert.deepEqual(kept.slot, { name: SLOT, wasThere: true, isDropped: false });
  assert.deepEqual(
    kept.findings.map(({ kind, level }) => [kind, level]),
    [["slot-left", "warning"]],
  );
  assert.deepEqual(await slots(), [SLOT]);
  // Nobody is to take it for a watch that died.
  assert.equal(existsSync(folder.at("state", ID, "watch.json")), false);
  const dropped = await service({});
  assert.deepEqual([dropped.slot?.isDropped, dropped.findings], [true, []]);
  assert.deepEqual(await slots(), []);
  assert.ok(dropped.stays.some((line) => line.includes("'watch' in the configuration stays")));
});

test("a watch that no service runs is named by its own process, and its slot stays until it has ended", async () => {
  {
    await using session = await openReplication(server.address, { signal });
    await createSlot(session, SLOT, { isTemporary: false });
  }
  await mkdir(folder.at("state", ID), { recursive: true });
  const file = folder.at("state", ID, "watch.json");
  const report = { schema: 1, repositories: [], findings: [], host: hostname(), at: new Date().toISOString() };
  await writeFile(file, JSON.stringify({ ...report, pid: process.pid }));
  const going = await service({});
  assert.deepEqual([going.slot, going.findings.map(({ kind }) => kind)], [null, ["watch-goes-on"]]);
  assert.match(
    going.findings[0]?.message ?? "",
    new RegExp(`process ${process.pid} of this machine.*'${SLOT}' was left`),
  );
  assert.match(going.findings[0]?.hint ?? "", /^End it first: .* Then 'chatkeep watch --remove' again\.$/);
  assert.deepEqual([await slots(), existsSync(file)], [[SLOT], true]);
  // A temporary slot has a name of its own, and the watch says it.
  const log = { slot: { name: `${SLOT}_4711`, permanent: false } };
  await writeFile(file, JSON.stringify({ ...report, pid: process.pid, log }));
  assert.match((await service({})).findings[0]?.message ?? "", new RegExp(`'${SLOT}_4711' was left`));
  // One of another machine, or that has ended, is in nobody's way.
  await writeFile(file, JSON.stringify({ ...report, host: "elsewhere.example", pid: process.pid }));
  assert.deepEqual((await service({})).slot?.isDropped, true);
  assert.deepEqual([await slots(), existsSync(file)], [[], false]);
});

test("what is printed has the options that were given, and changes nothing", async () => {
  const { manifest } = await service({ action: "systemd", mode: "stream", flushEvery: "2s" });
  assert.match(manifest ?? "", /^ExecStart=.*"watch" "--mode" "stream" "--flush-every" "2s"$/m);
  const compose = await service({ action: "compose", image: "registry.example.com/chatkeep:1" });
  assert.match(compose.manifest ?? "", /^ {4}network_mode: service:postgres$/m);
  assert.match(compose.manifest ?? "", /^# Is the database's service called otherwise\?/m);
  const { manifest: pods, findings } = await service({ action: "kubernetes" });
  const kinds = parseAllDocuments(pods ?? "").map((document) => (document.toJS() as { kind: string }).kind);
  assert.deepEqual(kinds, ["PersistentVolumeClaim", "Deployment"]);
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    ["repository-not-in-pod"],
  );
});

const hasSystemd = existsSync("/run/systemd/system") ? "systemd runs here, and would be changed" : false;

test("where no systemd runs it is said what else there is", { skip: hasSystemd }, async () => {
  await assert.rejects(service({ action: "install" }), (error) => isFailure(error, "schedule/unsuitable"));
});
