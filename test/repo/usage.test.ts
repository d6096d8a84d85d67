/** What a repository's snapshots need, against stock restic's own count and against counting by hand. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { measureUsage } from "../../src/repo/usage.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { resticPaths, runRestic, type Restic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { backUp, backUpFolder, newRepository, PASSWORD, reopen, signal, type Files } from "./small-backup.ts";

function others(at: number, from: readonly Set<number>[]): Set<number> {
  return new Set(from.flatMap((rows, other) => (other === at ? [] : [...rows])));
}

/** Chunks that each snapshot needs, found by walking all of each snapshot, and no cleverness. */
async function byHand(repository: Repository): Promise<{ added: number[]; unique: number[]; used: number }> {
  const index = await repository.loadIndex({ signal });
  const { snapshots } = await repository.listSnapshots({ signal });
  const needs: Set<number>[] = [];
  for (const { snapshot } of snapshots) {
    const rows = new Set<number>();
    const visit = async (tree: typeof snapshot.tree): Promise<void> => {
      rows.add(index.rowOf("tree", tree));
      for (const node of await repository.readTree(tree, { signal })) {
        for (const id of node.content ?? []) rows.add(index.rowOf("data", id));
        if (node.subtree !== undefined) await visit(node.subtree);
      }
    };
    await visit(snapshot.tree);
    needs.push(rows);
  }
  const sum = (rows: Iterable<number>) => [...rows].reduce((all, row) => all + index.sizesOf(row).storedBytes, 0);
  return {
    added: needs.map((rows, at) => sum(rows.difference(others(at, needs.slice(0, at))))),
    unique: needs.map((rows, at) => sum(rows.difference(others(at, needs)))),
    used: sum(new Set(needs.flatMap((rows) => [...rows]))),
  };
}

test("added, its alone and needed are what counting by hand gives, for snapshots that share in every way", async () => {
  const repository = await newRepository(createMemoryStore());
  const shared = randomBytes(50_000);
  const steps: Files[] = [
    { "a/b/c": shared, "a/one": randomBytes(1000), same: Buffer.from("same"), empty: Buffer.alloc(0) },
    // A folder that moved, a file twice, and a folder that is the same.
    { "z/b/c": shared, "z/again": shared, "a/b/c": shared, "a/one": randomBytes(2000), same: Buffer.from("same") },
    { "y/deep/b/c": shared, only: randomBytes(3000) },
    { "y/deep/b/c": shared, only: Buffer.from("text ".repeat(10_000)) },
  ];
  for (const [at, files] of steps.entries()) await backUp(repository, files, `2026-01-0${at + 1}T00:00:00Z`);
  // The same once more, as an unchanged run makes it.
  await backUp(repository, steps[3] ?? {}, "2026-01-05T00:00:00Z");
  const read = reopen(repository);
  const { snapshots } = await read.listSnapshots({ signal });
  const usage = await measureUsage(read, snapshots, { signal });
  const expected = await byHand(read);
  assert.deepEqual(
    usage.snapshots.map(({ addedBytes }) => addedBytes),
    expected.added,
  );
  assert.deepEqual(
    usage.snapshots.map(({ uniqueBytes }) => uniqueBytes),
    expected.unique,
  );
  assert.equal(usage.used.bytes, expected.used);
  assert.equal(
    usage.snapshots.reduce((sum, { addedBytes }) => sum + addedBytes, 0),
    usage.used.bytes,
  );
  assert.ok(usage.used.unpackedBytes > usage.used.bytes, "text was compressed");
  const sizes = [...steps, steps[3] ?? {}].map((files) =>
    Object.values(files).reduce((sum, { length }) => sum + length, 0),
  );
  assert.deepEqual(
    usage.snapshots.map(({ bytes }) => bytes),
    sizes,
  );
  assert.deepEqual(
    usage.snapshots.map(({ files }) => files),
    [4, 5, 2, 2, 2],
  );
  assert.deepEqual([usage.snapshots[4]?.addedBytes, usage.snapshots[4]?.uniqueBytes, usage.damaged], [0, 0, []]);
});

test("a tree that is not there is named, and the rest is counted", async () => {
  const store = createMemoryStore();
  const repository = await newRepository(store);
  await backUp(repository, { "folder/file": randomBytes(1000) }, "2026-01-01T00:00:00Z");
  const { snapshots } = await repository.listSnapshots({ signal });
  const [first] = snapshots;
  assert.ok(first !== undefined);
  const lost = { id: first.id, snapshot: { ...first.snapshot, tree: "0".repeat(64) as typeof first.snapshot.tree } };
  const usage = await measureUsage(reopen(repository), [first, lost], { signal });
  assert.deepEqual(
    usage.damaged.map(({ name }) => name),
    ["0".repeat(64)],
  );
  assert.deepEqual([usage.snapshots[0]?.bytes, usage.snapshots[1]?.bytes], [1000, 0]);
});

interface ResticStats {
  total_size: number;
  total_blob_count?: number;
  total_uncompressed_size?: number;
}

async function resticStats(restic: Restic, repo: string, args: readonly string[]): Promise<ResticStats> {
  const result = await runRestic(["stats", "--json", ...args], { repo, password: PASSWORD, restic: restic.path });
  return JSON.parse(result.stdout) as ResticStats;
}

test("restic counts the same: raw data, chunks, and what each snapshot restores to", async (t) => {
  await using folder = await temporaryFolder();
  const place = folder.at("repository");
  const repository = await newRepository(openLocalStore(place));
  await mkdir(folder.at("data/deep"), { recursive: true });
  await writeFile(folder.at("data/random"), randomBytes(3_000_000));
  await writeFile(folder.at("data/deep/text"), "a line of text\n".repeat(20_000));
  await writeFile(folder.at("data/deep/twice"), "a line of text\n".repeat(20_000));
  await backUpFolder(repository, folder.at("data"));
  await writeFile(folder.at("data/deep/more"), randomBytes(10_000));
  await rm(folder.at("data/deep/twice"));
  await backUpFolder(repository, folder.at("data"));
  const [stock] = resticPaths();
  assert.ok(stock !== undefined);
  // And one that restic cut and wrote, on top of ours.
  await runRestic(["backup", folder.at("data")], { repo: place, password: PASSWORD, restic: stock.path });

  const opened = await openRepository(openLocalStore(place), { password: PASSWORD, signal });
  const { snapshots } = await opened.listSnapshots({ signal });
  const usage = await measureUsage(opened, snapshots, { signal });
  assert.equal(usage.snapshots.length, 3);
  for (const restic of resticPaths()) {
    const raw = await resticStats(restic, place, ["--mode", "raw-data"]);
    t.diagnostic(`restic ${restic.version}: ${JSON.stringify(raw)}`);
    assert.equal(usage.used.bytes, raw.total_size, restic.version);
    if (raw.total_blob_count !== undefined) assert.equal(usage.used.chunks, raw.total_blob_count);
    // restic counts what sealing adds with it.
    const sealed = usage.used.unpackedBytes + 32 * usage.used.chunks;
    if (raw.total_uncompressed_size !== undefined) assert.equal(sealed, raw.total_uncompressed_size);
    for (const { id, bytes } of restic === stock ? usage.snapshots : usage.snapshots.slice(-1))
      assert.equal(bytes, (await resticStats(restic, place, ["--mode", "restore-size", id])).total_size);
  }
});
