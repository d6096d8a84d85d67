/** A whole repository read with nothing but this room: what stock restic wrote must open to the last byte. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { decodeConfig, type RepositoryConfig } from "../../src/format/config-file.ts";
import { unpackChunk } from "../../src/format/chunk.ts";
import { type Keys, unseal } from "../../src/format/crypto.ts";
import { decodeIndex } from "../../src/format/index-file.ts";
import { openKeyFile } from "../../src/format/key-file.ts";
import type { TreeNode } from "../../src/format/node.ts";
import { decodePackHeader, type PackEntry } from "../../src/format/pack.ts";
import { decodeSnapshot, type Snapshot } from "../../src/format/snapshot-file.ts";
import { decodeTree } from "../../src/format/tree.ts";
import { decodeUnpacked } from "../../src/format/unpacked.ts";

/** Files by their path below the repository; packs as `data/<id>`. */
export type RepositoryFiles = ReadonlyMap<string, Buffer>;

export interface OpenedRepository {
  keys: Keys;
  config: RepositoryConfig;
  /** With the JSON that they were read from. */
  snapshots: { json: string; snapshot: Snapshot }[];
  /** Plaintext by id. */
  chunks: Map<string, { entry: PackEntry; bytes: Buffer }>;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function below(files: RepositoryFiles, folder: string): { name: string; bytes: Buffer }[] {
  return [...files]
    .filter(([path]) => path.startsWith(`${folder}/`))
    .map(([path, bytes]) => ({ name: path.slice(folder.length + 1), bytes }));
}

/** Opens and checks everything: names, headers against index, every chunk against its id. */
export async function openRepositoryFiles(files: RepositoryFiles, password: string): Promise<OpenedRepository> {
  const opened = await Promise.all(below(files, "keys").map(({ bytes }) => openKeyFile(bytes, password)));
  const keys = opened.find((keys) => keys !== undefined) ?? assert.fail("the password opens no key");
  const named = ["keys", "snapshots", "index", "data"].flatMap((folder) => below(files, folder));
  for (const { name, bytes } of named) assert.equal(sha256(bytes), name);
  const chunks: OpenedRepository["chunks"] = new Map();
  for (const { bytes } of below(files, "index")) {
    decodeIndex(decodeUnpacked(keys, bytes), ({ id, entries }) => {
      const pack = files.get(`data/${id}`) ?? assert.fail(`pack ${id} is missing`);
      const listed = decodePackHeader(keys, pack, pack.length);
      assert.deepEqual(
        entries.toSorted((a, b) => a.offset - b.offset),
        listed,
      );
      for (const entry of listed) {
        const sealed = pack.subarray(entry.offset, entry.offset + entry.length);
        const plaintext = Buffer.from(unpackChunk(unseal(keys, sealed), entry.uncompressedLength));
        assert.equal(sha256(plaintext), entry.id);
        chunks.set(entry.id, { entry, bytes: plaintext });
      }
    });
  }
  const snapshots = below(files, "snapshots").map(({ bytes }) => {
    const json = decodeUnpacked(keys, bytes);
    return { json, snapshot: decodeSnapshot(json) };
  });
  const config = decodeConfig(keys, files.get("config") ?? assert.fail("no config"));
  return { keys, config, snapshots, chunks };
}

/** Every node below a tree, by its path. */
export function* nodesBelow(
  repository: OpenedRepository,
  tree: string,
  prefix = "",
): Generator<{ path: string; node: TreeNode }> {
  const { bytes } = repository.chunks.get(tree) ?? assert.fail(`tree ${tree} is missing`);
  for (const node of decodeTree(bytes)) {
    const path = `${prefix}/${node.name}`;
    yield { path, node };
    if (node.subtree !== undefined) yield* nodesBelow(repository, node.subtree, path);
  }
}

/** A file's bytes. */
export function contentOf(repository: OpenedRepository, node: TreeNode): Buffer {
  return Buffer.concat(
    (node.content ?? []).map((id) => repository.chunks.get(id)?.bytes ?? assert.fail(`no chunk ${id}`)),
  );
}
