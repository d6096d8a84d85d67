/** The files of spans: what lies in which snapshot, and of several of one segment the longest. */
import { isFailure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import type { TreeNode } from "../../format/node.ts";
import { WAL } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Restorer } from "../../repo/restore-tree.ts";
import { type Lsn, parseSegmentName, segmentStart } from "../../wal/lsn.ts";
import { differs, type RefusedObject } from "./journal.ts";
import { PARTIAL, WAL_FOLDER } from "./save-span.ts";
import type { WalToRead } from "./wal-leg.ts";

/** A file of a span; `start` of a segment. */
export interface SpanFile {
  readonly timeline: number;
  readonly start: Lsn;
  readonly node: TreeNode;
}

export async function readSpans(
  repository: Repository,
  { systemId, legs, spans, segmentBytes }: WalToRead,
  { signal, refused }: { signal: AbortSignal; refused: RefusedObject[] },
): Promise<SpanFile[]> {
  const files: SpanFile[] = [];
  for (const { id, snapshot, span } of spans) {
    const isWanted = legs.some(
      ({ timeline, from, to }) =>
        span.timeline === timeline &&
        span.to > segmentStart(from, segmentBytes) &&
        (to === undefined || span.from < to),
    );
    if (span.systemId !== systemId || !isWanted) continue;
    try {
      const top = await repository.readTree(snapshot.tree, { signal });
      const root = top.find(({ name }) => name === WAL.folder)?.subtree;
      const folder =
        root && (await repository.readTree(root, { signal })).find(({ name }) => name === WAL_FOLDER)?.subtree;
      for (const node of folder === undefined ? [] : await repository.readTree(folder, { signal })) {
        const name = node.name.endsWith(PARTIAL) ? node.name.slice(0, -PARTIAL.length) : node.name;
        const parsed = parseSegmentName(name, segmentBytes);
        if (parsed !== undefined) files.push({ ...parsed, node: { ...node, name } });
        else if (node.name.endsWith(".history")) files.push({ timeline: 0, start: 0n, node });
      }
    } catch (error) {
      if (!isFailure(error, "repo/damaged")) throw error;
      refused.push({ name: `span ${id.slice(0, 8)}`, reason: error.message });
    }
  }
  return files;
}

export async function restoreFiles(
  restorer: Restorer,
  files: readonly SpanFile[],
  refused: RefusedObject[],
): Promise<SpanFile[]> {
  if (files.length === 0) return [];
  const { problems } = await restorer.restore(files.map(({ node }) => ({ path: node.name, node })));
  const bad = new Map(problems.map(({ path, reason }) => [path, reason]));
  for (const [name, reason] of bad) refused.push({ name, reason });
  return files.filter(({ node }) => !bad.has(node.name));
}

/** Of each segment the longest; the others must be its beginning. */
export async function chooseSegments(
  repository: Repository,
  wants: (start: Lsn) => boolean,
  files: readonly SpanFile[],
  { signal }: { signal: AbortSignal },
): Promise<SpanFile[]> {
  const chosen = new Map<string, SpanFile>();
  for (const file of files.filter(({ start }) => wants(start))) {
    const known = chosen.get(file.node.name);
    if (known !== undefined) await requireBeginning(repository, known, file, { signal });
    if (known === undefined || sizeOf(known.node) < sizeOf(file.node)) chosen.set(file.node.name, file);
  }
  return [...chosen.values()];
}

export function sizeOf({ size }: TreeNode): number {
  return Number(size ?? 0);
}

/** @throws Failure `repo/damaged` where the shorter one is not how the longer one begins. */
async function requireBeginning(
  repository: Repository,
  one: SpanFile,
  other: SpanFile,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const length = Math.min(sizeOf(one.node), sizeOf(other.node));
  const [ahead, behind] = [one, other].map((file) => new ChunkReader(repository, file.node.content ?? [], { signal }));
  if (ahead === undefined || behind === undefined) return;
  for (let at = 0; at < length;) {
    const [a, b] = [await ahead.peek(), await behind.peek()];
    const shared = Math.min(a.length, b.length, length - at);
    if (shared === 0 || !a.subarray(0, shared).equals(b.subarray(0, shared))) throw differs(one.start + BigInt(at));
    ahead.skip(shared);
    behind.skip(shared);
    at += shared;
  }
}

/** A file's bytes from its chunks, wherever it was cut. */
class ChunkReader {
  readonly #repository: Repository;
  readonly #ids: ChunkId[];
  readonly #options: { signal: AbortSignal };
  #bytes: Buffer = Buffer.alloc(0);

  constructor(repository: Repository, ids: readonly ChunkId[], options: { signal: AbortSignal }) {
    this.#repository = repository;
    this.#ids = [...ids];
    this.#options = options;
  }

  /** The next bytes; none at the end. */
  async peek(): Promise<Buffer> {
    while (this.#bytes.length === 0) {
      const id = this.#ids.shift();
      if (id === undefined) break;
      this.#bytes = await this.#repository.readChunk("data", id, this.#options);
    }
    return this.#bytes;
  }

  skip(count: number): void {
    this.#bytes = this.#bytes.subarray(count);
  }
}

export function isHistory({ node }: SpanFile): boolean {
  return node.name.endsWith(".history");
}
