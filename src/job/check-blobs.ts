/** Compares every file of a restore point with what the restored database says of it. */
import { createHash } from "node:crypto";
import { formatCount, plural } from "../base/bytes.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { messageOf } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { TreeNode } from "../format/node.ts";
import { blobFolder, encodeName } from "../point/layout.ts";
import { countMissing, type MissingBlob } from "../point/manifest.ts";
import type { ProofCheck } from "../point/proof.ts";
import { isDamage } from "../repo/chunk.ts";
import type { ChunkIndex } from "../repo/index.ts";
import { basisName, coveredNames, type FileCounts, type FilesToRead, isInTurn } from "./files-to-read.ts";
import { listStorage, type FolderRow, type Queries, type StorageListing } from "./list-storage.ts";
import type { PointReader } from "./point-reader.ts";
import { blobFileName, type BlobRow } from "./storage-state.ts";

export interface BlobCheckOptions {
  /** Which files are read. */
  files: FilesToRead;
  progress: Progress;
  signal: AbortSignal;
}

interface Tally {
  checked: number;
  /** Of those that were read. */
  bytes: number;
  /** Not read: an earlier proof counts for them. */
  covered: number;
  /** Read though an earlier proof covers them. */
  inTurn: number;
  sizeOnly: number;
  wrong: string[];
  missing: string[];
  /** Recorded as missing, and so. */
  recorded: number;
  unlisted: number;
}

export async function checkBlobs(
  reader: PointReader,
  database: Queries,
  options: BlobCheckOptions,
): Promise<{ checks: ProofCheck[]; counts: FileCounts }> {
  const manifest = await reader.manifest();
  const recorded = new Map<string, Map<string, MissingBlob>>();
  for (const service of manifest.storage)
    recorded.set(service.name, new Map((await reader.missing(service)).map((blob) => [blob.id, blob])));
  const tally: Tally = {
    checked: 0,
    bytes: 0,
    covered: 0,
    inTurn: 0,
    sizeOnly: 0,
    wrong: [],
    missing: [],
    recorded: 0,
    unlisted: 0,
  };
  const listing = await listStorage(database);
  await mapConcurrent(
    listing.folders,
    2,
    (folder) => checkFolder(reader, listing, folder, recorded.get(folder.service) ?? new Map(), tally, options),
    options,
  );
  await countUnlisted(reader, listing, tally);
  const expected = manifest.storage.reduce((sum, service) => sum + countMissing(service).blobs, 0);
  const checks = [
    { name: "files", ok: tally.wrong.length === 0 && tally.unlisted === 0, detail: filesDetail(tally, options.files) },
    {
      name: "missing-files-as-recorded",
      ok: tally.missing.length === 0 && tally.recorded === expected,
      detail: recordedDetail(tally, expected),
    },
  ];
  return { checks, counts: { read: tally.checked, covered: tally.covered, bytes: tally.bytes } };
}

function recordedDetail({ missing, recorded }: Tally, expected: number): string {
  if (missing.length > 0) return `not recorded but missing: ${missing.slice(0, 3).join(", ")}`;
  if (recorded !== expected)
    return `${plural(expected, "file")} recorded as missing or damaged, but the database lists ${recorded} of them`;
  return `${plural(expected, "file")} recorded as missing or damaged when the point was taken, and no other`;
}

function filesDetail(tally: Tally, files: FilesToRead): string {
  if (tally.wrong.length > 0)
    return `${plural(tally.wrong.length, "file")} wrong: ${tally.wrong.slice(0, 3).join("; ")}`;
  if (tally.unlisted > 0) return `${plural(tally.unlisted, "file")} that the database does not list`;
  const sizeOnly = tally.sizeOnly === 0 ? "" : `, ${tally.sizeOnly} of them by size alone (no MD5 in the database)`;
  if (tally.covered === 0) return `${plural(tally.checked, "file")} compared with size and MD5${sizeOnly}`;
  const fresh = tally.checked - tally.inTurn;
  return `${formatCount(tally.checked)} of ${plural(tally.checked + tally.covered, "file")} compared with size and MD5${sizeOnly}: ${formatCount(fresh)} new since the proof of ${basisName(files)}, ${formatCount(tally.inTurn)} in their turn; the others are those that were compared before`;
}

async function checkFolder(
  reader: PointReader,
  listing: StorageListing,
  row: FolderRow,
  recorded: ReadonlyMap<string, MissingBlob>,
  tally: Tally,
  options: BlobCheckOptions,
): Promise<void> {
  const { group, folder } = blobFolder(BigInt(row.folder) << 10n);
  const path = `storage/${encodeName(row.service)}/${group}/${folder}`;
  const nodes = await nodesOf(reader, path, tally);
  const covered = await coveredNames(options.files, reader, { folder: path, nodes });
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const index = await reader.repository.loadIndex(options);
  const blobs = await listing.blobs(row);
  await mapConcurrent(
    blobs,
    4,
    async (blob) => {
      const name = blobFileName(blob.key);
      const node = byName.get(name);
      byName.delete(name);
      const isCovered = covered.has(name);
      const isRead = !isCovered || isInTurn(blob.id, options.files.slice);
      if (isCovered && isRead) tally.inTurn += 1;
      const compare = isRead ? compareFile : compareAlone(index);
      await checkBlob({ reader, compare, tally }, blob, node, recorded.get(blob.id.toString()));
      if (node !== undefined) tally[isRead ? "checked" : "covered"] += 1;
      if (isRead) tally.bytes += Number(node?.size ?? 0);
      options.progress.advance(blob.bytes);
    },
    options,
  );
  tally.unlisted += byName.size;
}

/** None where the folder cannot be read, which is told of. */
async function nodesOf(reader: PointReader, folder: string, tally: Tally): Promise<TreeNode[]> {
  try {
    return (await reader.folder(folder)) ?? [];
  } catch (error) {
    if (!isDamage(error)) throw error;
    tally.wrong.push(`${folder}: ${messageOf(error)}`);
    return [];
  }
}

/** Files in folders and services that the database has no blob in. */
async function countUnlisted(reader: PointReader, listing: StorageListing, tally: Tally): Promise<void> {
  const listed = new Set(listing.folders.map(({ service, folder }) => `${encodeName(service)}/${folder}`));
  for (const service of await nodesOf(reader, "storage", tally)) {
    for (const group of await nodesOf(reader, `storage/${service.name}`, tally)) {
      const path = `storage/${service.name}/${group.name}`;
      for (const { name } of await nodesOf(reader, path, tally)) {
        if (!listed.has(`${service.name}/${name}`))
          tally.unlisted += (await nodesOf(reader, `${path}/${name}`, tally)).length;
      }
    }
  }
}

/** True for one that is saved as it was found, though that is not what was uploaded. */
function isSavedAsFound({ reason, kept }: MissingBlob): boolean {
  return kept !== true && (reason === "short" || reason === "long" || reason === "altered");
}

interface BlobCheck {
  reader: PointReader;
  compare: typeof compareFile;
  tally: Tally;
}

async function checkBlob(
  { reader, compare, tally }: BlobCheck,
  blob: BlobRow,
  node: TreeNode | undefined,
  recorded: MissingBlob | undefined,
): Promise<void> {
  if (recorded !== undefined) tally.recorded += 1;
  if (node === undefined) {
    const isKnown = recorded !== undefined && recorded.kept !== true && !isSavedAsFound(recorded);
    if (!isKnown) tally.missing.push(`blob ${blob.id}`);
    return;
  }
  const asFound = recorded !== undefined && isSavedAsFound(recorded);
  // What is not as the database describes it can still be compared with what the point says that was found.
  const expected = asFound ? { bytes: Number(node.size ?? 0), checksum: null } : blob;
  const problem = await compare(reader, expected, node);
  if (problem !== undefined) tally.wrong.push(`blob ${blob.id}: ${problem}`);
  if (blob.checksum === null && compare === compareFile) tally.sizeOnly += 1;
}

/** Of a file that an earlier proof covers: that its bytes are still in the repository, and as many as the database says. */
function compareAlone(index: ChunkIndex): typeof compareFile {
  return async (_, expected, { size, content }) => {
    const lacking = (content ?? []).filter((id) => !index.has("data", id));
    if (lacking.length > 0) return `${plural(lacking.length, "chunk is", "chunks are")} in no pack`;
    return Number(size ?? 0) === expected.bytes ? undefined : `${size} bytes instead of ${expected.bytes}`;
  };
}

async function compareFile(
  reader: PointReader,
  expected: Pick<BlobRow, "bytes" | "checksum">,
  node: TreeNode,
): Promise<string | undefined> {
  const md5 = createHash("md5");
  let bytes = 0;
  try {
    for await (const chunk of reader.readNode(node)) {
      md5.update(chunk);
      bytes += chunk.length;
    }
  } catch (error) {
    if (isDamage(error)) return messageOf(error);
    throw error;
  }
  if (bytes !== expected.bytes) return `${bytes} bytes instead of ${expected.bytes}`;
  return expected.checksum === null || md5.digest("base64") === expected.checksum ? undefined : "the MD5 differs";
}
