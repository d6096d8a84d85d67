/** From the files of a restore to reads: pure, so that what is read together can be tested by itself. */
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { SEAL_OVERHEAD } from "../format/crypto.ts";
import type { ChunkIndex, ChunkLocation } from "./index.ts";
import type { Announced, CheckedFile, CheckTask } from "./restore-check.ts";
import type { RestorePart, RestoreTask, Target } from "./restore-files.ts";
import type { FileMeta } from "./restore-folders.ts";
import type { WalkedNode } from "./walk.ts";

export interface PlannedFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly content: readonly ChunkId[];
  readonly meta: FileMeta;
}

/** How long a chunk is once it is opened. */
function plainLength({ length, uncompressedLength }: ChunkLocation): number {
  return uncompressedLength === 0 ? length - SEAL_OVERHEAD : uncompressedLength;
}

/** Where each chunk of a file begins, and the file's whole length; undefined when a chunk is in no pack. */
export function layOut(
  content: readonly ChunkId[],
  index: ChunkIndex,
): { starts: number[]; length: number } | undefined {
  const starts: number[] = [];
  let length = 0;
  for (const id of content) {
    const [location] = index.find("data", id);
    if (location === undefined) return undefined;
    starts.push(length);
    length += plainLength(location);
  }
  return { starts, length };
}

interface Wanted {
  id: ChunkId;
  location: ChunkLocation;
  targets: Target[];
}

/**
 * Every chunk of these files once, in the order of the packs, reads that lie close together joined into one.
 * Each file's chunks must all be in the index.
 */
export function planReads(files: readonly PlannedFile[], index: ChunkIndex): RestoreTask[] {
  const wanted = new Map<ChunkId, Wanted>();
  for (const file of files) {
    const { starts } = layOut(file.content, index) ?? { starts: [] };
    const isWhole = file.content.length === 1;
    for (const [number, id] of file.content.entries()) {
      const target = { path: file.path, at: starts[number] ?? 0, ...(isWhole ? { whole: file.meta } : {}) };
      const known = wanted.get(id);
      if (known !== undefined) {
        known.targets.push(target);
        continue;
      }
      const [location] = index.find("data", id);
      if (location !== undefined) wanted.set(id, { id, location, targets: [target] });
    }
  }
  const sorted = [...wanted.values()].toSorted(({ location: a }, { location: b }) =>
    a.pack < b.pack ? -1 : a.pack > b.pack ? 1 : a.offset - b.offset,
  );
  return join(sorted);
}

/** Files to be read back, some to a task. What is in no pack was not restored. */
export function planChecks(files: readonly (WalkedNode & Announced)[], index: ChunkIndex): CheckTask[] {
  const tasks: { check: CheckedFile[] }[] = [];
  let bytes = Infinity;
  for (const { path, node, md5 } of files) {
    const content = node.content ?? [];
    const layout = layOut(content, index);
    if (layout === undefined) continue;
    const { starts, length } = layout;
    const chunks = content.map((id, at) => ({ id, length: (starts[at + 1] ?? length) - (starts[at] ?? 0) }));
    if (bytes > LIMITS.readMaxBytes) {
      tasks.push({ check: [] });
      bytes = 0;
    }
    tasks.at(-1)?.check.push({ path, md5, chunks });
    bytes += length;
  }
  return tasks;
}

function join(sorted: readonly Wanted[]): RestoreTask[] {
  const tasks: (RestoreTask & { length: number; parts: RestorePart[] })[] = [];
  for (const { id, location, targets } of sorted) {
    const { pack, offset, length, uncompressedLength } = location;
    const last = tasks.at(-1);
    const gap = last === undefined || last.pack !== pack ? Infinity : offset - (last.offset + last.length);
    const joined = last === undefined ? 0 : offset + length - last.offset;
    if (last !== undefined && gap <= LIMITS.readGapBytes && joined <= LIMITS.readMaxBytes) {
      last.parts.push({ id, offset: offset - last.offset, length, uncompressedLength, targets });
      last.length = joined;
    } else {
      tasks.push({ pack, offset, length, parts: [{ id, offset: 0, length, uncompressedLength, targets }] });
    }
  }
  return tasks;
}
