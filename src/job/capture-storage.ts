/**
 * Saves the files of Active Storage, driven by the database's own list of them: nothing is walked, and what the
 * state before has is taken over without touching the disk.
 */
import { mapConcurrent } from "../base/concurrent.ts";
import { assert } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { blobPath, isSafeBlobKey } from "../chatwoot/blobs.ts";
import { fileNode, type TreeNode } from "../format/node.ts";
import { encodeTree } from "../format/tree.ts";
import type { MissingBlob } from "../point/manifest.ts";
import type { Connection } from "../postgres/connect.ts";
import type { StoredFile } from "../repo/store-file.ts";
import type { FileTask } from "./sealing-tasks.ts";
import {
  blobFileName,
  type BlobRow,
  BLOBS_QUERY,
  type FolderState,
  FOLDERS_QUERY,
  type ServiceState,
  STILL_THERE_QUERY,
  type StorageState,
} from "./storage-state.ts";

export type Queries = Pick<Connection, "query">;

/** One service's folder of blobs, as the database has it now. */
export interface FolderRow {
  service: string;
  folder: string;
  count: number;
  bytes: number;
  withoutChecksum: number;
  hash: string;
}

/** Which folders there are, and what lies in those that somebody asks about. */
export interface StorageListing {
  folders: FolderRow[];
  blobs(folder: FolderRow): Promise<BlobRow[]>;
}

/** What this needs of the world. */
export interface StoragePorts {
  /** Roots of the services whose files lie in a folder here, by service name. */
  roots: ReadonlyMap<string, string>;
  storeFiles: (files: FileTask[]) => Promise<StoredFile[]>;
  storeTree: (bytes: Buffer) => Promise<ChunkId>;
  readTree: (id: ChunkId) => Promise<TreeNode[]>;
  /** A file was looked at. */
  onFile: () => void;
  /** Reads every file again, even those that the state before has. */
  rereadAll: boolean;
  signal: AbortSignal;
  /** RFC 3339: what `since` says of a blob that is missing for the first time. */
  startedAt: string;
}

export interface StorageCapture {
  state: StorageState;
  blobsCopied: number;
  bytesCopied: number;
  foldersReused: number;
}

type FolderQueryRow = {
  service: string;
  folder: string;
  count: number;
  bytes: string;
  without_checksum: number;
  hash: string;
};

/** Asks the database for the folders now, and for their blobs when they are wanted. */
export async function listStorage(database: Queries): Promise<StorageListing> {
  const rows = await database.query<FolderQueryRow>(FOLDERS_QUERY);
  const folders = rows.map(({ service, folder, count, bytes, without_checksum, hash }) => ({
    service,
    folder,
    count,
    bytes: Number(bytes),
    withoutChecksum: without_checksum,
    hash,
  }));
  // One connection answers one question at a time; the folders are read several at once.
  let last: Promise<unknown> = Promise.resolve();
  return {
    folders,
    blobs(folder) {
      const answer = last.then(async () => await listBlobs(database, folder));
      last = answer.catch(() => {});
      return answer;
    },
  };
}

/**
 * The same, with the blobs of every folder that differs from `before` read at once: so that the snapshot which the
 * database is asked in can be let go before any file is read.
 */
export async function listStorageAtOnce(database: Queries, before: StorageState): Promise<StorageListing> {
  const listing = await listStorage(database);
  const lists = new Map<FolderRow, BlobRow[]>();
  const missing = new Map([...before].map(([name, service]) => [name, missingByFolder(service)] as const));
  for (const folder of listing.folders) {
    const known = before.get(folder.service)?.folders.get(folder.folder);
    const isUnchanged = known?.hash === folder.hash && missing.get(folder.service)?.has(folder.folder) !== true;
    if (!isUnchanged) lists.set(folder, await listing.blobs(folder));
  }
  return { folders: listing.folders, blobs: async (folder) => lists.get(folder) ?? [] };
}

/** Takes the state of all services; `before` is what needs no second reading. */
export async function captureStorage(
  ports: StoragePorts,
  listing: StorageListing,
  before: StorageState,
): Promise<StorageCapture> {
  const rows = listing.folders;
  const capture: StorageCapture = { state: new Map(), blobsCopied: 0, bytesCopied: 0, foldersReused: 0 };
  for (const row of rows) {
    if (!capture.state.has(row.service))
      capture.state.set(row.service, { name: row.service, folders: new Map(), missing: new Map() });
  }
  const known = [...capture.state.keys()].map((service) => [service, missingByFolder(before.get(service))] as const);
  const missingBefore = new Map(known);
  await mapConcurrent(
    rows,
    4,
    (row) => captureFolder(ports, listing, row, before, missingBefore.get(row.service), capture),
    ports,
  );
  for (const service of capture.state.values()) {
    service.folders = new Map([...service.folders].toSorted(([a], [b]) => Number(a) - Number(b)));
    service.missing = new Map([...service.missing].toSorted(([a], [b]) => Number(a) - Number(b)));
  }
  return capture;
}

function missingByFolder(service: ServiceState | undefined): Map<string, MissingBlob[]> {
  return Map.groupBy(service?.missing.values() ?? [], (blob) =>
    (BigInt(blob.id) >> BigInt(LIMITS.blobFolderBits)).toString(),
  );
}

async function captureFolder(
  ports: StoragePorts,
  listing: StorageListing,
  row: FolderRow,
  before: StorageState,
  missingBefore: Map<string, MissingBlob[]> | undefined,
  capture: StorageCapture,
): Promise<void> {
  const service = capture.state.get(row.service);
  const known = before.get(row.service)?.folders.get(row.folder);
  const gone = missingBefore?.get(row.folder) ?? [];
  if (service === undefined) return;
  const facts = { count: row.count, bytes: row.bytes, withoutChecksum: row.withoutChecksum, hash: row.hash };
  if (!ports.rereadAll && known?.hash === row.hash && gone.length === 0) {
    service.folders.set(row.folder, { ...facts, tree: known.tree });
    capture.foldersReused += 1;
    return;
  }
  const tree = await readFolder(ports, await listing.blobs(row), known, gone, service, capture);
  service.folders.set(row.folder, { ...facts, tree });
}

type BlobQueryRow = {
  id: string;
  key: string;
  filename: string;
  checksum: string | null;
  bytes: string;
  created_at: string;
};

async function listBlobs(database: Queries, row: FolderRow): Promise<BlobRow[]> {
  const first = BigInt(row.folder) << BigInt(LIMITS.blobFolderBits);
  const end = first + (1n << BigInt(LIMITS.blobFolderBits));
  const rows = await database.query<BlobQueryRow>(BLOBS_QUERY, [row.service, first.toString(), end.toString()]);
  return rows.map((blob) => ({
    id: BigInt(blob.id),
    key: blob.key,
    filename: blob.filename,
    checksum: blob.checksum,
    bytes: Number(blob.bytes),
    createdAt: formatNodeTime(blob.created_at),
  }));
}

/** As a node's times are written: no trailing zeros; the epoch where a row has no usable time. */
function formatNodeTime(text: string): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(text)) return "1970-01-01T00:00:00Z";
  return text.replace(/\.?0*Z$/, "Z");
}

async function readFolder(
  ports: StoragePorts,
  blobs: BlobRow[],
  known: FolderState | undefined,
  gone: MissingBlob[],
  service: ServiceState,
  capture: StorageCapture,
): Promise<ChunkId | undefined> {
  const before = new Map<string, TreeNode>();
  if (known?.tree !== undefined) for (const node of await ports.readTree(known.tree)) before.set(node.name, node);
  const wasMissing = new Map(gone.map((blob) => [blob.id, blob]));
  const nodes: TreeNode[] = [];
  /** Files that were right when they were read: better than whatever is there now, if that is not. */
  const whole = new Map<bigint, TreeNode>();
  const wanted: BlobRow[] = [];
  for (const blob of blobs) {
    const node = before.get(blobFileName(blob.key));
    const isWhole = node !== undefined && !wasMissing.has(blob.id.toString()) && Number(node.size ?? 0) === blob.bytes;
    if (isWhole) whole.set(blob.id, node);
    if (isWhole && !ports.rereadAll) nodes.push(node);
    else wanted.push(blob);
  }
  for (const { blob, file } of await fetchBlobs(ports, ports.roots.get(service.name), wanted)) {
    const reason = problemOf(blob, file);
    if (reason !== undefined)
      service.missing.set(blob.id.toString(), missingEntry(blob, reason, wasMissing, ports.startedAt));
    const read = file.kind === "stored" ? blobNode(blob, file) : before.get(blobFileName(blob.key));
    const node = reason === undefined ? read : (whole.get(blob.id) ?? read);
    if (node !== undefined) nodes.push(node);
    if (file.kind === "stored") {
      capture.blobsCopied += 1;
      capture.bytesCopied += file.size;
    }
  }
  return nodes.length === 0 ? undefined : await ports.storeTree(encodeTree(nodes));
}

async function fetchBlobs(
  ports: StoragePorts,
  root: string | undefined,
  blobs: BlobRow[],
): Promise<{ blob: BlobRow; file: StoredFile }[]> {
  if (root === undefined) {
    return blobs.map((blob) => ({
      blob,
      file: { kind: "unreadable", reason: "this storage service is not read yet" },
    }));
  }
  const unsafe = blobs.filter((blob) => !isSafeBlobKey(blob.key));
  const safe = blobs.filter((blob) => isSafeBlobKey(blob.key));
  const batches: BlobRow[][] = [];
  for (let at = 0; at < safe.length; at += LIMITS.filesPerTask) batches.push(safe.slice(at, at + LIMITS.filesPerTask));
  const results = await Promise.all(
    batches.map(async (batch) => {
      const files = await ports.storeFiles(batch.map((blob) => ({ path: blobPath(root, blob.key) })));
      assert(files.length === batch.length, "a sealing thread answered for fewer files than it was asked");
      return batch.map((blob, at) => {
        ports.onFile();
        return { blob, file: files[at] ?? { kind: "missing" as const } };
      });
    }),
  );
  const refused = { kind: "unreadable" as const, reason: "its key is not a file name" };
  return [...results.flat(), ...unsafe.map((blob) => ({ blob, file: refused }))];
}

function problemOf(blob: BlobRow, file: StoredFile): MissingBlob["reason"] | undefined {
  if (file.kind !== "stored") return file.kind;
  if (file.size < blob.bytes) return "short";
  if (file.size > blob.bytes) return "long";
  return blob.checksum !== null && blob.checksum !== file.md5 ? "altered" : undefined;
}

function missingEntry(
  blob: BlobRow,
  reason: MissingBlob["reason"],
  before: ReadonlyMap<string, MissingBlob>,
  startedAt: string,
): MissingBlob {
  const id = blob.id.toString();
  const since = before.get(id)?.since ?? startedAt;
  return { id, key: blob.key, filename: blob.filename, bytes: blob.bytes, reason, since };
}

function blobNode(blob: BlobRow, file: StoredFile & { kind: "stored" }): TreeNode {
  return fileNode({ name: blobFileName(blob.key), size: file.size, content: file.content, mtime: blob.createdAt });
}

/**
 * Looks up those whose file was not there in a fresh query: where the row is gone too, Chatwoot deleted the blob
 * while the backup ran, which is no loss. Returns how many.
 */
export async function tellPurged(database: Queries, state: StorageState): Promise<number> {
  let purged = 0;
  for (const service of state.values()) {
    const ids = [...service.missing.values()].filter((blob) => blob.reason === "missing").map((blob) => blob.id);
    if (ids.length === 0) continue;
    const rows = await database.query<{ id: string }>(STILL_THERE_QUERY, [ids]);
    const there = new Set(rows.map((row) => row.id));
    for (const id of ids.filter((id) => !there.has(id))) {
      const blob = service.missing.get(id);
      if (blob !== undefined) service.missing.set(id, { ...blob, reason: "purged" });
      purged += 1;
    }
  }
  return purged;
}
