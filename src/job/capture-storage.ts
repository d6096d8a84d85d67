/**
 * Saves the files of Active Storage, driven by the database's own list of them: nothing is walked, and what the
 * state before has is taken over without touching the disk.
 */
import { mapConcurrent } from "../base/concurrent.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { fileNode, type TreeNode } from "../format/node.ts";
import { encodeTree } from "../format/tree.ts";
import type { MissingBlob } from "../point/manifest.ts";
import { isDamage } from "../repo/chunk.ts";
import type { StoredFile } from "../repo/store-file.ts";
import { fetchBlobs, problemOf } from "./fetch-blobs.ts";
import { type FolderRow, hashRows, type StorageListing } from "./list-storage.ts";
import type { FileTask, ObjectsTask } from "./sealing-tasks.ts";
import type { StorageSources } from "./sources.ts";
import {
  blobFileName,
  type BlobRow,
  type FolderState,
  missingByFolder,
  type ServiceState,
  type StorageState,
} from "./storage-state.ts";

/** What this needs of the world. */
export interface StoragePorts {
  sources: StorageSources;
  storeFiles: (files: FileTask[]) => Promise<StoredFile[]>;
  storeObjects: (task: Pick<ObjectsTask, "source" | "files" | "isNew">) => Promise<StoredFile[]>;
  storeTree: (bytes: Buffer) => Promise<ChunkId>;
  readTree: (id: ChunkId) => Promise<TreeNode[]>;
  /** True when the repository holds this chunk of a file. */
  isStored: (id: ChunkId) => boolean;
  /** Trees that are surely whole: stored, or looked through, by this run. */
  trusted: Set<ChunkId>;
  /** True for the tree of a settled folder that must still be whole: nothing of it needs to be looked at. */
  isKept: (tree: ChunkId) => boolean;
  /** What is taken over was in the repository before this run, so it is settled. */
  settles: boolean;
  /** True when the parent has this row, and it asks for the same bytes. */
  isKnownRow: (blob: BlobRow) => Promise<boolean>;
  /** What is elsewhere in the repository of files that the state before lacks, by their ids; each surely what its row asks for. */
  elsewhere?: (row: FolderRow, blobs: readonly BlobRow[]) => Promise<ReadonlyMap<bigint, TreeNode>>;
  /** The same of files that cannot be read, or not as their rows say, and that the state before lacks. */
  followed?: (row: FolderRow, blobs: readonly BlobRow[]) => Promise<ReadonlyMap<bigint, TreeNode>>;
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
  /** Files that the state before has, and the repository has no more. */
  lost: number;
}

/** Takes the state of all services; `before` is what needs no second reading. */
export async function captureStorage(
  ports: StoragePorts,
  listing: StorageListing,
  before: StorageState,
): Promise<StorageCapture> {
  const rows = listing.folders;
  const capture: StorageCapture = { state: new Map(), blobsCopied: 0, bytesCopied: 0, foldersReused: 0, lost: 0 };
  for (const row of rows) {
    if (!capture.state.has(row.service))
      capture.state.set(row.service, { name: row.service, folders: new Map(), missing: new Map(), reasons: new Map() });
  }
  const known = [...before.values()].map((service) => ({ ...service, gone: missingByFolder(service) }));
  await mapConcurrent(rows, 4, (row) => captureFolder(ports, listing, row, known, capture), ports);
  for (const service of capture.state.values()) {
    service.folders = new Map([...service.folders].toSorted(([a], [b]) => Number(a) - Number(b)));
    service.missing = new Map([...service.missing].toSorted(([a], [b]) => Number(a) - Number(b)));
  }
  return capture;
}

/** A service as the state before has it, with what was not as it should be by folder. */
interface KnownService extends ServiceState {
  gone: ReadonlyMap<string, MissingBlob[]>;
}

async function captureFolder(
  ports: StoragePorts,
  listing: StorageListing,
  row: FolderRow,
  before: readonly KnownService[],
  capture: StorageCapture,
): Promise<void> {
  const service = capture.state.get(row.service);
  const own = before.find(({ name }) => name === row.service);
  const known = own?.folders.get(row.folder);
  const gone = own?.gone.get(row.folder) ?? [];
  if (service === undefined) return;
  const { count, bytes, withoutChecksum } = row;
  if (!ports.rereadAll && known?.hash === row.hash && gone.length === 0 && (await isWholeFolder(ports, row, known))) {
    const isSettled = ports.settles || known.isSettled === true;
    const { hash, tree, isFresh = false } = known;
    service.folders.set(row.folder, { count, bytes, withoutChecksum, hash, tree, isSettled, isFresh });
    capture.foldersReused += 1;
    return;
  }
  const blobs = await listing.blobs(row);
  const others = before.filter(({ name }) => name !== row.service);
  const tree = await readFolder(ports, { row, blobs, known, gone, others }, service, capture);
  // Of just these rows: outside a snapshot the folder may have changed since its hash was asked for.
  service.folders.set(row.folder, { count, bytes, withoutChecksum, hash: hashRows(blobs), tree, isFresh: true });
}

/**
 * True when the tree holds every file of an unchanged folder, and the repository holds every chunk of them. Packs can
 * be lost, and `restic repair` makes trees that lack what was lost: what is not there must not be taken over.
 */
async function isWholeFolder(ports: StoragePorts, row: FolderRow, { tree, isSettled }: FolderState): Promise<boolean> {
  if (tree === undefined) return false;
  if (isSettled === true && ports.isKept(tree)) ports.trusted.add(tree);
  if (ports.trusted.has(tree)) return true;
  const nodes = await readNodes(ports, tree);
  const bytes = nodes.reduce((sum, node) => sum + Number(node.size ?? 0), 0);
  const isWhole = nodes.length === row.count && bytes === row.bytes && nodes.every((node) => isStored(ports, node));
  if (isWhole) ports.trusted.add(tree);
  return isWhole;
}

function isStored(ports: StoragePorts, node: TreeNode): boolean {
  return node.content?.every((id) => ports.isStored(id)) === true;
}

/** The nodes of a tree of the state before; none where it cannot be read any more: then every file is read again. */
async function readNodes(ports: StoragePorts, tree: ChunkId | undefined): Promise<TreeNode[]> {
  if (tree === undefined) return [];
  try {
    return await ports.readTree(tree);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return [];
  }
}

/** What the state before gives for one folder. */
interface Before {
  /** Rows that change between two looks of one run keep their keys: Rails never gives one key to other bytes. */
  isFresh: boolean;
  nodes: ReadonlyMap<string, TreeNode>;
  missing: ReadonlyMap<string, MissingBlob>;
}

/** The node to take over: one that was right when it was read, is asked for by an unchanged row, and is all there. */
async function wholeNode(
  ports: StoragePorts,
  blob: BlobRow,
  { isFresh, nodes, missing }: Before,
  capture: StorageCapture,
): Promise<TreeNode | undefined> {
  const node = nodes.get(blobFileName(blob.key));
  const entry = missing.get(blob.id.toString());
  const wasRight = node !== undefined && (entry === undefined || entry.kept === true);
  if (!wasRight || Number(node.size ?? 0) !== blob.bytes) return undefined;
  if (!isFresh && !(await ports.isKnownRow(blob))) return undefined;
  if (isStored(ports, node)) return node;
  capture.lost += 1;
  return undefined;
}

/** A folder that has to be looked at row by row. */
interface ChangedFolder {
  row: FolderRow;
  blobs: BlobRow[];
  known: FolderState | undefined;
  gone: MissingBlob[];
  /** The other services, as the state before has them. */
  others: readonly KnownService[];
}

async function beforeOf(
  ports: StoragePorts,
  known: FolderState | undefined,
  gone: readonly MissingBlob[],
): Promise<Before> {
  return {
    isFresh: known?.isFresh === true,
    nodes: new Map((await readNodes(ports, known?.tree)).map((node) => [node.name, node])),
    missing: new Map(gone.map((blob) => [blob.id, blob])),
  };
}

/**
 * What the state before has of these rows under other services: somebody moved the files and told the rows. The key stays
 * when that happens, and with it the bytes.
 */
async function movedNodes(
  ports: StoragePorts,
  { row, others }: ChangedFolder,
  blobs: readonly BlobRow[],
  capture: StorageCapture,
): Promise<Map<bigint, TreeNode>> {
  const moved = new Map<bigint, TreeNode>();
  if (blobs.length === 0) return moved;
  for (const other of others) {
    const known = other.folders.get(row.folder);
    if (known?.tree === undefined) continue;
    const before = await beforeOf(ports, known, other.gone.get(row.folder) ?? []);
    for (const blob of blobs) {
      const node = moved.has(blob.id) ? undefined : await wholeNode(ports, blob, before, capture);
      if (node !== undefined) moved.set(blob.id, node);
    }
  }
  return moved;
}

/** Of files whose service is another now, those that are there too, by one look at each. */
async function thoseThere(ports: StoragePorts, service: string, blobs: readonly BlobRow[]): Promise<Set<bigint>> {
  const found = await mapConcurrent(
    blobs,
    LIMITS.objectsInFlight,
    async ({ key, bytes }) => await ports.sources.has(service, key, bytes),
    ports,
  );
  return new Set(blobs.filter((_, at) => found[at]).map(({ id }) => id));
}

async function readFolder(
  ports: StoragePorts,
  folder: ChangedFolder,
  service: ServiceState,
  capture: StorageCapture,
): Promise<ChunkId | undefined> {
  const before = await beforeOf(ports, folder.known, folder.gone);
  const nodes: TreeNode[] = [];
  /** Files that were right when they were read: better than whatever is there now, if that is not. */
  const whole = new Map<bigint, TreeNode>();
  const lacking: BlobRow[] = [];
  for (const blob of folder.blobs) {
    const node = await wholeNode(ports, blob, before, capture);
    if (node !== undefined) whole.set(blob.id, node);
    if (node !== undefined && !ports.rereadAll && !before.missing.has(blob.id.toString())) nodes.push(node);
    else lacking.push(blob);
  }
  const strange = lacking.filter(({ id, key }) => !whole.has(id) && !before.nodes.has(blobFileName(key)));
  const moved = await movedNodes(ports, folder, strange, capture);
  const there = ports.rereadAll
    ? new Set<bigint>()
    : await thoseThere(
        ports,
        service.name,
        strange.filter(({ id }) => moved.has(id)),
      );
  for (const [id, node] of moved) {
    whole.set(id, node);
    if (there.has(id)) nodes.push(node);
  }
  const unknown = lacking.filter(({ id }) => !there.has(id));
  const elsewhere = await ports.elsewhere?.(folder.row, unknown);
  if (elsewhere !== undefined) nodes.push(...elsewhere.values());
  const wanted = unknown.filter(({ id }) => elsewhere?.has(id) !== true);
  const fetched = await fetchBlobs(ports, service.name, wanted);
  const lost = fetched.filter(({ blob, file }) => problemOf(blob, file) !== undefined && !whole.has(blob.id));
  const followed =
    lost.length === 0
      ? undefined
      : ports.followed?.(
          folder.row,
          lost.map(({ blob }) => blob),
        );
  for (const [id, node] of (await followed) ?? []) whole.set(id, node);
  for (const { blob, file } of fetched) {
    const reason = problemOf(blob, file);
    const earlier = whole.get(blob.id);
    if (reason !== undefined) {
      const entry = missingEntry(blob, reason, before.missing, ports.startedAt);
      service.missing.set(entry.id, earlier === undefined ? entry : { ...entry, kept: true });
      if (file.kind === "unreadable") service.reasons.set(entry.id, file.reason);
    }
    const read = file.kind === "stored" ? blobNode(blob, file) : undefined;
    const node = reason === undefined ? read : (earlier ?? read);
    if (node !== undefined) nodes.push(node);
    if (file.kind === "stored") {
      capture.blobsCopied += 1;
      capture.bytesCopied += file.size;
    }
  }
  if (nodes.length === 0) return undefined;
  const tree = await ports.storeTree(encodeTree(nodes));
  ports.trusted.add(tree);
  return tree;
}

/** The entry of the state before where it says the same: there may be a million, and each run has three states. */
function missingEntry(
  blob: BlobRow,
  reason: MissingBlob["reason"],
  before: ReadonlyMap<string, MissingBlob>,
  startedAt: string,
): MissingBlob {
  const id = blob.id.toString();
  const known = before.get(id);
  const { key, filename, bytes } = blob;
  const isSame = known?.reason === reason && known.kept === undefined;
  if (isSame && known.key === key && known.filename === filename && known.bytes === bytes) return known;
  return { id, key, filename, bytes, reason, since: known?.since ?? startedAt };
}

/** How a folder of files has a blob's file. */
export function blobNode(
  blob: Pick<BlobRow, "key" | "createdAt">,
  file: Pick<StoredFile & { kind: "stored" }, "size" | "content">,
): TreeNode {
  return fileNode({ name: blobFileName(blob.key), size: file.size, content: file.content, mtime: blob.createdAt });
}
