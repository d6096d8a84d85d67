/** Compares every file of a restore point with what the restored database says of it. */
import { createHash } from "node:crypto";
import { plural } from "../base/bytes.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { isFailure, messageOf } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { TreeNode } from "../format/node.ts";
import { blobFolder, encodeName } from "../point/layout.ts";
import type { MissingBlob } from "../point/manifest.ts";
import type { ProofCheck } from "../point/proof.ts";
import { listStorage, type FolderRow, type Queries, type StorageListing } from "./list-storage.ts";
import type { PointReader } from "./point-reader.ts";
import { blobFileName, type BlobRow } from "./storage-state.ts";

export interface BlobCheckOptions {
  progress: Progress;
  signal: AbortSignal;
}

interface Tally {
  checked: number;
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
): Promise<ProofCheck[]> {
  const manifest = await reader.manifest();
  const recorded = new Map(manifest.storage.map((s) => [s.name, new Map(s.missing.map((blob) => [blob.id, blob]))]));
  const tally: Tally = { checked: 0, sizeOnly: 0, wrong: [], missing: [], recorded: 0, unlisted: 0 };
  const listing = await listStorage(database);
  await mapConcurrent(
    listing.folders,
    2,
    (folder) => checkFolder(reader, listing, folder, recorded.get(folder.service) ?? new Map(), tally, options),
    options,
  );
  const expected = manifest.storage.reduce((sum, service) => sum + service.missing.length, 0);
  return [
    {
      name: "files",
      ok: tally.wrong.length === 0 && tally.unlisted === 0,
      detail: filesDetail(tally),
    },
    {
      name: "missing-files-as-recorded",
      ok: tally.missing.length === 0 && tally.recorded === expected,
      detail:
        tally.missing.length === 0
          ? `${plural(expected, "file")} recorded as missing or damaged when the point was taken, and no other`
          : `not recorded but missing: ${tally.missing.slice(0, 3).join(", ")}`,
    },
  ];
}

function filesDetail(tally: Tally): string {
  if (tally.wrong.length > 0)
    return `${plural(tally.wrong.length, "file")} wrong: ${tally.wrong.slice(0, 3).join("; ")}`;
  if (tally.unlisted > 0) return `${plural(tally.unlisted, "file")} that the database does not list`;
  const sizeOnly = tally.sizeOnly === 0 ? "" : `, ${tally.sizeOnly} of them by size alone (no MD5 in the database)`;
  return `${plural(tally.checked, "file")} compared with size and MD5${sizeOnly}`;
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
  const nodes = (await reader.folder(`storage/${encodeName(row.service)}/${group}/${folder}`)) ?? [];
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const blobs = await listing.blobs(row);
  await mapConcurrent(
    blobs,
    4,
    async (blob) => {
      const node = byName.get(blobFileName(blob.key));
      byName.delete(blobFileName(blob.key));
      await checkBlob(reader, blob, node, recorded.get(blob.id.toString()), tally);
      options.progress.advance(blob.bytes);
    },
    options,
  );
  tally.unlisted += byName.size;
}

async function checkBlob(
  reader: PointReader,
  blob: BlobRow,
  node: TreeNode | undefined,
  recorded: MissingBlob | undefined,
  tally: Tally,
): Promise<void> {
  if (recorded !== undefined) tally.recorded += 1;
  if (node === undefined) {
    if (recorded === undefined) tally.missing.push(`blob ${blob.id}`);
    return;
  }
  const problem = await compareFile(reader, blob, node);
  if (problem !== undefined && recorded === undefined) tally.wrong.push(`blob ${blob.id}: ${problem}`);
  tally.checked += 1;
  if (blob.checksum === null) tally.sizeOnly += 1;
}

async function compareFile(reader: PointReader, blob: BlobRow, node: TreeNode): Promise<string | undefined> {
  const md5 = createHash("md5");
  let bytes = 0;
  try {
    for await (const chunk of reader.readNode(node)) {
      md5.update(chunk);
      bytes += chunk.length;
    }
  } catch (error) {
    if (isFailure(error, "repo/damaged") || isFailure(error, "store/not-found")) return messageOf(error);
    throw error;
  }
  if (bytes !== blob.bytes) return `${bytes} bytes instead of ${blob.bytes}`;
  return blob.checksum === null || md5.digest("base64") === blob.checksum ? undefined : "the MD5 differs";
}
