/** Points that lack files, were rewritten, or share a name with another: the drill, the lists and a restore say so. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ChunkId } from "../../src/base/ids.ts";
import { storagePath } from "../../src/demo/files.ts";
import { dirNode, type TreeNode } from "../../src/format/node.ts";
import { encodeTree } from "../../src/format/tree.ts";
import type { PointReader } from "../../src/job/point-reader.ts";
import { Sealing } from "../../src/job/sealing.ts";
import type { DrillSummary, ListSummary, RestoreSummary } from "../../src/job/summaries.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { runBoundByModes } from "../harness/namespace.ts";
import { makeCheapToOpen, type OpenedDesk } from "../scenario/cheap-key.ts";
import { type Desk, openDesk } from "../scenario/desk.ts";
import { savedPoints } from "../scenario/saved-point.ts";

const { signal } = new AbortController();
let desk: Desk;
let opened: OpenedDesk;
let point: string;
/** The key of a file whose bytes are not those that were uploaded, and which is saved so. */
let altered: string;

before(async () => {
  desk = await openDesk({
    isCheckout: true,
    hasServerForDrills: true,
    size: { messages: 100, conversations: 20, files: 10 },
  });
  opened = await makeCheapToOpen(desk);
  const blobs = (await desk.server.query(
    "select key, byte_size::int as bytes from active_storage_blobs where byte_size > 1 order by id limit 2",
    "chatwoot_production",
  )) as { key: string; bytes: number }[];
  const [lost, other] = blobs;
  assert.ok(lost !== undefined && other !== undefined);
  await rm(storagePath(desk.installation.storageRoot, lost.key));
  altered = other.key;
  writeFileSync(storagePath(desk.installation.storageRoot, altered), Buffer.alloc(other.bytes, "altered"));
  point = String((await desk.summary(["backup"], 3))["point"]);
});

after(async () => await desk[Symbol.asyncDispose]());

async function reader(): Promise<PointReader> {
  const found = (await savedPoints(opened.repository)).find(({ point: { id } }) => id === point);
  assert.ok(found !== undefined);
  return found;
}

/** A node of the folder in another form; undefined leaves it out. */
type Change = (path: string, node: TreeNode) => TreeNode | undefined;

/** As `restic rewrite` leaves a point: the same name and time, another tree. Returns the new snapshot's id. */
async function rewrite(original: PointReader, change: Change, more: (tree: ChunkId) => TreeNode[]): Promise<string> {
  const { repository } = original;
  await repository.loadIndex({ signal });
  await using sealing = await Sealing.open({ repository, address: undefined, expectedChunks: 100, signal });
  const visit = async (path: string, tree: ChunkId): Promise<ChunkId> => {
    const nodes: TreeNode[] = [];
    for (const node of await repository.readTree(tree, { signal })) {
      const at = path === "" ? node.name : `${path}/${node.name}`;
      const kept = change(at, node);
      if (kept?.subtree === undefined) nodes.push(...(kept === undefined ? [] : [kept]));
      else nodes.push(dirNode({ name: kept.name, subtree: await visit(at, kept.subtree) }));
      if (at === "chatkeep/storage/local") nodes.push(...more(node.subtree ?? tree));
    }
    return await sealing.storeTree(encodeTree(nodes));
  };
  const { snapshot, snapshotId } = original.point;
  const tree = await visit("", snapshot.tree);
  await sealing.finish();
  return await repository.saveSnapshot({ ...snapshot, tree, original: snapshotId }, { signal });
}

function detailsOf(summary: Record<string, unknown>): Record<string, string> {
  const { checks } = summary as unknown as DrillSummary;
  return Object.fromEntries(checks.filter(({ ok }) => !ok).map(({ name, detail }) => [name, detail]));
}

test("a point of which a file was lost is proven without that file, and says so wherever it is called proven", async () => {
  const drilled = await desk.chatkeep(["drill", point]);
  assert.equal(drilled.status, 0, drilled.stderr);
  const words = /✓ proven: .*, without 1 file that was missing when it was taken$/m;
  assert.match(drilled.stdout, words);
  assert.match((await desk.chatkeep(["list"])).stdout, /✓ [a-z0-9 ]+ \(−1\)/);
  assert.match((await desk.chatkeep(["show", point])).stdout, /✓ proven .*, without 1 file that was missing/);
});

test("a drill reads files that were saved as they were found, counts what nobody lists, and misses configuration", async () => {
  const original = await reader();
  const dropped = (await original.folder("config"))?.find(({ type }) => type === "file")?.name;
  assert.ok(dropped !== undefined);
  const snapshotId = await rewrite(
    original,
    (path, node) => (path === `chatkeep/config/${dropped}` ? undefined : node),
    (tree) => [dirNode({ name: "elsewhere", subtree: tree })],
  );
  await withDamagedChunk(original, `storage/local/0/0/${altered}`, async () => {
    // Its exact id: the point as it was made has the same name, and comes first.
    const failed = detailsOf(await desk.summary(["drill", snapshotId], 1));
    assert.match(failed["files"] ?? "", /^1 file wrong: blob \d+: /);
    assert.match(failed["configuration-and-code"] ?? "", /config has \d+ of \d+ files/);
  });
  const failed = detailsOf(await desk.summary(["drill", snapshotId], 1));
  assert.match(failed["files"] ?? "", /^\d+ files that the database does not list/);
  const listed = (await desk.summary(["list"])) as unknown as ListSummary;
  assert.deepEqual(
    listed.points.map((line) => [line.point, line.provenAt !== null, line.failedDrill]),
    [
      [point, true, false],
      [point, false, true],
    ],
  );

  const to = join(desk.root, "short");
  const restored = (await desk.summary(
    ["restore", snapshotId, "--only", "config", "--to", to, "--yes"],
    3,
  )) as unknown as RestoreSummary;
  assert.match(
    restored.findings.find(({ kind }) => kind === "files-fewer-than-listed")?.message ?? "",
    /^1 config file of \d+ that the restore point lists came back short or not at all$/,
  );
  await desk.summary(["restore", point, "--only", "config,storage", "--to", join(desk.root, "whole"), "--yes"]);
});

/** While the work is done, one bit of the first chunk of a file of the point is flipped in the repository. */
async function withDamagedChunk(of: PointReader, path: string, work: () => Promise<void>): Promise<void> {
  const [chunk] = (await of.find(path))?.content ?? [];
  assert.ok(chunk !== undefined);
  const [location] = (await of.repository.loadIndex({ signal })).find("data", chunk);
  assert.ok(location !== undefined);
  const pack = join(desk.repository, "data", location.pack.slice(0, 2), location.pack);
  const good = readFileSync(pack);
  const bad = Buffer.from(good);
  bad[location.offset + 20] = (bad[location.offset + 20] ?? 0) ^ 1;
  chmodSync(pack, 0o600);
  writeFileSync(pack, bad);
  try {
    await work();
  } finally {
    writeFileSync(pack, good);
  }
}

test("one short file among many is told of, though as many files came out", async () => {
  const original = await reader();
  const files = (await original.folder("storage/local/0/0")) ?? [];
  const victim = files.find(({ name, size }) => name !== altered && Number(size) > 1);
  const donor = files.find(({ size }) => Number(size) === 0) ?? { content: [], size: 0 };
  assert.ok(victim !== undefined);
  const snapshotId = await rewrite(
    original,
    (path, node) =>
      path.endsWith(`/${victim.name}`) ? { ...node, content: donor.content, size: donor.size ?? 0 } : node,
    () => [],
  );
  const to = join(desk.root, "one-short");
  const args = ["restore", snapshotId, "--only", "storage", "--to", to, "--yes"];
  const { findings } = (await desk.summary(args, 3)) as unknown as RestoreSummary;
  assert.match(
    findings.find(({ kind }) => kind === "files-fewer-than-listed")?.message ?? "",
    /^1 uploaded file of \d+ that the restore point lists came back short or not at all$/,
  );
});

test("a folder that this user may not write is found before the database is made", async () => {
  const closed = join(desk.root, "closed");
  mkdirSync(closed, { mode: 0o500 });
  const { host, port, user, password } = desk.installation.database;
  const url = `postgresql://${user}:${password}@${host}:${port}/never_made`;
  const args = ["restore", point, "--to", join(closed, "below"), "--database-url", url, "--yes"];
  const result = await runBoundByModes(process.execPath, [CHATKEEP, "--config", desk.config, ...args], {
    cwd: desk.root,
  });
  assert.equal(result.status, 1, result.stderr);
  assert.match(result.stderr, /^error: .*closed\/below' cannot be written by this user/m);
  assert.deepEqual(await desk.server.query("select 1 from pg_database where datname = 'never_made'"), []);
});

test("a part that the point lacks stops a restore that asks for it, and is told by one that asks for everything", async () => {
  const original = await reader();
  const without = async (parts: readonly string[]) =>
    await rewrite(
      original,
      (path, node) => (parts.some((part) => path === `chatkeep/${part}`) ? undefined : node),
      () => [],
    );
  const restore = async (id: string, ...args: string[]) => await desk.chatkeep(["restore", id, ...args, "--yes"]);

  const noCode = await without(["code"]);
  const named = await restore(noCode, "--only", "config,code", "--to", join(desk.root, "named"));
  assert.equal(named.status, 1);
  assert.match(named.stderr, /^error: the restore point holds no code$/m);
  assert.equal(existsSync(join(desk.root, "named")), false);
  const unnamed = await desk.summary(["restore", noCode, "--to", join(desk.root, "unnamed"), "--yes"], 3);
  const messages = (unnamed as unknown as RestoreSummary).findings.map(({ message }) => message);
  assert.ok(messages.includes("the restore point holds no code"), messages.join("\n"));

  const nothing = await restore(await without(["code", "config", "storage"]), "--to", join(desk.root, "nothing"));
  assert.equal(nothing.status, 1);
  assert.match(nothing.stderr, /^error: the restore point holds nothing that was asked for$/m);
  assert.equal(existsSync(join(desk.root, "nothing")), false);
});

test("a point whose manifest is damaged loses its proof, and is proven again when the manifest is whole", async () => {
  const outcome = async () => {
    const { points } = (await desk.summary(["list"])) as unknown as ListSummary;
    const line = points.find((other) => other.point === kept);
    assert.ok(line !== undefined);
    return [line.provenAt !== null, line.failedDrill];
  };
  const kept = String((await desk.summary(["backup"]))["point"]);
  await desk.summary(["drill", kept]);
  assert.deepEqual(await outcome(), [true, false]);
  const found = (await savedPoints(opened.repository)).find(({ point: { id } }) => id === kept);
  assert.ok(found !== undefined);
  await withDamagedChunk(found, "manifest.json", async () => {
    const failed = detailsOf(await desk.summary(["drill", kept], 1));
    assert.match(failed["manifest"] ?? "", /^chunk [0-9a-f]+ cannot be read/);
  });
  assert.deepEqual(await outcome(), [false, true]);
  await desk.summary(["drill", kept]);
  assert.deepEqual(await outcome(), [true, false]);
});
