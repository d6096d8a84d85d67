/**
 * A repository of a million chunks on a machine with little memory: a thousand folders of a thousand files, whose trees and
 * index are real. Their packs have the right size and nothing in them, which only those see who read the data. Beside them lie
 * restore points that are whole, and what nobody needs: packs, and trees between those that are needed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseChunkId, parsePackId, type ChunkId, type SnapshotId } from "../../src/base/ids.ts";
import { dirNode, fileNode, type TreeNode } from "../../src/format/node.ts";
import type { PackEntry } from "../../src/format/pack.ts";
import { encodeTree } from "../../src/format/tree.ts";
import { packSizeBytes } from "../../src/repo/pack-record.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { addPoint, DAY, NOW } from "../job/kept-points.ts";
import { newRepository, openWriting, PASSWORD, reopen, signal } from "../repo/small-backup.ts";

const FOLDERS = 1000;
const FILES = 1000;
/** So that no pack is so small that prune would join it to others. */
const FILE_BYTES = 4400;
/** Folders like these that no snapshot has. */
const UNNEEDED = 50;
const POINTS = 3;
/** A point's manifest, its file, and two folders. */
const POINT_CHUNKS = 4;
const LIMIT_MIB = 512;
/** Linux counts so, on every machine. */
const TICKS_PER_SECOND = 100;
const SRC = resolve(import.meta.dirname, "../../src");

let folder: TestFolder;
/** The newest point of the large repository, and of a small one. */
let large: SnapshotId;
let small: SnapshotId;

/** Returns the newest. */
async function addPoints(repository: Repository): Promise<SnapshotId> {
  for (let day = POINTS; day > 1; day -= 1) await addNoise(repository, day);
  return await addNoise(repository, 1);
}

async function addNoise(repository: Repository, day: number): Promise<SnapshotId> {
  return await addPoint(reopen(repository), NOW - day * DAY, { files: { "chatkeep/noise": randomBytes(100_000) } });
}

before(async () => {
  folder = await temporaryFolder();
  writeFileSync(folder.at("password"), PASSWORD, { mode: 0o600 });
  const repository = await newRepository(openLocalStore(folder.at("repository")));
  large = await addPoints(repository);
  small = await addPoints(await newRepository(openLocalStore(folder.at("small"))));
  const { sealer, writer } = await openWriting(repository);
  const addFolder = async () => {
    const ids = Array.from({ length: FILES }, () => parseChunkId(randomBytes(32).toString("hex")));
    writer.add(emptyPack(ids));
    const nodes = ids.map((id, at) => fileNode({ name: `file-${at}`, size: FILE_BYTES, content: [id] }));
    return (await sealer.add("tree", encodeTree(nodes))).id;
  };
  const root: TreeNode[] = [];
  for (let number = 0; number < FOLDERS; number += 1) {
    root.push(dirNode({ name: `folder-${number}`, subtree: await addFolder() }));
    if (number % (FOLDERS / UNNEEDED) === 0) await addFolder();
  }
  const tree = (await sealer.add("tree", encodeTree(root))).id;
  await sealer.flush();
  await writer.finish();
  await repository.saveSnapshot({ time: "2026-01-01T00:00:00Z", tree, paths: ["/x"], hostname: "here" }, { signal });
});

after(async () => await folder[Symbol.asyncDispose]());

function emptyPack(ids: readonly ChunkId[]) {
  const length = FILE_BYTES + 32;
  const entries: PackEntry[] = ids.map((id, at) => ({
    type: "data",
    id,
    offset: at * length,
    length,
    uncompressedLength: 0,
  }));
  const id = parsePackId(randomBytes(32).toString("hex"));
  const sizeBytes = packSizeBytes(entries);
  const place = folder.at("repository", "data", id.slice(0, 2));
  mkdirSync(place, { recursive: true });
  const file = openSync(`${place}/${id}`, "wx");
  ftruncateSync(file, sizeBytes);
  closeSync(file);
  return { id, entries, sizeBytes };
}

/** Runs Node to its end and returns its output; the most memory it ever had is asserted and told. */
async function measured(t: TestContext, args: readonly string[], status = 0): Promise<string> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, CHATKEEP_PASSWORD_FILE: folder.at("password"), CHATKEEP_CONFIG: undefined },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  let [peakKib, ticks] = [0, 0];
  const started = performance.now();
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      peakKib = Math.max(peakKib, Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0));
      // Of user and system, by all threads.
      const [user, system] = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.split(" ").slice(11) ?? [];
      ticks = Number(user) + Number(system);
    } catch {
      break;
    }
    await sleep(20);
  }
  assert.deepEqual(await closed, [status, null]);
  const seconds = (performance.now() - started) / 1000;
  const worked = ticks / TICKS_PER_SECOND;
  t.diagnostic(`${Math.round(peakKib / 1024)} MiB, ${seconds.toFixed(1)} s, ${worked.toFixed(1)} s of processor`);
  assert.ok(peakKib > 0 && peakKib < LIMIT_MIB * 1024, `${peakKib} KiB`);
  return output;
}

/** Runs a verb on the large repository, or another one. Returns its summary. */
async function summary(
  t: TestContext,
  args: readonly string[],
  { name = "repository", status = 0 } = {},
): Promise<Record<string, unknown>> {
  const output = await measured(t, [CHATKEEP, "--json", "--repository", folder.at(name), ...args], status);
  const found = JSON.parse(output.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
  assert.equal(found["verb"], args[0]);
  return found;
}

test(`list of a million chunks needs less than ${LIMIT_MIB} MiB`, async (t) => {
  // 3: there is no manifest to be read in these points.
  assert.equal(((await summary(t, ["list"], { status: 3 }))["points"] as unknown[]).length, POINTS);
});

test(`verify of a million chunks needs less than ${LIMIT_MIB} MiB`, async (t) => {
  assert.deepEqual((await summary(t, ["verify"]))["problems"], []);
});

test(`what a backup does first, with a million chunks, needs less than ${LIMIT_MIB} MiB`, async (t) => {
  const script = `
    import { openRepository } from ${JSON.stringify(`${SRC}/repo/repository.ts`)};
    import type { Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from ${JSON.stringify(`${SRC}/store/local-store.ts`)};
    const { signal } = new AbortController();
    const store = openLocalStore(${JSON.stringify(folder.at("repository"))});
    const repository = await openRepository(store, { password: ${JSON.stringify(PASSWORD)}, signal });
    const { distrusted, adopted } = await repository.prepareToWrite({ signal });
    console.log(JSON.stringify({ distrusted, adopted, chunks: (await repository.loadIndex({ signal })).size }));`;
  const output = await measured(t, ["--input-type=module-typescript", "--eval", script]);
  const chunks = (FOLDERS + UNNEEDED) * (FILES + 1) + 1 + POINTS * POINT_CHUNKS;
  assert.deepEqual(JSON.parse(output), { distrusted: [], adopted: 0, chunks });
});

/** Which points a copy brought. */
function copied(found: Record<string, unknown>): string[] {
  return (found["copied"] as { point: string }[]).map(({ point }) => point);
}

test(`a point is copied out of a million chunks, and into them, in less than ${LIMIT_MIB} MiB`, async (t) => {
  assert.deepEqual(copied(await summary(t, ["copy", large, "--to", folder.at("small")])), [large]);
  assert.deepEqual(copied(await summary(t, ["copy", small, "--to", folder.at("repository")], { name: "small" })), [
    small,
  ]);
});

test(`points are forgotten beside a million chunks, and what nobody needs is pruned, in less than ${LIMIT_MIB} MiB`, async (t) => {
  const forgotten = (await summary(t, ["forget", "--all", "--keep-last", "1"]))["forgotten"] as unknown[];
  assert.equal(forgotten.length, POINTS);
  const packs = (await summary(t, ["prune", "--max-unused", "0"]))["packs"] as Record<string, number>;
  t.diagnostic(JSON.stringify(packs));
  assert.ok((packs["removed"] ?? 0) >= UNNEEDED && (packs["repacked"] ?? 0) > 0);
  assert.deepEqual((await summary(t, ["verify"]))["problems"], []);
});
