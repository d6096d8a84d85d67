/** Reads what is inside one restore point: its manifest, its lists, its files and folders. */
import { Failure } from "../base/errors.ts";
import { type ChunkId, shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { TreeNode } from "../format/node.ts";
import { MANIFEST, missingList, ROOT } from "../point/layout.ts";
import { type Manifest, type MissingBlob, parseManifest, type ServiceEntry } from "../point/manifest.ts";
import { parseMissing } from "../point/ranges.ts";
import type { Repository } from "../repo/repository.ts";
import type { Point } from "./points.ts";

export class PointReader {
  readonly repository: Repository;
  readonly point: Point;
  readonly #signal: AbortSignal;
  readonly #folders = new Map<string, Promise<TreeNode[] | undefined>>();
  #manifest: Manifest | undefined;

  constructor(repository: Repository, point: Point, { signal }: { signal: AbortSignal }) {
    this.repository = repository;
    this.point = point;
    this.#signal = signal;
  }

  /** The nodes of a folder inside the point; undefined when there is no such folder. Small folders are remembered. */
  async folder(path: string): Promise<TreeNode[] | undefined> {
    if (path.split("/").length > 2) return await this.#readFolder(path);
    const known = this.#folders.get(path);
    if (known !== undefined) return await known;
    const reading = this.#readFolder(path);
    this.#folders.set(path, reading);
    reading.catch(() => this.#folders.delete(path));
    return await reading;
  }

  async #readFolder(path: string): Promise<TreeNode[] | undefined> {
    const tree = await this.folderTree(path);
    return tree === undefined ? undefined : await this.repository.readTree(tree, { signal: this.#signal });
  }

  /** The id of a folder's tree; undefined when there is no such folder. The empty path is the point's own folder. */
  async folderTree(path: string): Promise<ChunkId | undefined> {
    if (path === "") {
      const top = await this.repository.readTree(this.point.snapshot.tree, { signal: this.#signal });
      return top.find((node) => node.name === ROOT)?.subtree;
    }
    return (await this.find(path))?.subtree;
  }

  /** The node at a path; undefined when there is none. */
  async find(path: string): Promise<TreeNode | undefined> {
    const cut = path.lastIndexOf("/");
    const nodes = await this.folder(cut < 0 ? "" : path.slice(0, cut));
    const name = path.slice(cut + 1);
    return nodes?.find((node) => node.name === name);
  }

  /** The chunks of a file, in order, each verified. @throws Failure `point/invalid` when the file is not in the point. */
  async *read(path: string): AsyncGenerator<Buffer, void, void> {
    const node = await this.find(path);
    if (node?.type !== "file" || node.content === null) {
      throw new Failure("point/invalid", `restore point ${shortId(this.point.id)} has no file '${path}'`, {
        hint: "'chatkeep ls' shows what is in it.",
      });
    }
    yield* this.readNode(node);
  }

  /** Some chunks are asked for ahead, so that not each of them waits for the way to a remote place and back. */
  async *readNode(node: TreeNode): AsyncGenerator<Buffer, void, void> {
    const content = node.content ?? [];
    const reading: Promise<Buffer>[] = [];
    for (let next = 0; next < content.length || reading.length > 0;) {
      const id = content[next];
      if (id !== undefined && reading.length < LIMITS.chunksAhead) {
        const chunk = this.repository.readChunk("data", id, { signal: this.#signal });
        // Told in its turn, or to nobody where the reader has stopped.
        chunk.catch(() => {});
        reading.push(chunk);
        next += 1;
        continue;
      }
      const first = await reading.shift();
      if (first !== undefined) yield first;
    }
  }

  /** A whole small file. */
  async readBytes(path: string): Promise<Buffer> {
    return Buffer.concat(await Array.fromAsync(this.read(path)));
  }

  async readText(path: string): Promise<string> {
    return (await this.readBytes(path)).toString("utf8");
  }

  /** All files of a service that are not as the database describes them, in the order of their ids. */
  async missing({ name, missing, missingInAll }: ServiceEntry): Promise<MissingBlob[]> {
    if (missingInAll === undefined) return missing;
    const all: MissingBlob[] = [];
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of this.read(missingList(name))) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) all.push(parseMissing(line));
    }
    if (rest === "" && all.length === missingInAll.blobs) return all;
    throw new Failure(
      "point/invalid",
      `restore point ${shortId(this.point.id)} lists other missing files than it counts`,
    );
  }

  async manifest(): Promise<Manifest> {
    this.#manifest ??= parseManifest(await this.readText(MANIFEST));
    return this.#manifest;
  }
}
