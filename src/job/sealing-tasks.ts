/**
 * The work that is done beside the main thread: read, hash, compress, seal, open again, write. One handler serves a
 * worker thread and, for stores that live in this thread only, the main thread itself.
 */
import { createHash } from "node:crypto";
import { assert } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import type { Keys } from "../format/crypto.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { LARGE_OBJECTS } from "../postgres/large-objects.ts";
import type { openRangeReader, RangeReader, RowsPlan } from "../postgres/range-reader.ts";
import type { RangePlan } from "../postgres/ranges.ts";
import type { UnreadableRows } from "../postgres/unreadable-rows.ts";
import { ClaimTable, type ClaimTableParts } from "../repo/claim-table.ts";
import { SharedIndexView, type SharedIndexParts } from "../repo/index.ts";
import { type PackRecord, Sealer } from "../repo/sealer.ts";
import type { SourceSpec } from "../source/source.ts";
import { ObjectReader } from "./read-objects.ts";
import { makeFileBuffer, storeFile, type StoredFile } from "../repo/store-file.ts";
import type { WorkHandler, WorkTools } from "../repo/work.ts";
import { openStore } from "../store/open-store.ts";
import type { Store, StoreSpec } from "../store/store.ts";

export interface FileTask {
  path: string;
  /** The repository most likely has nothing of it. */
  isNew?: boolean;
}

/** Files in a bucket: each thread fetches its own, so that no bytes go from thread to thread. */
export interface ObjectsTask {
  kind: "objects";
  source: SourceSpec;
  files: { key: string; bytes: number }[];
  /** The repository most likely has nothing of them. */
  isNew: boolean;
  /** What is fetched at once, of the thread that does it. */
  inFlight: number;
}

export interface RangeResult {
  rows: number;
  bytes: number;
  sha256: string;
  chunks: ChunkId[];
  /** Rows of the range that the server could not give: they are not among these. */
  unreadable?: UnreadableRows[];
}

export interface RangeTask {
  kind: "range";
  snapshotId: string;
  table: RowsPlan;
  range: RangePlan;
  /** The repository most likely has nothing of it. */
  isNew?: boolean;
}

/** Bytes of files that come over a line, cut by whoever reads it. */
export interface PiecesTask {
  kind: "pieces";
  bytes: Uint8Array;
  /** The chunks' lengths, in order; together as long as the bytes. */
  lengths: readonly number[];
  /** The repository most likely has nothing of them. */
  isNew: boolean;
}

/** A file that lies in memory which threads share, and which nobody changes before the answer. */
export interface SharedTask {
  kind: "shared";
  /** Its bytes, in order. */
  parts: readonly Uint8Array[];
  /** It is cut so often from its beginning. */
  chunkBytes: number;
}

/** What another snapshot is stored against: see {@link SealingInit}. */
export type AnewTask = { kind: "anew" } & Pick<SealingInit, "known" | "claims">;

export type SealingTask =
  | { kind: "files"; files: FileTask[] }
  | ObjectsTask
  | { kind: "bytes"; type: "data" | "tree"; bytes: Uint8Array }
  | PiecesTask
  | SharedTask
  | RangeTask
  | AnewTask
  /** The database is not read for now: its session is closed. */
  | { kind: "leave" }
  | { kind: "send" }
  | { kind: "flush" };

export type SealingResult =
  | { kind: "files"; files: StoredFile[] }
  | { kind: "bytes"; id: ChunkId; isNew: boolean }
  /** The chunks' ids, 32 bytes each. */
  | { kind: "pieces"; ids: Uint8Array }
  /** The same, and the whole file's SHA-256 in hexadecimal. */
  | { kind: "shared"; ids: Uint8Array; sha256: string }
  | { kind: "anew" }
  | { kind: "range"; range: RangeResult }
  | { kind: "leave" }
  | { kind: "send" }
  | { kind: "flush" };

/** What a worker is started with; all of it can be sent to a thread. */
export interface SealingInit {
  store: StoreSpec | undefined;
  keys: Keys;
  known: SharedIndexParts;
  claims: ClaimTableParts;
  address: ServerAddress | undefined;
}

type OpenRangeReader = typeof openRangeReader;

/**
 * Makes the handler of one thread. `store` is given where the store cannot be opened from its spec, and what reads ranges where it
 * should not have to be loaded when the first one is asked for.
 */
export async function openSealingHandler(
  init: SealingInit,
  { post, signal, openReader }: WorkTools<PackRecord> & { readonly openReader?: OpenRangeReader },
  store?: Store,
): Promise<WorkHandler<SealingTask, SealingResult>> {
  const place = store ?? (init.store === undefined ? undefined : await openStore(init.store));
  assert(place !== undefined, "a sealing handler needs a store");
  const sealer = new Sealer({
    keys: init.keys,
    store: place,
    known: new SharedIndexView(init.known),
    claims: new ClaimTable(init.claims),
    signal,
    onPack: post,
  });
  let buffer: Buffer | undefined;
  const objects = new ObjectReader(sealer, { signal });
  const ranges = new Ranges(sealer, init.address, { signal, openReader });

  return {
    foresee(task) {
      if (task.kind === "objects") objects.foresee(task);
    },
    async run(task) {
      switch (task.kind) {
        case "files":
          return { kind: "files", files: await storeFiles(sealer, task.files, (buffer ??= makeFileBuffer())) };
        case "objects":
          return { kind: "files", files: await objects.take(task) };
        case "bytes":
          return { kind: "bytes", ...(await sealer.add(task.type, task.bytes)) };
        case "pieces":
          return { kind: "pieces", ids: await sealer.addPieces(task.bytes, task.lengths, task) };
        case "shared":
          return { kind: "shared", ...(await storeShared(sealer, task)) };
        case "range":
          return { kind: "range", range: await ranges.read(task) };
        case "anew":
          sealer.anew({ known: new SharedIndexView(task.known), claims: new ClaimTable(task.claims) });
          return { kind: "anew" };
        case "leave":
          await ranges.close();
          return { kind: "leave" };
        case "send":
        case "flush":
          await sealer[task.kind]();
          return { kind: task.kind };
        default:
          throw task satisfies never;
      }
    },
    async close() {
      await ranges.close();
      await sealer.abort();
      await objects.close();
    },
  };
}

/** Ranges of rows, over one session of this thread. */
class Ranges {
  readonly #sealer: Sealer;
  readonly #address: ServerAddress | undefined;
  readonly #signal: AbortSignal;
  readonly #openReader: OpenRangeReader | undefined;
  #reader: RangeReader | undefined;

  constructor(
    sealer: Sealer,
    address: ServerAddress | undefined,
    { signal, openReader }: { signal: AbortSignal; openReader: OpenRangeReader | undefined },
  ) {
    this.#sealer = sealer;
    this.#address = address;
    this.#signal = signal;
    this.#openReader = openReader;
  }

  async read({ snapshotId, table, range, isNew }: RangeTask): Promise<RangeResult> {
    assert(this.#address !== undefined, "a range needs a database");
    // Threads that seal what others read do without it: it is half of what a thread loads.
    const open = this.#openReader ?? (await import("../postgres/range-reader.ts")).openRangeReader;
    const reader = (this.#reader ??= await open(this.#address, { signal: this.#signal }));
    const sealer = this.#sealer;
    const chunks: ChunkId[] = [];
    const sink = async (chunk: Buffer) => {
      const added = isNew === true ? sealer.addNew("data", chunk, () => {}) : sealer.add("data", chunk);
      chunks.push((await added).id);
    };
    if (table === LARGE_OBJECTS) return { ...(await reader.readRange(snapshotId, table, range, sink)), chunks };
    const again = () => void (chunks.length = 0);
    return { ...(await reader.readAround(snapshotId, table, range, { sink, again })), chunks };
  }

  async close(): Promise<void> {
    await this.#reader?.close();
  }
}

async function storeFiles(sealer: Sealer, tasks: readonly FileTask[], buffer: Buffer): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for (const file of tasks) files.push(await storeFile(sealer, file.path, buffer, file));
  return files;
}

async function storeShared(
  sealer: Sealer,
  { parts, chunkBytes }: SharedTask,
): Promise<{ ids: Uint8Array; sha256: string }> {
  const whole = createHash("sha256");
  const ids: Buffer[] = [];
  for (const chunk of chunksOf(parts, chunkBytes)) {
    whole.update(chunk);
    ids.push(Buffer.from((await sealer.addNew("data", chunk, () => {})).id, "hex"));
  }
  return { ids: Buffer.concat(ids), sha256: whole.digest("hex") };
}

/** Views of the parts, and copies only of what lies in more than one: each is used before the next is asked for. */
function* chunksOf(parts: readonly Uint8Array[], chunkBytes: number): Generator<Uint8Array, void, void> {
  let gathered: Buffer | undefined;
  let filled = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length;) {
      const piece = part.subarray(at, at + chunkBytes - filled);
      at += piece.length;
      if (filled === 0 && piece.length === chunkBytes) {
        yield piece;
        continue;
      }
      gathered ??= Buffer.allocUnsafeSlow(chunkBytes);
      gathered.set(piece, filled);
      filled += piece.length;
      if (filled < chunkBytes) continue;
      yield gathered;
      filled = 0;
    }
  }
  if (gathered !== undefined && filled > 0) yield gathered.subarray(0, filled);
}
