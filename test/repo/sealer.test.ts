import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { Failure, isFailure } from "../../src/base/errors.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { silent } from "../../src/base/progress.ts";
import { ClaimTable } from "../../src/repo/claim-table.ts";
import { openWorkPool } from "../../src/repo/pool.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { Sealer, type PackRecord } from "../../src/repo/sealer.ts";
import type { StoredFile } from "../../src/repo/store-file.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { IndexWriter } from "../../src/repo/writer.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { backUp, copyStore, newRepository, openWriting, readFiles, reopen, signal } from "./small-backup.ts";
import { openSealing, type Init, type Task } from "./sealing-worker.ts";

let repository: Repository;
let store: MemoryStore;

before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
});

/** The same empty repository in a store of its own. */
function fresh(): { repository: Repository; store: MemoryStore } {
  const copy = copyStore(store);
  return { repository: reopen(repository, copy), store: copy };
}

/** Bytes by chance that do not begin as the compressible ones do: of one byte they would be the same now and then. */
function unlike(length: number): Buffer {
  return randomBytes(length).fill(0xff, 0, Math.min(1, length));
}

test("chunks of every length and kind are stored once and come back as they were", async () => {
  const { repository } = fresh();
  const { sealer, writer } = await openWriting(repository);
  const chunks = [0, 1, 100, 4096, 1 << 20, (1 << 20) + 1, LIMITS.chunkMaxBytes].flatMap((length) => [
    unlike(length),
    Buffer.alloc(length, "compressible "),
  ]);
  for (const type of ["data", "tree"] as const) {
    for (const bytes of chunks) {
      const expected = createHash("sha256").update(bytes).digest("hex");
      const isFirst = bytes.length > 0 || bytes === chunks[0];
      assert.deepEqual(await sealer.add(type, bytes), { id: expected, isNew: isFirst });
      assert.deepEqual(await sealer.add(type, bytes), { id: expected, isNew: false });
    }
  }
  await sealer.flush();
  await writer.finish();
  const after = reopen(repository);
  for (const type of ["data", "tree"] as const) {
    for (const bytes of chunks) {
      const id = createHash("sha256").update(bytes).digest("hex");
      const [location] = (await after.loadIndex({ signal })).find(type, id as never);
      assert.ok(location, `${type} of ${bytes.length} bytes`);
      assert.ok((await after.readChunk(type, id as never, { signal })).equals(bytes));
    }
  }
  const { problems } = await verifyRepository(after, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
});

test("what is sealed before it is known for new is stored once, and given as it can be read back", async () => {
  const { repository, store } = fresh();
  const chunks = [0, 1, 4096, (1 << 20) + 1, LIMITS.chunkMaxBytes].flatMap((length) => [
    unlike(length),
    Buffer.alloc(length, "compressible "),
  ]);
  const seen: boolean[] = [];
  const addAll = async (sealer: Sealer) => {
    for (const bytes of chunks) {
      const { id, isNew } = await sealer.addNew("data", bytes, (opened) => seen.push(bytes.equals(opened)));
      assert.equal(id, createHash("sha256").update(bytes).digest("hex"));
      if (isNew) assert.deepEqual(await sealer.add("data", bytes), { id, isNew: false });
    }
  };
  const { sealer, writer } = await openWriting(repository);
  await addAll(sealer);
  await sealer.flush();
  await writer.finish();
  const after = reopen(repository);
  const { problems, packs } = await verifyRepository(after, { readData: "all", signal, progress: silent });
  assert.deepEqual([problems, packs], [[], writer.packs]);

  // A run that finds all of it known makes no pack at all.
  const again = await openWriting(after);
  await addAll(again.sealer);
  await again.sealer.flush();
  await again.writer.finish();
  assert.equal(again.writer.packs, 0);
  assert.equal([...store.files.keys()].filter((key) => key.startsWith("data/")).length, packs);
  assert.deepEqual(
    seen,
    Array.from({ length: 2 * chunks.length }, () => true),
  );
});

test("pieces are stored one by one, in one turn, whether they are taken for new or for known, and come back as they were", async () => {
  const { repository } = fresh();
  const { sealer, writer } = await openWriting(repository);
  const pieces = [1, 64, 65_536, 65_536, 8_192, 65_536, 1_000_000].flatMap((length, at) => [
    unlike(length),
    Buffer.alloc(length, `${at} compressible `),
  ]);
  // Each twice: what has just been stored is known.
  const bytes = Buffer.concat([...pieces, ...pieces]);
  const lengths = [...pieces, ...pieces].map(({ length }) => length);
  const expected = pieces.map((piece) => createHash("sha256").update(piece).digest("hex"));
  for (const isNew of [true, false, true]) {
    const ids = await sealer.addPieces(bytes, lengths, { isNew });
    assert.deepEqual(
      lengths.map((_, at) => ids.toString("hex", 32 * at, 32 * at + 32)),
      [...expected, ...expected],
    );
  }
  await sealer.flush();
  await writer.finish();
  const after = reopen(repository);
  assert.equal((await after.loadIndex({ signal })).size, new Set(expected).size);
  for (const [at, id] of expected.entries()) {
    assert.ok((await after.readChunk("data", id as never, { signal })).equals(pieces[at] ?? Buffer.alloc(1, 1)));
  }
  const { problems } = await verifyRepository(after, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  await assert.rejects(sealer.addPieces(bytes, [1], { isNew: true }), /not all of their bytes/);
});

test("data and trees never share a pack, and no pack is left small while more comes", async () => {
  const { repository, store } = fresh();
  const { sealer, writer } = await openWriting(repository);
  for (let at = 0; at < 90; at += 1) {
    await sealer.add("data", randomBytes(1 << 20));
    await sealer.add("tree", Buffer.from(`{"nodes":[]} ${at}\n`));
  }
  await sealer.flush();
  await writer.finish();
  const index = await reopen(repository).loadIndex({ signal });
  const packs = [...index.packs()];
  for (const { entries } of packs) assert.equal(new Set(entries.map(({ type }) => type)).size, 1);
  const sizes = packs.filter(({ entries }) => entries[0]?.type === "data").map(({ sizeBytes }) => sizeBytes);
  assert.equal(sizes.filter((size) => size < LIMITS.packTargetBytes).length, 1);
  assert.equal(Math.max(...sizes) < LIMITS.packTargetBytes + (2 << 20), true);
  for (const { id, sizeBytes } of packs) {
    const bytes = store.files.get(`data/${id}`);
    assert.equal(bytes?.length, sizeBytes);
    assert.equal(
      createHash("sha256")
        .update(bytes ?? "")
        .digest("hex"),
      id,
    );
  }
  assert.deepEqual(
    [...index.packSizes()].map(({ sizeBytes }) => sizeBytes),
    packs.map(({ sizeBytes }) => sizeBytes),
  );
});

test("calls that do not wait for one another are all stored well", async () => {
  const { repository } = fresh();
  const { sealer, writer } = await openWriting(repository);
  const chunks = Array.from({ length: 60 }, (_, at) => randomBytes(at * 20_000));
  const added = await Promise.all(chunks.map(async (bytes) => await sealer.add("data", bytes)));
  await sealer.flush();
  await writer.finish();
  const after = reopen(repository);
  for (const [at, { id }] of added.entries()) {
    assert.ok((await after.readChunk("data", id, { signal })).equals(chunks[at] ?? Buffer.alloc(1)));
  }
});

test("a pack is reported only when it is in the store, and a failed store fails the next call", async () => {
  const { repository, store } = fresh();
  const reported: PackRecord[] = [];
  const sealer = new Sealer({
    keys: repository.keys,
    store,
    known: await repository.loadIndex({ signal }),
    claims: new ClaimTable(100),
    signal,
    onPack: (record) => {
      assert.ok(store.files.has(`data/${record.id}`));
      reported.push(record);
    },
  });
  await sealer.add("data", Buffer.from("one"));
  await sealer.flush();
  assert.equal(reported.length, 1);
  store.beforeWrite = () => {
    throw new Failure("store/full", "no space left");
  };
  await sealer.add("data", Buffer.from("two"));
  await assert.rejects(sealer.flush(), (error) => isFailure(error, "store/full"));
  await assert.rejects(sealer.add("data", Buffer.from("three")), (error) => isFailure(error, "store/full"));
  await sealer.abort();
  assert.equal(reported.length, 1);
});

test("an aborted run throws its reason and leaves no half-written file", async () => {
  await using folder = await temporaryFolder();
  const local = openLocalStore(folder.path);
  await local.create({ signal });
  const controller = new AbortController();
  const sealer = new Sealer({
    keys: repository.keys,
    store: local,
    known: await fresh().repository.loadIndex({ signal }),
    claims: new ClaimTable(100),
    signal: controller.signal,
    onPack: () => {},
  });
  await sealer.add("data", randomBytes(3 << 20));
  assert.equal(readdirSync(folder.at("chatkeep/tmp")).length, 1);
  const reason = new Error("stopped by hand");
  controller.abort(reason);
  await assert.rejects(sealer.add("data", Buffer.from("x")), (error) => error === reason);
  await sealer.abort();
  assert.deepEqual(readdirSync(folder.at("chatkeep/tmp")), []);
});

test("two writers at once store what they must, and all of it is whole", async () => {
  const { repository, store } = fresh();
  const shared = randomBytes(100_000);
  const one = { shared, "a/one": randomBytes(50_000) };
  const two = { shared, "b/two": randomBytes(50_000) };
  await Promise.all([
    backUp(reopen(repository, store), one, "2026-01-01T00:00:00Z"),
    backUp(reopen(repository, store), two, "2026-01-02T00:00:00Z"),
  ]);
  const after = reopen(repository, store);
  const { problems } = await verifyRepository(after, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  const { snapshots } = await after.listSnapshots({ signal });
  for (const [at, expected] of [one, two].entries()) {
    const tree = snapshots[at]?.snapshot.tree;
    assert.ok(tree);
    assert.deepEqual(await readFiles(after, tree), expected);
  }
});

test("what an interrupted run stored is used by the next one, with and without an index file", async () => {
  const { repository, store } = fresh();
  const bytes = randomBytes(100_000);
  const interrupted = await openWriting(repository);
  await interrupted.sealer.add("data", bytes);
  await interrupted.sealer.flush();
  // Neither index nor snapshot is written. The next run finds the pack by its header.
  const next = reopen(repository, store);
  const { sealer, writer } = await openWriting(next);
  assert.equal((await sealer.add("data", bytes)).isNew, false);
  await sealer.flush();
  assert.equal(writer.packs, 0);
  await writer.finish();
  assert.equal([...store.files.keys()].filter((name) => name.startsWith("index/")).length, 1);
  const third = await openWriting(reopen(repository, store));
  assert.equal((await third.sealer.add("data", bytes)).isNew, false);
  await third.writer.finish();
  assert.equal([...store.files.keys()].filter((name) => name.startsWith("index/")).length, 1);
});

test("index files are written while packs come, each pack whole in one of them", async () => {
  const { repository, store } = fresh();
  const index = await repository.loadIndex({ signal });
  const writer = new IndexWriter(repository, index, { signal });
  const perPack = 20_000;
  for (let pack = 0; pack < 6; pack += 1) {
    const entries = Array.from({ length: perPack }, (_, at) => ({
      id: createHash("sha256").update(`${pack} ${at}`).digest("hex") as never,
      type: "data" as const,
      offset: at * 100,
      length: 100,
      uncompressedLength: 0,
    }));
    writer.add({ id: createHash("sha256").update(`pack ${pack}`).digest("hex") as never, entries, sizeBytes: 1 });
  }
  await writer.finish();
  const files = [...store.files.keys()].filter((name) => name.startsWith("index/"));
  assert.equal(files.length, 2);
  assert.equal((await reopen(repository, store).loadIndex({ signal })).size, 6 * perPack);
});

for (const where of ["two threads", "this thread"] as const) {
  test(`files are stored by ${where}, each chunk once, and restic's rules hold`, async () => {
    await using folder = await temporaryFolder();
    const local = openLocalStore(folder.at("repository"));
    await local.create({ signal });
    const target = reopen(repository, local);
    const contents = Array.from({ length: 400 }, (_, at) =>
      at % 4 === 0 ? Buffer.from(`the same ${at % 8}`) : randomBytes(at * 40),
    );
    const paths = contents.map((bytes, at) => {
      writeFileSync(folder.at(`file-${at}`), bytes);
      return folder.at(`file-${at}`);
    });
    const index = await target.loadIndex({ signal });
    const writer = new IndexWriter(target, index, { signal });
    await using pool = openWorkPool<Task, StoredFile[], Init, PackRecord>({
      url: where === "two threads" ? new URL("sealing-worker.ts", import.meta.url) : undefined,
      count: 2,
      init: {
        spec: { kind: "local", path: folder.at("repository") },
        keys: target.keys,
        known: index.sharedTables,
        claims: new ClaimTable(10_000).parts,
      },
      inline: openSealing,
      onMessage: (record) => writer.add(record),
      signal,
    });
    const tasks = Array.from({ length: 25 }, (_, at) => paths.slice(at * 16, at * 16 + 16));
    const stored = (await Promise.all(tasks.map(async (task) => await pool.run({ paths: task })))).flat();
    await pool.all("flush");
    await writer.finish();

    const after = reopen(repository, local);
    const known = await after.loadIndex({ signal });
    const distinct = new Set(contents.filter((bytes) => bytes.length > 0).map((bytes) => bytes.toString("base64")));
    assert.equal(known.size, distinct.size);
    for (const [at, file] of stored.entries()) {
      const expected = contents[at] ?? Buffer.alloc(1);
      assert.equal(file.kind, "stored");
      if (file.kind !== "stored") continue;
      assert.equal(file.md5, createHash("md5").update(expected).digest("base64"));
      const parts = await Promise.all(file.content.map(async (id) => await after.readChunk("data", id, { signal })));
      assert.ok(Buffer.concat(parts).equals(expected));
    }
    const { problems } = await verifyRepository(after, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, []);
    assert.deepEqual(readdirSync(folder.at("repository/chatkeep/tmp")), []);
    assert.ok(readFileSync(paths[1] ?? "").equals(contents[1] ?? Buffer.alloc(1)));
  });
}
