/** The files of spans: what lies in which snapshot, and of several of one segment the one that has most of it. */
import { mapConcurrent } from "../../base/concurrent.ts";
import { isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { TreeNode } from "../../format/node.ts";
import { WAL } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Restorer } from "../../repo/restore-tree.ts";
import { type Lsn, parseSegmentName, segmentStart } from "../../wal/lsn.ts";
import type { RefusedObject } from "./journal.ts";
import type { ListedSpan } from "./list.ts";
import { PARTIAL, WAL_FOLDER } from "./save-span.ts";
import type { Settled } from "./versions.ts";
import type { WalToRead } from "./wal-leg.ts";

/** A file of a span; `start` of a segment. */
export interface SpanFile {
  readonly timeline: number;
  readonly start: Lsn;
  readonly node: TreeNode;
  /** The id of its span's snapshot. */
  readonly span: string;
  /** So many bytes of it count. */
  readonly bytes: number;
}

/** Segments that a span has, whole or not, under the names that they have in `pg_wal`; and files of histories. @throws Failure `repo/damaged`. */
export async function readSegmentNodes(
  repository: Repository,
  { snapshot }: Pick<ListedSpan, "snapshot">,
  { segmentBytes, signal }: { segmentBytes: number; signal: AbortSignal },
): Promise<TreeNode[]> {
  const top = await repository.readTree(snapshot.tree, { signal });
  const root = top.find(({ name }) => name === WAL.folder)?.subtree;
  const folder = root && (await repository.readTree(root, { signal })).find(({ name }) => name === WAL_FOLDER)?.subtree;
  const nodes = folder === undefined ? [] : await repository.readTree(folder, { signal });
  return nodes.flatMap((node) => {
    const name = node.name.endsWith(PARTIAL) ? node.name.slice(0, -PARTIAL.length) : node.name;
    const isKnown = parseSegmentName(name, segmentBytes) !== undefined || name.endsWith(".history");
    return isKnown ? [{ ...node, name }] : [];
  });
}

/** In the spans' order. */
export async function readSpans(
  repository: Repository,
  { systemId, legs, spans, segmentBytes }: WalToRead,
  { signal, refused }: { signal: AbortSignal; refused: RefusedObject[] },
): Promise<SpanFile[]> {
  const isWanted = ({ span }: ListedSpan) =>
    span.systemId === systemId &&
    legs.some(
      ({ timeline, from, to }) =>
        span.timeline === timeline &&
        span.to > segmentStart(from, segmentBytes) &&
        (to === undefined || span.from < to),
    );
  const read = async (listed: ListedSpan): Promise<SpanFile[]> => {
    const { id } = listed;
    try {
      const nodes = await readSegmentNodes(repository, listed, { segmentBytes, signal });
      return nodes.map((node) => {
        const { timeline, start } = parseSegmentName(node.name, segmentBytes) ?? { timeline: 0, start: 0n };
        return { timeline, start, node, span: id, bytes: sizeOf(node) };
      });
    } catch (error) {
      if (!isFailure(error, "repo/damaged")) throw error;
      refused.push({ name: `span ${id.slice(0, 8)}`, reason: error.message });
      return [];
    }
  };
  return (await mapConcurrent(spans.filter(isWanted), LIMITS.smallReads, read, { signal })).flat();
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

/** Of each segment the file of which most counts: all of them are the same as far as they count. */
export function chooseSegments(files: readonly SpanFile[], { wrong, undecided }: Settled): SpanFile[] {
  const chosen = new Map<string, SpanFile>();
  for (const file of files) {
    const { timeline, start, node, span } = file;
    const ends = [
      ...wrong.filter((one) => one.name === span),
      ...undecided.filter((one) => one.timeline === timeline),
    ].flatMap(({ from, to }) => (from < start + BigInt(sizeOf(node)) && to > start ? [Number(from - start)] : []));
    const bytes = Math.max(0, Math.min(sizeOf(node), ...ends));
    if (bytes > (chosen.get(node.name)?.bytes ?? 0)) chosen.set(node.name, { ...file, bytes });
  }
  return [...chosen.values()];
}

export function sizeOf({ size }: TreeNode): number {
  return Number(size ?? 0);
}

export function isHistory({ node }: SpanFile): boolean {
  return node.name.endsWith(".history");
}
