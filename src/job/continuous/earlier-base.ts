/** A base of a repository, as what the next one is built on: what it has of each file, and the manifest by which the server goes. */
import { bug, Failure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { TreeNode } from "../../format/node.ts";
import { type BaseFacts, parseBaseFacts } from "../../point/base-facts.ts";
import { BASE } from "../../point/continuous.ts";
import { type ManifestFile, parseManifest } from "../../postgres/base-manifest.ts";
import type { Repository } from "../../repo/repository.ts";
import type { ListedBase } from "./list.ts";
import { BASE_DATA, BASE_MANIFEST } from "./save-base.ts";

export const ID_BYTES = 32;

interface CallOptions {
  readonly signal: AbortSignal;
}

export interface EarlierBase {
  readonly listed: ListedBase;
  readonly facts: BaseFacts;
  readonly manifest: Buffer;
  /** The tree of its data folder. */
  readonly data: ChunkId;
}

/** @throws Failure `point/invalid`, `recovery/damaged` or `repo/damaged` for one that cannot be built on; of the store. */
export async function readEarlierBase(
  repository: Repository,
  listed: ListedBase,
  options: CallOptions,
): Promise<EarlierBase> {
  const top = await repository.readTree(listed.snapshot.tree, options);
  const nodes = await repository.readTree(folderIn(top, BASE.folder), options);
  const facts = parseBaseFacts((await readFile(repository, nodes, BASE.file, options)).toString("utf8"));
  const manifest = await readFile(repository, nodes, BASE_MANIFEST, options);
  // What was changed is no use to the server, either.
  parseManifest(manifest);
  return { listed, facts, manifest, data: folderIn(nodes, BASE_DATA) };
}

function folderIn(nodes: readonly TreeNode[], name: string): ChunkId {
  const tree = nodes.find((node) => node.name === name)?.subtree;
  if (tree === undefined) throw lacks(name);
  return tree;
}

async function readFile(
  repository: Repository,
  nodes: readonly TreeNode[],
  name: string,
  options: CallOptions,
): Promise<Buffer> {
  const node = nodes.find((each) => each.name === name);
  if (node?.content === undefined || node.content === null) throw lacks(name);
  const chunks: Buffer[] = [];
  for (const id of node.content) chunks.push(await repository.readChunk("data", id, options));
  return Buffer.concat(chunks);
}

/** A file of an earlier base. */
export interface EarlierFile {
  readonly size: number;
  /** Of its chunks, 32 bytes each. */
  readonly ids: Buffer;
}

/**
 * Looks files of an earlier base up, in a repository whose index is that of the run. The server sends the files of one folder after
 * each other, so of one folder they lie in memory.
 */
export class EarlierFiles {
  readonly manifest: ReadonlyMap<string, ManifestFile>;
  readonly #repository: Repository;
  readonly #options: CallOptions;
  readonly #trees: Map<string, ChunkId>;
  #folder: { readonly path: string; readonly files: ReadonlyMap<string, EarlierFile> } | undefined;

  constructor(repository: Repository, { data, manifest }: EarlierBase, options: CallOptions) {
    this.#repository = repository;
    this.#options = options;
    this.#trees = new Map([["", data]]);
    this.manifest = new Map(parseManifest(manifest).map((file) => [file.path, file]));
  }

  /** @throws Failure `repo/damaged` where the base does not have it as a base has files. */
  async find(path: string): Promise<EarlierFile> {
    const at = path.lastIndexOf("/");
    const folder = path.slice(0, Math.max(0, at));
    if (this.#folder?.path !== folder) this.#folder = { path: folder, files: await this.#readFolder(folder) };
    const file = this.#folder.files.get(path.slice(at + 1));
    if (file === undefined) throw lacks(path);
    return file;
  }

  async #treeOf(folder: string): Promise<ChunkId> {
    const known = this.#trees.get(folder);
    if (known !== undefined) return known;
    const at = folder.lastIndexOf("/");
    const above = await this.#treeOf(folder.slice(0, Math.max(0, at)));
    const tree = folderIn(await this.#repository.readTree(above, this.#options), folder.slice(at + 1));
    this.#trees.set(folder, tree);
    return tree;
  }

  async #readFolder(folder: string): Promise<ReadonlyMap<string, EarlierFile>> {
    // Of a folder with a large database no more is to be held than 32 bytes for each chunk.
    const nodes = await this.#repository.readNodes(await this.#treeOf(folder), this.#options);
    const files = new Map<string, EarlierFile>();
    for (const { name, type, ...node } of nodes) {
      const [size, content] = [Number(node.size ?? 0), node.content ?? []];
      if (type !== "file" || content.length !== Math.ceil(size / LIMITS.baseChunkBytes)) continue;
      const ids = Buffer.alloc(content.length * ID_BYTES);
      for (const [number, id] of content.entries()) ids.write(id, number * ID_BYTES, "hex");
      files.set(name, { size, ids });
    }
    return files;
  }

  /** @throws Failure `repo/damaged`. */
  async readChunk({ ids }: EarlierFile, at: number): Promise<Buffer> {
    const id = ids.toString("hex", at * ID_BYTES, (at + 1) * ID_BYTES) as ChunkId;
    return await this.#repository.readChunk("data", id, this.#options);
  }

  /**
   * Sees that chunks are there: a base that is not whole must not be written.
   * @throws Failure `repo/damaged` where one is not.
   */
  async refuseMissing(path: string, ids: Buffer): Promise<void> {
    const index = await this.#repository.loadIndex(this.#options);
    if (ids.length % ID_BYTES !== 0) throw bug("ids that are no ids");
    for (let at = 0; at < ids.length; at += ID_BYTES) {
      if (index.hasBytes("data", ids.subarray(at, at + ID_BYTES))) continue;
      throw new Failure("repo/damaged", `a chunk of '${path}' is in no pack of the repository`);
    }
  }
}

function lacks(name: string): Failure {
  return new Failure("repo/damaged", `the base has no usable '${name}'`);
}
