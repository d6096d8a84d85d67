/**
 * A repository of a million chunks on a machine with little memory: a thousand folders of a thousand files, whose trees and
 * index are real. The packs of data have the right size and nothing in them, which only those see who read the data.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseChunkId, parsePackId, type ChunkId } from "../../src/base/ids.ts";
import { dirNode, fileNode, type TreeNode } from "../../src/format/node.ts";
import type { PackEntry } from "../../src/format/pack.ts";
import { encodeTree } from "../../src/format/tree.ts";
import { packSizeBytes } from "../../src/repo/pack-record.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { CHATKEEP } from "../harness/cli.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";
import { newRepository, openWriting, PASSWORD, signal } from "../repo/small-backup.ts";

const FOLDERS = 1000;
const FILES = 1000;
const FILE_BYTES = 4096;
const LIMIT_MIB = 512;
const SRC = resolve(import.meta.dirname, "../../src");

let folder: TestFolder;

before(async () => {
  folder = await temporaryFolder();
  writeFileSync(folder.at("password"), PASSWORD, { mode: 0o600 });
  const repository = await newRepository(openLocalStore(folder.at("repository")));
  const { sealer, writer } = await openWriting(repository);
  const root: TreeNode[] = [];
  for (let number = 0; number < FOLDERS; number += 1) {
    const ids = Array.from({ length: FILES }, () => parseChunkId(randomBytes(32).toString("hex")));
    writer.add(emptyPack(ids));
    const nodes = ids.map((id, at) => fileNode({ name: `file-${at}`, size: FILE_BYTES, content: [id] }));
    root.push(dirNode({ name: `folder-${number}`, subtree: (await sealer.add("tree", encodeTree(nodes))).id }));
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
async function measured(t: TestContext, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, CHATKEEP_PASSWORD_FILE: folder.at("password"), CHATKEEP_CONFIG: undefined },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  let peakKib = 0;
  const started = performance.now();
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      peakKib = Math.max(peakKib, Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0));
    } catch {
      break;
    }
    await sleep(20);
  }
  assert.deepEqual(await closed, [0, null]);
  const seconds = (performance.now() - started) / 1000;
  t.diagnostic(`${Math.round(peakKib / 1024)} MiB, ${seconds.toFixed(1)} s`);
  assert.ok(peakKib > 0 && peakKib < LIMIT_MIB * 1024, `${peakKib} KiB`);
  return output;
}

for (const verb of ["list", "verify"]) {
  test(`${verb} of a million chunks needs less than ${LIMIT_MIB} MiB`, async (t) => {
    const output = await measured(t, [CHATKEEP, "--json", "--repository", folder.at("repository"), verb]);
    const summary = JSON.parse(output.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
    assert.equal(summary["verb"], verb);
    if (verb === "verify") assert.deepEqual(summary["problems"], []);
  });
}

test(`what a backup does first, with a million chunks, needs less than ${LIMIT_MIB} MiB`, async (t) => {
  const script = `
    import { openRepository } from ${JSON.stringify(`${SRC}/repo/repository.ts`)};
    import { openLocalStore } from ${JSON.stringify(`${SRC}/store/local-store.ts`)};
    const { signal } = new AbortController();
    const store = openLocalStore(${JSON.stringify(folder.at("repository"))});
    const repository = await openRepository(store, { password: ${JSON.stringify(PASSWORD)}, signal });
    const { distrusted, adopted } = await repository.prepareToWrite({ signal });
    console.log(JSON.stringify({ distrusted, adopted, chunks: (await repository.loadIndex({ signal })).size }));`;
  const output = await measured(t, ["--input-type=module-typescript", "--eval", script]);
  assert.deepEqual(JSON.parse(output), { distrusted: [], adopted: 0, chunks: FOLDERS * FILES + FOLDERS + 1 });
});
