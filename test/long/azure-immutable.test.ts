/** An immutable repository on Azure, on a stand-in: what is used stays locked, and what somebody wrote over is read as it was. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { startVersionedAzure, type VersionedAzure } from "../harness/versioned-azure.ts";
import { readFolder } from "../harness/tree.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";

const DAY = 24 * 3_600_000;

let azure: VersionedAzure;
let desk: Desk;
let first: string;

before(async () => {
  azure = await startVersionedAzure();
  azure.createContainer("box");
  azure.createContainer("open", { hasImmutability: false });
  desk = await openDesk({
    isCheckout: true,
    hasProcesses: true,
    size: { messages: 200, conversations: 20, files: 20 },
  });
  await add("offsite", azure.location("box", "acme"), "30d");
  first = String((await offsite(["backup"]))["point"]);
});

after(async () => {
  await desk[Symbol.asyncDispose]();
  await azure[Symbol.asyncDispose]();
});

async function add(name: string, location: string, immutable: string): Promise<void> {
  await desk.summary(["init", "--yes", "--add", name, "--location", location], 0, { env: azure.env });
  const text = await readFile(desk.config, "utf8");
  const changed = text.replace(
    new RegExp(`^( *)(- )?location: "?${location}"?$`, "m"),
    `$&\n$1immutable: ${immutable}`,
  );
  assert.notEqual(changed, text);
  await writeFile(desk.config, changed);
}

async function offsite(args: readonly string[], status = 0): Promise<Record<string, unknown>> {
  return await desk.summary(["--repository", "offsite", ...args], status, { env: azure.env });
}

/** Every file that is there now, and none of them a lock of the repository. */
function assertLocked(): string[] {
  const names: string[] = [];
  for (const [name, { versions, isThere }] of azure.containers.get("box")?.blobs ?? []) {
    if (!isThere) continue;
    const policy = versions.at(-1)?.policy;
    assert.equal(policy?.mode, "locked", name);
    assert.ok((policy?.untilMs ?? 0) > Date.now() + 29 * DAY, name);
    assert.doesNotMatch(name, /locks\//);
    names.push(name);
  }
  return names;
}

test("after a backup every file is locked, those that init wrote too", () => {
  const names = assertLocked();
  assert.ok(names.includes("acme/config") && names.some((name) => name.includes("/keys/")));
});

test("what would run out within half the time is extended by the next backup; one after it asks for the config alone", async () => {
  const old = assertLocked();
  for (const name of old) {
    const version = azure.containers.get("box")?.blobs.get(name)?.versions.at(-1);
    assert.ok(version !== undefined);
    version.policy = { untilMs: Date.now() + 2 * DAY, mode: "locked" };
  }
  const { retention } = (await offsite(["backup"])) as { retention: { files: number; extended: number } };
  assert.equal(retention.extended, old.length);
  assertLocked();
  azure.requests.length = 0;
  const again = (await offsite(["backup"])) as { retention: { files: number; extended: number; until: string } };
  assert.equal(again.retention.extended, 0);
  assert.ok(again.retention.files > old.length && Date.parse(again.retention.until) > Date.now() + 29 * DAY);
  const shapes = azure.requests.map((line) => line.replaceAll(/[0-9a-f]{64}/g, "*"));
  assert.equal(shapes.filter((line) => line.includes("immutabilityPolicies")).length, 0);
  const last = shapes.lastIndexOf("PUT /desk/box/acme/snapshots/*");
  assert.deepEqual(
    shapes.slice(last + 1).filter((line) => line.startsWith("HEAD") && !line.includes("/locks/")),
    ["HEAD /desk/box/acme/config"],
  );
});

test("prune says what stays locked as earlier versions, and the credentials remove none of them", async () => {
  await offsite(["forget", first, "--yes"]);
  const pruned = (await offsite(["prune", "--max-unused", "0", "--yes"])) as {
    packs: { removed: number; repacked: number };
    retained?: { packs: number; until: string };
  };
  assert.equal(pruned.retained?.packs, pruned.packs.removed + pruned.packs.repacked);
  assert.ok(Date.parse(pruned.retained?.until ?? "") > Date.now() + 29 * DAY);
  const container = azure.client.getContainerClient("box");
  for await (const { name, versionId = "" } of container.listBlobsFlat({
    prefix: "acme/data/",
    includeVersions: true,
  })) {
    if (versionId === "") continue;
    await assert.rejects(
      container.getBlobClient(name).withVersion(versionId).delete(),
      /BlobImmutableDueToPolicy|OperationNotAllowedOnRootBlob/,
    );
  }
});

test("after every blob was written over and deleted, all is read and restored as of a moment before", async () => {
  const beforeAttack = new Date(Date.now() + 1).toISOString();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const container = azure.client.getContainerClient("box");
  for (const name of assertLocked()) {
    await container.getBlockBlobClient(name).upload("nothing", 7);
    await container.getBlockBlobClient(name).delete();
  }
  assert.equal((await desk.chatkeep(["--repository", "offsite", "list"], { env: azure.env })).status, 10);
  const then = async (args: readonly string[]) => await offsite([...args, "--at-time", beforeAttack]);
  assert.equal((await then(["verify", "--read-data"]))["errors"], 0);
  await then(["restore", "latest", "--to", `${desk.root}/restored`, "--yes"]);
  const restored = await readFolder(`${desk.root}/restored/storage`);
  assert.ok(Object.keys(restored).length > 10);
  const live = await readFolder(desk.installation.storageRoot);
  for (const [path, content] of Object.entries(restored)) assert.equal(live[path], content, path);
});

test("a container without version-level immutability is refused before anything is written, by backup and by doctor", async () => {
  await add("open", azure.location("open"), "{ for: 30d }");
  const { status, stderr } = await desk.chatkeep(["--repository", "open", "backup"], { env: azure.env });
  assert.equal(status, 2, stderr);
  assert.match(stderr, /has no version-level immutability\n.*hint: /);
  const { findings, facts } = (await desk.summary(["doctor"], 3, { env: azure.env })) as {
    findings: { message: string }[];
    facts: { name: string; value: string }[];
  };
  assert.equal(findings.filter(({ message }) => /has no version-level immutability/.test(message)).length, 1);
  assert.equal(facts.find(({ name }) => name === "files in 'open'")?.value, undefined);
});
