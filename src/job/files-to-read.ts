/**
 * Which uploaded files a drill reads: those that are new since the last proof in this repository, and a twentieth of the
 * others, another one each time. What an earlier proof covers is the same content in the same place: its chunks have the same
 * names, so they are the very bytes that were compared then, by that proof or by one that it builds upon.
 */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { TreeNode } from "../format/node.ts";
import { parseProof, type ProvenFiles } from "../point/proof.ts";
import { isDamage } from "../repo/chunk.ts";
import type { Repository } from "../repo/repository.ts";
import { PointReader } from "./point-reader.ts";
import type { Point, PointList } from "./points.ts";
import { readRecord } from "./records.ts";

export interface FilesToRead {
  /** The point whose proof covers what is the same in it; undefined where every file is read. */
  basis: PointReader | undefined;
  /** Which twentieth of the rest is read. */
  slice: number;
}

export interface FilesChoice {
  repository: Repository;
  point: Point;
  list: PointList;
  /** Bytes of all uploaded files in the point. */
  bytes: number;
  /** Every file was asked for. */
  isAll: boolean;
  /** Below so many bytes every file is read. */
  wholeBelowBytes?: number | undefined;
  clock: Pick<Clock, "now">;
  signal: AbortSignal;
}

/** So many drills in a row read each file once at least. */
export const SLICES = 20;

const EVERY: FilesToRead = { basis: undefined, slice: 0 };

/** Decides before anything is read. Without a proof that holds, every file is. */
export async function chooseFiles(choice: FilesChoice): Promise<FilesToRead> {
  const { repository, point, list, bytes, isAll, clock, signal } = choice;
  const { wholeBelowBytes = LIMITS.drillWholeBytes } = choice;
  // After a drill that failed nothing that an earlier one said counts, and what is small is not worth a choice.
  if (isAll || bytes < wholeBelowBytes || point.proof?.proven === false || point.notWhole !== undefined) return EVERY;
  const last = newestProof(list, point.installationId, clock.now());
  if (last?.proof?.proven !== true) return EVERY;
  const slice = await nextSlice(repository, last, { signal });
  return slice === undefined ? EVERY : { basis: new PointReader(repository, last, { signal }), slice };
}

/**
 * One that a clock wrote which was ahead would stay the newest, and the same twentieth be read each time: it does not count. A
 * drill that failed counts whatever its clock said.
 */
function newestProof({ points }: PointList, installationId: string, nowMs: number): Point | undefined {
  return points
    .filter((point) => point.proof !== undefined && point.installationId === installationId)
    .filter(({ proof }) => proof?.proven !== true || Date.parse(proof.at) <= nowMs) // oxlint-disable-line no-restricted-globals -- parses, reads no clock
    .toSorted((a, b) => Date.parse(b.proof?.at ?? "") - Date.parse(a.proof?.at ?? "")) // oxlint-disable-line no-restricted-globals -- parses, reads no clock
    .at(0);
}

/** Of a proof that read everything the first twentieth comes next; undefined where it is damaged. */
async function nextSlice(
  repository: Repository,
  { id, proof }: Point,
  options: { signal: AbortSignal },
): Promise<number | undefined> {
  if (proof === undefined) return undefined;
  try {
    const { files } = parseProof(await readRecord(repository, { kind: "proof", point: id, ...proof }, options));
    return files?.slice === undefined || files.slice === null ? 0 : (files.slice + 1) % SLICES;
  } catch (error) {
    if (isDamage(error) || isFailure(error, "point/invalid")) return undefined;
    throw error;
  }
}

export type FileCounts = Pick<ProvenFiles, "read" | "covered" | "bytes">;

/** What a proof says of the files that it read. */
export function provenFiles({ basis, slice }: FilesToRead, counts: FileCounts): ProvenFiles {
  return { ...counts, basis: basis?.point.id ?? null, slice: basis === undefined ? null : slice };
}

/** Blobs of consecutive ids lie in the same packs. */
const SLICE_BITS = 4n;

/** True for a file of the twentieth whose turn it is. */
export function isInTurn(id: bigint, slice: number): boolean {
  return (id >> SLICE_BITS) % BigInt(SLICES) === BigInt(slice);
}

/** The names of a folder's files that are in the same place in the point that was proven, with the same content. */
export async function coveredNames(
  { basis }: FilesToRead,
  reader: PointReader,
  { folder, nodes }: { folder: string; nodes: readonly TreeNode[] },
): Promise<ReadonlySet<string>> {
  if (basis === undefined) return new Set();
  try {
    const [own, proven] = [await reader.folderTree(folder), await basis.folderTree(folder)];
    if (proven === undefined) return new Set();
    if (own === proven) return new Set(nodes.map(({ name }) => name));
    const before = new Map((await basis.folder(folder))?.map((node) => [node.name, node]));
    return new Set(nodes.filter((node) => isSameContent(node, before.get(node.name))).map(({ name }) => name));
  } catch (error) {
    // Of a point that cannot be read any more, nothing counts.
    if (isDamage(error)) return new Set();
    throw error;
  }
}

function isSameContent(node: TreeNode, before: TreeNode | undefined): boolean {
  const [own, other] = [node.content ?? [], before?.content ?? []];
  return before?.size === node.size && own.length === other.length && own.every((id, at) => id === other[at]);
}

/** For people: which proof the others were read by. */
export function basisName({ basis }: FilesToRead): string {
  return basis === undefined ? "" : shortId(basis.point.id);
}
