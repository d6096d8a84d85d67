/** Azure's versions and immutability policies, on a stand-in that keeps both. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { FileRef, Store, StoreSettings } from "../../src/store/store.ts";
import { startVersionedAzure, type VersionedAzure } from "../harness/versioned-azure.ts";

const { signal } = new AbortController();
const DAY = 24 * 3_600_000;
const NAME = "ab".repeat(32);
const OTHER = "cd".repeat(32);
const PACK: FileRef = { kind: "data", name: NAME };
const RETENTION = { retention: { forMs: 30 * DAY, mode: "compliance" } } as const;

async function open(azure: VersionedAzure, settings: StoreSettings = RETENTION): Promise<Store> {
  return await openStore(azure.location("box", "root"), { env: azure.env, settings });
}

function policyAt(azure: VersionedAzure, key: string) {
  return azure.containers.get("box")?.blobs.get(`root/${key}`)?.versions.at(-1)?.policy;
}

async function keep(store: Store, ref: FileRef) {
  assert.ok(store.retention !== undefined);
  return await store.retention.keep(ref, { nowMs: Date.now(), signal });
}

test("azure: every file but the repository's locks is written with a locked policy", async () => {
  await using azure = await startVersionedAzure();
  azure.createContainer("box");
  const store = await open(azure);
  const kinds = ["keys", "snapshots", "index", "data", "locks"] as const;
  for (const kind of kinds) await store.put({ kind, name: NAME }, Buffer.from("x"), { signal });
  await store.put({ kind: "config", name: "" }, Buffer.from("x"), { signal });
  for (const key of ["config", `keys/${NAME}`, `snapshots/${NAME}`, `index/${NAME}`, `data/ab/${NAME}`]) {
    const policy = policyAt(azure, key);
    assert.equal(policy?.mode, "locked", key);
    assert.ok((policy?.untilMs ?? 0) > Date.now() + 29 * DAY, key);
  }
  assert.equal(policyAt(azure, `locks/${NAME}`), undefined);
  await store.remove({ kind: "locks", name: NAME }, { signal });
  await store.close();
});

test("azure: what ends within half the time is extended to the whole of it, and a listing tells what need not be asked for", async () => {
  await using azure = await startVersionedAzure();
  azure.createContainer("box");
  const store = await open(azure);
  await store.put(PACK, Buffer.from("x"), { signal });
  assert.equal((await keep(store, PACK)).wasExtended, false);
  const blob = azure.containers.get("box")?.blobs.get(`root/data/ab/${NAME}`);
  assert.ok(blob?.versions[0] !== undefined);
  for (const days of [-3, 2, 14]) {
    blob.versions[0].policy = { untilMs: Date.now() + days * DAY, mode: "locked" };
    assert.equal((await keep(store, PACK)).wasExtended, true, `${days}`);
    assert.ok((policyAt(azure, `data/ab/${NAME}`)?.untilMs ?? 0) > Date.now() + 29 * DAY);
  }
  const [listed] = await Array.fromAsync(store.list("data", { signal }));
  assert.ok((listed?.retained?.untilMs ?? 0) > Date.now() + 29 * DAY);
  assert.ok(((await store.retention?.until(PACK, { signal })) ?? 0) > Date.now() + 29 * DAY);
  assert.equal(await store.retention?.until({ kind: "data", name: OTHER }, { signal }), undefined);
  await assert.rejects(keep(store, { kind: "data", name: OTHER }), (error) => isFailure(error, "store/not-found"));
  await store.close();
});

test("azure: a policy that can be lifted counts for none: it is locked, and made no shorter", async () => {
  await using azure = await startVersionedAzure();
  azure.createContainer("box");
  const store = await open(azure);
  await store.put(PACK, Buffer.from("x"), { signal });
  const blob = azure.containers.get("box")?.blobs.get(`root/data/ab/${NAME}`);
  assert.ok(blob?.versions[0] !== undefined);
  const longer = Math.floor(Date.now() / 1000) * 1000 + 90 * DAY;
  blob.versions[0].policy = { untilMs: longer, mode: "unlocked" };
  assert.equal((await Array.fromAsync(store.list("data", { signal })))[0]?.retained, undefined);
  assert.deepEqual(await keep(store, PACK), { untilMs: longer, wasExtended: true });
  assert.deepEqual(policyAt(azure, `data/ab/${NAME}`), { untilMs: longer, mode: "locked" });
  await store.close();
});

test("azure: a container without version-level immutability is refused; where nobody may ask, the first file tells", async () => {
  await using azure = await startVersionedAzure();
  const box = azure.createContainer("box", { hasImmutability: false });
  const store = await open(azure);
  await assert.rejects(
    async () => await store.retention?.check({ signal }),
    (error) => isFailure(error, "usage/invalid") && /version-level/.test(error.message),
  );
  await assert.rejects(store.put(PACK, Buffer.from("x"), { signal }), (error) => isFailure(error, "store/denied"));
  box.hasImmutability = true;
  await store.retention?.check({ signal });
  azure.containers.delete("box");
  await assert.rejects(
    async () => await store.retention?.check({ signal }),
    (error) => isFailure(error, "store/not-found"),
  );
  await store.close();
});

async function tick(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 3));
  const now = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 3));
  return now;
}

test("azure: each moment sees its own files and bytes, through all pages, after they were written over and deleted", async () => {
  await using azure = await startVersionedAzure();
  azure.createContainer("box");
  azure.pageSize = 2;
  const container = azure.client.getContainerClient("box");
  const write = async (name: string, text: string) =>
    await container.getBlockBlobClient(`root/snapshots/${name}`).upload(text, text.length);
  const before = await tick();
  await write(NAME, "one");
  await write(OTHER, "other");
  const first = await tick();
  await write(NAME, "three");
  const second = await tick();
  for (const name of [NAME, OTHER]) await container.getBlockBlobClient(`root/snapshots/${name}`).delete();
  const last = await tick();

  const moments: [number, Readonly<Record<string, string>>][] = [
    [before, {}],
    [first, { [NAME]: "one", [OTHER]: "other" }],
    [second, { [NAME]: "three", [OTHER]: "other" }],
    // Azure does not tell when a blob was deleted.
    [last, { [NAME]: "three", [OTHER]: "other" }],
  ];
  for (const [atMs, expected] of moments) {
    const store = await open(azure, { atMs });
    const seen: Record<string, string> = {};
    for await (const { name, sizeBytes } of store.list("snapshots", { signal })) {
      const bytes = await store.get({ kind: "snapshots", name }, { signal });
      assert.equal(bytes.length, sizeBytes);
      seen[name] = bytes.toString();
    }
    assert.deepEqual(seen, expected);
    assert.equal(await store.stat({ kind: "config", name: "" }, { signal }), undefined);
    const changes = [() => store.put(PACK, Buffer.from("y"), { signal }), () => store.remove(PACK, { signal })];
    for (const change of changes) await assert.rejects(change, (error) => isFailure(error, "store/denied"));
    await store.close();
  }
  const now = await open(azure, {});
  assert.deepEqual(await Array.fromAsync(now.list("snapshots", { signal })), []);
  await now.close();
});

test("azure: a container that never kept versions is refused", async () => {
  await using azure = await startVersionedAzure();
  azure.createContainer("box", { hasVersions: false, hasImmutability: false });
  const plain = await open(azure, {});
  await plain.put(PACK, Buffer.from("x"), { signal });
  const then = await open(azure, { atMs: Date.now() + 1000 });
  await assert.rejects(
    async () => await Array.fromAsync(then.list("data", { signal })),
    (error) => isFailure(error, "usage/invalid") && /no versions/.test(error.message),
  );
  await plain.close();
  await then.close();
});
