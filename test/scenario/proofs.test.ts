/** What a proof says, and when it says it no more; and that a restore never calls less than everything a success. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { PointReader } from "../../src/job/point-reader.ts";
import { listPoints } from "../../src/job/points.ts";
import { encodeTree } from "../../src/format/tree.ts";
import { dirNode } from "../../src/format/node.ts";
import { Sealing } from "../../src/job/sealing.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { damageChunk } from "./damaged-chunk.ts";
import { type Desk, openDesk } from "./desk.ts";
import { firstOf } from "../harness/whole.ts";

const signal = new AbortController().signal;
let desk: Desk;
let point: string;

before(async () => {
  desk = await openDesk({ hasServerForDrills: true, size: { messages: 200, conversations: 20, files: 24 } });
  await makeCheapToOpen(desk);
  point = String((await desk.summary(["backup"]))["point"]);
  assert.equal((await desk.summary(["drill"]))["proven"], true);
});
after(async () => await desk[Symbol.asyncDispose]());

async function repository(): Promise<Repository> {
  const opened = await openRepository(openLocalStore(desk.repository), {
    password: readFileSync(desk.passwordFile, "utf8").trim(),
    signal,
  });
  await opened.loadIndex({ signal });
  return opened;
}

async function reader(): Promise<PointReader> {
  const opened = await repository();
  const { points } = await listPoints(opened, { signal });
  const found = points.find(({ id }) => id === point);
  assert.ok(found !== undefined);
  return new PointReader(opened, found, { signal });
}

/** Damages the stored bytes of one file of the point, and gives them back afterwards. */
async function damage(path: string): Promise<() => void> {
  const point = await reader();
  const node = await point.find(path);
  const [chunk] = node?.content ?? [];
  assert.ok(chunk !== undefined, path);
  const index = await point.repository.loadIndex({ signal });
  return damageChunk(desk.repository, index, chunk);
}

interface Check {
  name: string;
  ok: boolean;
}

function failed(summary: Record<string, unknown>): string[] {
  return (summary["checks"] as Check[]).filter(({ ok }) => !ok).map(({ name }) => name);
}

async function line(): Promise<Record<string, unknown>> {
  const { points } = (await desk.summary(["list"])) as { points: Record<string, unknown>[] };
  const found = points.find((entry) => entry["point"] === point);
  assert.ok(found !== undefined);
  return found;
}

const UNREADABLE = [
  ["config/env", "configuration-and-code"],
  ["database/schema.dump", "load"],
] as const;

for (const [path, check] of firstOf(UNREADABLE, 1)) {
  test(`a drill that cannot read ${path} takes the earlier proof away`, async () => {
    const mend = await damage(path);
    try {
      const summary = await desk.summary(["drill", point], 1);
      assert.equal(summary["proven"], false);
      assert.ok(failed(summary).includes(check), JSON.stringify(summary["checks"]));
      assert.deepEqual([(await line())["provenAt"], (await line())["failedDrill"]], [null, true]);
    } finally {
      mend();
    }
    assert.equal((await desk.summary(["drill", point]))["proven"], true);
  });
}

test("a point that was rewritten under its name is not proven, and its restore says that files are lacking", async () => {
  const original = await reader();
  const opened = original.repository;
  const top = await opened.readTree(original.point.snapshot.tree, { signal });
  const inside = (await original.folder(""))?.filter((node) => node.name !== "storage") ?? [];
  const storage = await original.folderTree("storage");
  assert.ok(top.length === 1 && storage !== undefined);
  await using sealing = await Sealing.open({ repository: opened, address: undefined, expectedChunks: 100, signal });
  const [service] = await opened.readTree(storage, { signal });
  const [group] = service?.subtree === undefined ? [] : await opened.readTree(service.subtree, { signal });
  const [folder] = group?.subtree === undefined ? [] : await opened.readTree(group.subtree, { signal });
  const files = folder?.subtree === undefined ? [] : await opened.readTree(folder.subtree, { signal });
  assert.ok(service !== undefined && group !== undefined && folder !== undefined && files.length > 5);
  let tree = await sealing.storeTree(encodeTree(files.slice(0, 5)));
  for (const name of [folder.name, group.name, service.name]) {
    tree = await sealing.storeTree(encodeTree([dirNode({ name, subtree: tree })]));
  }
  const root = await sealing.storeTree(encodeTree([...inside, dirNode({ name: "storage", subtree: tree })]));
  tree = await sealing.storeTree(encodeTree([dirNode({ name: "chatkeep", subtree: root })]));
  await sealing.finish();
  // As restic's own `rewrite --forget` leaves it: another tree, the same name.
  const { snapshot, snapshotId } = original.point;
  await opened.saveSnapshot({ ...snapshot, tree, original: snapshotId }, { signal });
  await opened.store.remove({ kind: "snapshots", name: snapshotId }, { signal });
  assert.equal((await line())["provenAt"], null);
  const to = join(desk.root, "rewritten");
  const summary = await desk.summary(["restore", point, "--only", "storage", "--to", to, "--yes"], 3);
  const kinds = (summary["findings"] as { kind: string }[]).map(({ kind }) => kind);
  assert.ok(kinds.includes("files-fewer-than-listed"), kinds.join(", "));
  // The next backup reads what the rewritten point lacks, and is whole again.
  await systemClock.sleep(2);
  await desk.summary(["backup"]);
  assert.equal((await desk.summary(["drill", "latest"]))["proven"], true);
});

test("a part without its target, or that is not in the point, is refused", async () => {
  const url = "postgresql://nobody@127.0.0.1:1/nothing";
  for (const args of [
    ["--only", "storage", "--database-url", url],
    ["--only", "database", "--to", join(desk.root, "nowhere")],
  ]) {
    const { status, stderr } = await desk.chatkeep(["restore", "latest", ...args, "--yes"]);
    assert.equal(status, 2, stderr);
  }
});

test("a folder that cannot be made is found before anything is loaded", async () => {
  const file = join(desk.root, "a-file");
  writeFileSync(file, "");
  for (const to of [join(file, "below"), file]) {
    const { status, stderr } = await desk.chatkeep(["restore", "latest", "--only", "config", "--to", to, "--yes"]);
    assert.equal(status, 1, `${to}: ${stderr}`);
    assert.match(stderr, /^hint: /m);
  }
  mkdirSync(join(desk.root, "fine"));
  await desk.summary(["restore", "latest", "--only", "config", "--to", join(desk.root, "fine"), "--yes"]);
});
