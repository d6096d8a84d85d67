/** Bases that are built on an earlier one from what a server of 17 would send, without one; test/long/incremental.test.ts has real ones. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { silent } from "../../../src/base/progress.ts";
import { seededRandom } from "../../../src/demo/random.ts";
import { EarlierFiles, readEarlierBase } from "../../../src/job/continuous/earlier-base.ts";
import { type ListedBase, listContinuous } from "../../../src/job/continuous/list.ts";
import { planFile } from "../../../src/job/continuous/plan-file.ts";
import { Together } from "../../../src/job/continuous/put-together.ts";
import { readBase } from "../../../src/job/continuous/read-base.ts";
import { saveBase } from "../../../src/job/continuous/save-base.ts";
import type { Written } from "../../../src/job/continuous/writing.ts";
import { compareBase, parseManifest } from "../../../src/postgres/base-manifest.ts";
import type { BaseEntry } from "../../../src/postgres/replication-base.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../../src/store/memory-store.ts";
import { BLOCK, type Changed, encodeIncremental, encodeManifest, wholeOf } from "../../harness/incremental.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { newRepository, reopen, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, writerOf } from "./spans.ts";

type Files = ReadonlyMap<string, Buffer>;

async function* sentFiles(files: Files): AsyncGenerator<BaseEntry> {
  for (const [path, whole] of files) {
    const bytes = (async function* () {
      for (let at = 0; at < whole.length; at += 30_000) yield whole.subarray(at, at + 30_000);
    })();
    yield { kind: "file", path, mode: 0o600, mtimeMs: 0, size: whole.length, bytes };
  }
}

/** Takes a base of these files as a whole one. */
async function putWhole(repository: Repository, folder: TestFolder, files: Files): Promise<ListedBase> {
  mkdirSync(folder.at("cluster", "base/5"), { recursive: true });
  for (const [path, bytes] of files) writeFileSync(folder.at("cluster", path), bytes);
  await putBase(repository, folder.at("cluster"), { manifest: encodeManifest(files) });
  return await newestBase(repository);
}

async function newestBase(repository: Repository): Promise<ListedBase> {
  const { bases } = await listContinuous(repository, LINE.installation, { signal });
  const newest = bases.at(-1);
  assert.ok(newest);
  return newest;
}

async function build(
  repository: Repository,
  listed: ListedBase,
  sent: Files,
  manifest = encodeManifest(sent),
  segmentBlocks = 131_072,
): Promise<Written> {
  const earlier = await readEarlierBase(reopen(repository), listed, { signal });
  let together: Together | undefined;
  return await saveBase(writerOf(repository), {
    files: (locked) => {
      together = new Together(new EarlierFiles(locked, earlier, { signal }), { blockBytes: BLOCK, segmentBlocks });
      return together.entries(sentFiles(sent));
    },
    expectedBytes: 1_000_000,
    facts: async () => ({ facts: factsOf(), manifest: together?.manifest(manifest) ?? manifest }),
  });
}

async function filesOf(repository: Repository, folder: TestFolder, listed: ListedBase): Promise<string> {
  const place = folder.at(`back-${listed.id}`);
  await readBase(reopen(repository), listed, place, { signal, progress: silent });
  assert.deepEqual(await compareBase(place, readFileSync(`${place}/backup_manifest`), { signal }), []);
  return place;
}

const LABEL = "START WAL LOCATION: 0/4000028\n";

test("whatever blocks of a file changed, came or went, the file is what the server's rules make of it, base after base", async () => {
  await using folder = await temporaryFolder();
  const repository = await newRepository(createMemoryStore());
  const random = seededRandom("put together");
  const upTo = (most: number) => random.below(most + 1);
  const names = Array.from({ length: 60 }, (_, at) => `base/5/${1000 + at}`);
  let files = new Map(names.map((path): [string, Buffer] => [path, randomBytes(upTo(40) * BLOCK)]));
  let listed = await putWhole(repository, folder, new Map([...files, ["backup_label", Buffer.from(LABEL)]]));
  for (let round = 0; round < 3; round += 1) {
    const changes = new Map(
      names.map((path): [string, Changed] => {
        const keptBlocks = upTo(3) === 0 ? upTo(45) : (files.get(path)?.length ?? 0) / BLOCK;
        const blocks = new Map(Array.from({ length: upTo(5) }, () => [upTo(44), randomBytes(BLOCK)]));
        return [path, { keptBlocks, blocks }];
      }),
    );
    const sent = new Map([
      ["backup_label", Buffer.from(`${LABEL}INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n`)],
      ...[...changes].map(([path, changed]): [string, Buffer] => [
        path.replace("5/", "5/INCREMENTAL."),
        encodeIncremental(changed),
      ]),
      [`base/5/new${round}`, randomBytes(100_000)],
    ]);
    const { snapshotId } = await build(repository, listed, sent);
    files = new Map(
      names.map((path) => [path, wholeOf(files.get(path) ?? Buffer.alloc(0), changes.get(path) as Changed)]),
    );
    listed = await newestBase(repository);
    assert.equal(listed.id, snapshotId);
    const place = await filesOf(repository, folder, listed);
    for (const [path, bytes] of files) assert.ok(readFileSync(`${place}/${path}`).equals(bytes), `${path} of ${round}`);
    assert.equal(readFileSync(`${place}/backup_label`, "utf8"), LABEL);
    assert.equal(readFileSync(`${place}/base/5/new${round}`).length, 100_000);
  }
});

test("what did not change is neither read nor stored, and keeps its checksum; what did is checked by its chunks", async () => {
  await using folder = await temporaryFolder();
  const store = createMemoryStore();
  const repository = await newRepository(store);
  const [same, large, small] = [randomBytes(100 * BLOCK), randomBytes(1000 * BLOCK), randomBytes(3 * BLOCK)];
  const earlier = new Map(Object.entries({ "base/5/1": same, "base/5/2": large, "base/5/3": small }));
  const listed = await putWhole(repository, folder, earlier);
  const block = randomBytes(BLOCK);
  const sent = new Map([
    ["base/5/INCREMENTAL.1", encodeIncremental({ keptBlocks: 100, blocks: new Map() })],
    ["base/5/INCREMENTAL.2", encodeIncremental({ keptBlocks: 1000, blocks: new Map([[500, block]]) })],
    ["base/5/INCREMENTAL.3", encodeIncremental({ keptBlocks: 3, blocks: new Map([[1, block]]) })],
    ["backup_label", Buffer.from(LABEL)],
  ]);
  const { addedBytes } = await build(repository, listed, sent);
  assert.ok(addedBytes < 10 * 65_536, `${addedBytes}`);
  const place = await filesOf(repository, folder, await newestBase(repository));
  const sums = new Map(
    parseManifest(readFileSync(`${place}/backup_manifest`)).map(({ path, checksum }) => [path, checksum !== undefined]),
  );
  const told = ["1", "2", "3"].map((name) => sums.get(`base/5/${name}`));
  assert.deepEqual(told, [true, false, true]);
});

test("a server that says a file is longer than one can be, as 17.7 does, gets no more of it than there is", async () => {
  await using folder = await temporaryFolder();
  const repository = await newRepository(createMemoryStore());
  const whole = randomBytes(24 * BLOCK);
  const listed = await putWhole(repository, folder, new Map([["base/5/1", whole]]));
  const block = randomBytes(BLOCK);
  const sent = new Map([
    ["base/5/INCREMENTAL.1", encodeIncremental({ keptBlocks: 156, blocks: new Map([[3, block]]) })],
    ["backup_label", Buffer.from(LABEL)],
  ]);
  await build(repository, listed, sent, encodeManifest(sent), 24);
  const place = await filesOf(repository, folder, await newestBase(repository));
  block.copy(whole, 3 * BLOCK);
  assert.ok(readFileSync(`${place}/base/5/1`).equals(whole));
});

test("of a map of visible pages nothing is kept that did not come: it may say too much", async () => {
  await using folder = await temporaryFolder();
  const repository = await newRepository(createMemoryStore());
  const listed = await putWhole(repository, folder, new Map([["base/5/1_vm", randomBytes(12 * BLOCK)]]));
  const block = randomBytes(BLOCK);
  const sent = new Map([
    ["base/5/INCREMENTAL.1_vm", encodeIncremental({ keptBlocks: 12, blocks: new Map([[9, block]]) })],
    ["backup_label", Buffer.from(LABEL)],
  ]);
  await build(repository, listed, sent);
  const place = await filesOf(repository, folder, await newestBase(repository));
  const whole = Buffer.concat([Buffer.alloc(9 * BLOCK), block, Buffer.alloc(2 * BLOCK)]);
  assert.ok(readFileSync(`${place}/base/5/1_vm`).equals(whole));
});

function lose(store: MemoryStore, repository: Repository): Repository {
  const packs = [...store.files].filter(([key]) => key.startsWith("data/"));
  const [largest] = packs.toSorted(([, a], [, b]) => b.length - a.length);
  assert.ok(largest);
  store.files.delete(largest[0]);
  return reopen(repository);
}

test("where a chunk is gone, bytes are others than the manifest says or a file is unknown, no base is written", async () => {
  await using folder = await temporaryFolder();
  const store = createMemoryStore();
  const repository = await newRepository(store);
  const listed = await putWhole(repository, folder, new Map([["base/5/1", randomBytes(1000 * BLOCK)]]));
  const label: [string, Buffer] = ["backup_label", Buffer.from(LABEL)];
  const changed = encodeIncremental({ keptBlocks: 1000, blocks: new Map([[5, randomBytes(BLOCK)]]) });
  const sent = new Map([["base/5/INCREMENTAL.1", changed], label]);
  const other = new Map([["base/5/INCREMENTAL.1", Buffer.from("other")], label]);
  await assert.rejects(build(repository, listed, sent, encodeManifest(other)), (error) =>
    isFailure(error, "database/failed"),
  );
  const unknown = new Map([["base/5/INCREMENTAL.2", changed], label]);
  await assert.rejects(build(repository, listed, unknown), (error) => isFailure(error, "repo/damaged"));
  await assert.rejects(build(lose(store, repository), listed, sent), (error) => isFailure(error, "repo/damaged"));
  assert.equal((await newestBase(repository)).id, listed.id);
});

test("a chunk that stays needs the same length, and all of its blocks from before", () => {
  const lengths = { earlierBytes: 20 * BLOCK, blockBytes: BLOCK, chunkBytes: 8 * BLOCK };
  const made = (keptBlocks: number, ...blocks: number[]) =>
    planFile({ keptBlocks, blocks: Uint32Array.from(blocks) }, lengths).made.map(({ at, length, earlierBytes }) => [
      at,
      length / BLOCK,
      earlierBytes / BLOCK,
    ]);
  assert.deepEqual(made(20), []);
  // Shorter, longer, changed; all of a chunk anew; a block far behind the end.
  assert.deepEqual(made(18), [[2, 2, 2]]);
  assert.deepEqual(made(26), [
    [2, 8, 4],
    [3, 2, 0],
  ]);
  assert.deepEqual(made(20, 9), [[1, 8, 8]]);
  assert.deepEqual(made(20, 8, 9, 10, 11, 12, 13, 14, 15), [[1, 8, 0]]);
  assert.deepEqual(made(4, 20), [
    [0, 8, 4],
    [1, 8, 0],
    [2, 5, 0],
  ]);
  assert.deepEqual(made(0), []);
});
