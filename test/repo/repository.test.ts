import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { hash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { before, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure, type ErrorCode } from "../../src/base/errors.ts";
import { parseChunkId } from "../../src/base/ids.ts";
import { encodeConfig } from "../../src/format/config-file.ts";
import { seal } from "../../src/format/crypto.ts";
import { createKeyFile } from "../../src/format/key-file.ts";
import { createRepository, openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import type { Store } from "../../src/store/store.ts";
import { always, CUT, FaultyStore, FLIPPED, onCall } from "../harness/faulty-store.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { backUp, CHEAP, copyStore, newRepository, PASSWORD, readFiles, reopen, signal } from "./small-backup.ts";

let repository: Repository;
let store: MemoryStore;
const WHO = { username: "me", hostname: "here", created: "2026-01-01T00:00:00Z" };

before(async () => {
  store = createMemoryStore();
  repository = await newRepository(store);
});

function create(target: Store, password = PASSWORD): Promise<Repository> {
  return createRepository(target, { password, clock: systemClock, hostname: "here", username: "me", signal });
}

function fails(code: ErrorCode, text = /./): (error: unknown) => boolean {
  return (error) => isFailure(error, code) && text.test(error.message) && error.hint !== undefined;
}

async function addKey(target: MemoryStore, password: string): Promise<string> {
  const bytes = await createKeyFile(password, repository.keys, WHO, CHEAP);
  const name = hash("sha256", bytes);
  await target.put({ kind: "keys", name }, bytes, { signal });
  return name;
}

test("a key costs what restic's own does, unless somebody asks for another", async () => {
  const place = createMemoryStore();
  const { keyId } = await create(place);
  const { N, r, p } = JSON.parse(String(place.files.get(`keys/${keyId}`))) as Record<string, unknown>;
  assert.deepEqual([N, r, p], [32_768, 8, 1]);
});

test("a repository that was made is opened by its password, and by no other", async () => {
  const opened = await openRepository(store, { password: PASSWORD, signal });
  assert.deepEqual(opened.config, repository.config);
  assert.equal(store.files.has(`keys/${opened.keyId}`), true);
  for (const password of ["", "wrong", `${PASSWORD}\n`]) {
    await assert.rejects(openRepository(store, { password, signal }), fails("repo/wrong-password"));
  }
});

test("an empty place is repo/missing, a folder that is not there too", async () => {
  await using folder = await temporaryFolder();
  for (const place of [createMemoryStore(), openLocalStore(folder.path), openLocalStore(folder.at("not/there"))]) {
    await assert.rejects(openRepository(place, { password: PASSWORD, signal }), fails("repo/missing"));
  }
});

test("a used place is refused: one with a config, a key or a snapshot", async () => {
  for (const kind of ["config", "keys", "snapshots"]) {
    const used = createMemoryStore();
    used.files.set(kind === "config" ? "config" : `${kind}/${"a".repeat(64)}`, Buffer.from("x"));
    await assert.rejects(create(used), fails("repo/exists"));
    assert.equal(used.files.size, 1);
  }
});

test("an empty password is refused before anything is made", async () => {
  const empty = createMemoryStore();
  await assert.rejects(create(empty, ""), (error) => isFailure(error, "usage/invalid"));
  assert.equal(empty.files.size, 0);
});

test("of two who make a repository in one place at one moment, one wins and the other is told", async () => {
  const place = createMemoryStore();
  const outcomes = await Promise.allSettled([create(place), create(place)]);
  assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") assert.ok(isFailure(outcome.reason, "repo/exists"));
  }
  assert.equal([...place.files.keys()].filter((name) => name.startsWith("keys/")).length, 1);
  await openRepository(place, { password: PASSWORD, signal });
});

test("every key's password opens it, a damaged key keeps no other from opening it and is spoken of when none does", async () => {
  const copy = copyStore(store);
  const second = await addKey(copy, "second");
  const opened = await openRepository(copy, { password: "second", signal });
  assert.equal(opened.keyId, second);
  assert.equal((await openRepository(copy, { password: PASSWORD, signal })).config.id, repository.config.id);

  copy.files.set(`keys/${second}`, Buffer.from("{ this is no key"));
  await openRepository(copy, { password: PASSWORD, signal });
  await assert.rejects(openRepository(copy, { password: "second", signal }), (error) => {
    assert.ok(isFailure(error, "repo/wrong-password"));
    assert.match(error.hint ?? "", new RegExp(second.slice(0, 8)));
    return true;
  });
});

test("another format version is repo/unsupported with what to do, never a wrong password", async () => {
  for (const [version, hint] of [
    [1, /migrate upgrade_repo_v2/],
    [3, /newer/],
  ] as const) {
    const copy = copyStore(store);
    copy.files.set("config", seal(repository.keys, Buffer.from(JSON.stringify({ ...repository.config, version }))));
    await assert.rejects(
      openRepository(copy, { password: PASSWORD, signal }),
      (error) => isFailure(error, "repo/unsupported") && hint.test(error.hint ?? ""),
    );
  }
});

test("a config that belongs to another repository is damage, and named", async () => {
  const copy = copyStore(store);
  const other = await newRepository(createMemoryStore());
  copy.files.set("config", encodeConfig(other.keys, other.config));
  await assert.rejects(openRepository(copy, { password: PASSWORD, signal }), fails("repo/damaged", /config/));
});

test("snapshots are listed oldest first, whatever zone they were written in", async () => {
  const copy = copyStore(store);
  const target = reopen(repository, copy);
  const times = ["2026-01-02T00:00:00+05:00", "2026-01-01T18:59:59Z", "2026-01-01T19:00:00.000000001Z"];
  for (const time of times) await backUp(target, { a: Buffer.from(time) }, time);
  const { snapshots } = await reopen(repository, copy).listSnapshots({ signal });
  assert.deepEqual(
    snapshots.map(({ snapshot }) => snapshot.time),
    [times[1], times[0], times[2]],
  );
  for (const { id, snapshot } of snapshots) {
    assert.ok(copy.files.has(`snapshots/${id}`));
    assert.equal((await readFiles(target, snapshot.tree))["a"]?.toString(), snapshot.time);
  }
});

test("a chunk that is nowhere is repo/damaged and named; a tree is no data", async () => {
  const copy = copyStore(store);
  const target = reopen(repository, copy);
  await backUp(target, { a: Buffer.from("x") });
  const nowhere = parseChunkId("ab".repeat(32));
  await assert.rejects(target.readChunk("data", nowhere, { signal }), fails("repo/damaged", /abababab.*in no pack/));
  const { snapshots } = await target.listSnapshots({ signal });
  const tree = snapshots[0]?.snapshot.tree;
  assert.ok(tree);
  await target.readChunk("tree", tree, { signal });
  await assert.rejects(target.readChunk("data", tree, { signal }), fails("repo/damaged"));
});

test("a chunk under the wrong id is refused although its seal is good", async () => {
  const copy = copyStore(store);
  const target = reopen(repository, copy);
  await backUp(target, { a: randomBytes(1000), b: randomBytes(1000) });
  const index = await target.loadIndex({ signal });
  const [pack] = [...index.packs()].filter(({ entries }) => entries.length === 2);
  const [first, second] = pack?.entries ?? [];
  assert.ok(pack && first && second && first.length === second.length);
  const bytes = copy.files.get(`data/${pack.id}`);
  assert.ok(bytes);
  const swapped = Buffer.concat([
    bytes.subarray(second.offset, second.offset + second.length),
    bytes.subarray(first.offset, first.offset + first.length),
    bytes.subarray(second.offset + second.length),
  ]);
  copy.files.set(`data/${pack.id}`, swapped);
  for (const { id } of [first, second]) {
    await assert.rejects(reopen(repository, copy).readChunk("data", id, { signal }), fails("repo/damaged", /checksum/));
  }
});

test("a backup's start takes away what a killed run left half-written", async () => {
  await using folder = await temporaryFolder();
  const local = openLocalStore(folder.path);
  await local.create({ signal });
  const script = `
    const { openLocalStore } = await import(${JSON.stringify(new URL("../../src/store/local-store.ts", import.meta.url).href)});
    const { signal } = new AbortController();
    const writer = await openLocalStore(${JSON.stringify(folder.path)}).begin("data", { signal });
    await writer.write(Buffer.alloc(1000));
    process.kill(process.pid, "SIGKILL");
  `;
  const killed = spawnSync(process.execPath, ["--input-type=module", "-e", script]);
  assert.equal(killed.signal, "SIGKILL");
  assert.equal(readdirSync(folder.at("chatkeep/tmp")).length, 1);
  await reopen(repository, local).prepareToWrite({ signal });
  assert.deepEqual(readdirSync(folder.at("chatkeep/tmp")), []);
});

test("a pack that came with its index file while the packs were listed is not said to be gone", async () => {
  const copy = copyStore(store);
  await backUp(reopen(repository, copy), { a: Buffer.from("x") });
  let listed = 0;
  const late = new FaultyStore(copy, ({ verb, kind }) => {
    // The first list is of a moment at which nothing was there.
    if (verb === "list" && kind === "data") listed += 1;
    return undefined;
  });
  const list = late.list.bind(late);
  late.list = async function* (kind, options) {
    for await (const file of list(kind, options)) if (kind !== "data" || listed > 1) yield file;
  };
  const target = reopen(repository, late);
  assert.deepEqual(await target.prepareToWrite({ signal }), { distrusted: [], adopted: 0 });
  assert.equal((await target.loadIndex({ signal })).size, 2);
});

test("a cancelled load of the index is not everybody's for ever", async () => {
  const copy = copyStore(store);
  await backUp(reopen(repository, copy), { a: Buffer.from("x") });
  const target = reopen(repository, copy);
  const reason = new Error("cancelled");
  await assert.rejects(target.loadIndex({ signal: AbortSignal.abort(reason) }), (error) => error === reason);
  assert.equal((await target.loadIndex({ signal })).size, 2);
});

test("bytes that were changed on their way once are read again, and are no damage", async () => {
  const copy = copyStore(store);
  const id = await backUp(reopen(repository, copy), { a: Buffer.from("a") });
  for (const fault of [FLIPPED, CUT]) {
    const faulty = new FaultyStore(copy, onCall("get", 1, fault, "snapshots"));
    const { snapshots, damaged } = await reopen(repository, faulty).listSnapshots({ signal });
    assert.deepEqual([snapshots.map((found) => found.id), damaged], [[id], []]);
    faulty.script = always("get", fault, "snapshots");
    const seen = await reopen(repository, faulty).listSnapshots({ signal });
    assert.deepEqual([seen.snapshots, seen.damaged.map((file) => file.id)], [[], [id]]);
    assert.equal(faulty.count("get", "snapshots"), 4);
  }
});
