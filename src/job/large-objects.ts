/** Large objects of a point: read in its snapshot, handed to the loader, and compared with what a restore made of them. */
import { plural } from "../base/bytes.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Line } from "../base/line.ts";
import type { Progress } from "../base/progress.ts";
import { LARGE_OBJECTS as FOLDER, LARGE_OBJECTS_LIST, LARGE_OBJECTS_SQL, rangeFile } from "../point/layout.ts";
import type { LargeObjectsEntry, Manifest } from "../point/manifest.ts";
import type { ProofCheck } from "../point/proof.ts";
import { parseRanges } from "../point/ranges.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { LARGE_OBJECTS, type LargeObjectsPlan, planLargeObjects } from "../postgres/large-objects.ts";
import type { SavedLargeObjects as LargeObjectsSource } from "../postgres/load-large-objects.ts";
import { openRangeReader } from "../postgres/range-reader.ts";
import type { RangePlan } from "../postgres/ranges.ts";
import { openSnapshot } from "../postgres/snapshot.ts";
import type { PointReader } from "./point-reader.ts";
import type { SavedRange } from "./read-rows.ts";
import type { RangeResult } from "./sealing-tasks.ts";

export interface SavedLargeObjects {
  entry: LargeObjectsEntry;
  ranges: SavedRange[];
  /** SQL with their comments. */
  commentsSql: string;
}

interface CapturePorts {
  /** Sessions that ranges are read over. */
  readers: number;
  readRange(snapshotId: string, table: typeof LARGE_OBJECTS, range: RangePlan, sessions: number): Promise<RangeResult>;
  pace?: Line | undefined;
  progress: Progress;
  signal: AbortSignal;
}

/** Reads all of them. Undefined: there are none. */
export async function captureLargeObjects(
  ports: CapturePorts,
  snapshotId: string,
  { objects, k, ranges, commentsSql }: LargeObjectsPlan,
): Promise<SavedLargeObjects | undefined> {
  if (k === null) return undefined;
  const saved: SavedRange[] = [];
  await mapConcurrent(
    ranges,
    ports.readers,
    async (range) => {
      const read = async () => await ports.readRange(snapshotId, LARGE_OBJECTS, range, ports.readers);
      const result = await (ports.pace?.move(LIMITS.rangeTargetBytes, ports.signal, read) ?? read());
      ports.progress.advance(result.bytes);
      saved.push({ bucket: range.bucket, ...result });
    },
    ports,
  );
  saved.sort((a, b) => Number(a.bucket) - Number(b.bucket));
  const sum = (field: "rows" | "bytes") => saved.reduce((n, range) => n + range[field], 0);
  return {
    entry: { objects, k, ranges: saved.length, parts: sum("rows"), bytes: sum("bytes") },
    ranges: saved,
    commentsSql,
  };
}

/** As the loader takes them. Undefined: the point has none. */
export async function largeObjectsSource(
  reader: PointReader,
  { largeObjects }: Manifest,
): Promise<LargeObjectsSource | undefined> {
  if (largeObjects === undefined) return undefined;
  const folder = `database/${FOLDER}`;
  const nodes = new Map((await reader.folder(folder))?.map((node) => [node.name, node]));
  const listed = parseRanges(await reader.readText(`ranges/${LARGE_OBJECTS_LIST}`));
  const ranges = listed.map(({ bucket, rows }) => {
    const node = nodes.get(rangeFile(bucket));
    if (node !== undefined) return { bucket, rows, read: () => reader.readNode(node) };
    throw new Failure("point/invalid", `range ${bucket} of the large objects is not in the restore point`, {
      hint: "Use another restore point, and check this one with 'chatkeep verify --read-data'.",
    });
  });
  return { ranges, commentsSql: await readComments(reader) };
}

async function readComments(reader: PointReader): Promise<string> {
  const node = await reader.find(`database/${LARGE_OBJECTS_SQL}`);
  return node === undefined ? "" : await reader.readText(`database/${LARGE_OBJECTS_SQL}`);
}

/** Reads the restored ones back with the same ranges: each must have the same SHA-256, and none may be there besides. */
export async function checkLargeObjects(
  reader: PointReader,
  address: ServerAddress,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<ProofCheck[]> {
  const { largeObjects: entry } = await reader.manifest();
  if (entry === undefined) return [];
  await using snapshot = await openSnapshot(address, { signal });
  const plan = await planLargeObjects(snapshot.connection, entry);
  await using ranges = await openRangeReader(address, { signal });
  const found = new Map<string, string>();
  for (const range of plan.ranges) {
    const digest = await ranges.readRange(snapshot.id, LARGE_OBJECTS, range, async (chunk) => {
      progress.advance(chunk.length);
    });
    found.set(range.bucket, digest.sha256);
  }
  const expected = parseRanges(await reader.readText(`ranges/${LARGE_OBJECTS_LIST}`));
  const wrong = expected.filter(({ bucket, sha256 }) => found.get(bucket) !== sha256).map(({ bucket }) => bucket);
  const isSame = wrong.length === 0 && plan.objects === entry.objects && found.size === expected.length;
  const isCommented = plan.commentsSql === (await readComments(reader));
  const differs = isSame
    ? "their comments differ"
    : `${plural(wrong.length, "range")} differ, ${plan.objects} objects instead of ${entry.objects}`;
  return [
    {
      name: "large-objects",
      ok: isSame && isCommented,
      detail: isSame && isCommented ? `${plural(entry.objects, "large object")}: every SHA-256 equal` : differs,
    },
  ];
}
