/**
 * Turns bytes into chunks of durable packs: the hot path of every backup. One per worker thread.
 *
 * hash → is it known or another's? → compress → seal into the open pack's buffer → open again and compare → append.
 * What is most likely new is sealed first and hashed once, as it was opened again.
 * Data and trees go to packs of their own, as the format demands. What is sealed is opened again before it counts:
 * bad memory or a fault of ours must not become the only copy of something.
 *
 * Memory: one buffer of {@link LIMITS.packWriteBytes} for each open pack (a longer chunk makes it grow), and the
 * chunk in hand. At most {@link LIMITS.packSyncs} packs are on their way to the disk, or {@link LIMITS.packUploads} to a
 * remote place, whose store gathers a pack in memory.
 */
import { createHash, hash, type Hash } from "node:crypto";
import { assert, bug, Failure, isFailure } from "../base/errors.ts";
import { parseChunkId, parsePackId, shortId, type ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import {
  openPacker,
  packChunk,
  QUICK_LEVEL,
  unpackChunk,
  type ChunkType,
  type PackedChunk,
  type Packer,
} from "../format/chunk.ts";
import { SEAL_OVERHEAD, sealInto, unsealInto, type Keys } from "../format/crypto.ts";
import { encodePackHeader, type PackEntry } from "../format/pack.ts";
import type { Store, StoreWriter } from "../store/store.ts";
import type { ClaimTable } from "./claim-table.ts";
import type { PackRecord } from "./pack-record.ts";

export type { PackRecord } from "./pack-record.ts";

/** What is already in the repository. */
export interface KnownChunks {
  has(type: ChunkType, id: ChunkId): boolean;
  /** The same for the id's 32 bytes. */
  hasBytes?(type: ChunkType, id: Uint8Array): boolean;
}

export interface SealerOptions {
  keys: Keys;
  store: Store;
  known: KnownChunks;
  claims: ClaimTable;
  signal: AbortSignal;
  /** Called for each pack once it is durable. */
  onPack: (record: PackRecord) => void;
}

/** A pack that is being written. */
interface OpenPack {
  readonly writer: StoreWriter;
  readonly entries: PackEntry[];
  readonly hash: Hash;
  buffer: Buffer;
  /** Bytes of the buffer that are used. */
  filled: number;
  /** Bytes of the whole pack so far, the buffer's too. */
  size: number;
}

/** A chunk in the open pack's buffer, behind what is part of the pack. */
interface Sealed {
  readonly pack: OpenPack;
  readonly length: number;
  readonly uncompressedLength: number;
}

const ID_BYTES = 32;

function idOf(idBytes: Buffer): ChunkId {
  return parseChunkId(idBytes.toString("hex"));
}

/** Gives back what was made by compressing; bytes that are stored raw are the caller's own. */
function letGo(packer: Packer, packed: PackedChunk): void {
  if (packed.uncompressedLength > 0) packer.release(packed.bytes);
}

function changedAfterSealing(): Failure {
  return bug("a chunk came back changed after sealing (if it happens again, test this machine's memory)");
}

export class Sealer {
  readonly #options: SealerOptions;
  readonly #keys: Keys;
  #known: KnownChunks;
  #claims: ClaimTable;
  readonly #open: Record<ChunkType, OpenPack | undefined> = { data: undefined, tree: undefined };
  /** Buffers of finished packs, to be used again. */
  readonly #spare: Buffer[] = [];
  readonly #packer = openPacker();
  /** For {@link addPieces}. */
  #quickPacker: Packer | undefined;
  /** What a sealed chunk is opened into again: one piece of memory, not a new one for each. */
  #opened = Buffer.alloc(0);
  readonly #closing = new Set<Promise<void>>();
  readonly #isRemote: boolean;
  /** A pack of data was closed. */
  #hasSent = false;
  /** `add` and `flush` happen one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #failed: { error: unknown } | undefined;

  constructor(options: SealerOptions) {
    this.#options = options;
    this.#known = options.known;
    this.#claims = options.claims;
    this.#isRemote = options.store.spec?.kind === "remote";
    // Buffers become plain arrays on their way to a worker.
    const { encrypt, macK, macR } = options.keys;
    this.#keys = { encrypt: Buffer.from(encrypt), macK: Buffer.from(macK), macR: Buffer.from(macR) };
  }

  /**
   * Makes sure that the repository gets these bytes, which must not change before the promise resolves.
   * @returns the chunk's id, and whether this call wrote it.
   * @throws Failure of the store; from then on the sealer is unusable and wants {@link abort}.
   */
  async add(type: ChunkType, bytes: Uint8Array): Promise<{ id: ChunkId; isNew: boolean }> {
    return await this.#inTurn(async () => {
      const { idBytes, isNew } = await this.#add(type, bytes, this.#packer);
      return { id: idOf(idBytes), isNew };
    });
  }

  async #add(type: ChunkType, bytes: Uint8Array, packer: Packer): Promise<{ idBytes: Buffer; isNew: boolean }> {
    const idBytes = hash("sha256", bytes, "buffer");
    if (this.#isKnown(type, idBytes) || !this.#claim(type, idBytes)) return { idBytes, isNew: false };
    const packed = packer.pack(bytes, type);
    await this.#append(type, { idBytes, packed });
    letGo(packer, packed);
    return { idBytes, isNew: true };
  }

  /**
   * Stores a chunk of another repository as it is packed there, without compressing it again. The caller sees to it
   * that the chunk is wanted, and given once.
   * @throws Failure `repo/damaged` when the bytes do not unpack to that id; then nothing was stored, and the sealer
   * goes on.
   */
  async addPacked(type: ChunkType, id: ChunkId, packed: PackedChunk): Promise<void> {
    const damage = await this.#inTurn(async () => {
      const idBytes = Buffer.from(id, "hex");
      // A tree that is stored raw would be rewritten by the next 'restic prune'.
      const isFit = type === "data" || packed.uncompressedLength > 0;
      try {
        await this.#append(type, { idBytes, packed: isFit ? packed : packChunk(packed.bytes, type) });
        return undefined;
      } catch (error) {
        // Opening what was sealed is the only test that costs: whose fault it is, is asked when it fails.
        const found = isFailure(error, "internal/bug") ? damageOf(idBytes, packed) : undefined;
        if (found === undefined) throw error;
        return found;
      }
    });
    if (damage !== undefined) throw damage;
  }

  /**
   * As {@link add}, for bytes that the repository most likely lacks: sealed and opened again first, and what was opened is
   * hashed, which saves a pass over them. Bytes that turn out to be known are taken back.
   * @param onOpened is given what can be read back, before this resolves; it must not keep the buffer.
   */
  async addNew(
    type: ChunkType,
    bytes: Uint8Array,
    onOpened: (opened: Uint8Array) => void,
  ): Promise<{ id: ChunkId; isNew: boolean }> {
    return await this.#inTurn(async () => {
      const { idBytes, isNew } = await this.#addNew(type, bytes, { packer: this.#packer, onOpened });
      return { id: idOf(idBytes), isNew };
    });
  }

  async #addNew(
    type: ChunkType,
    bytes: Uint8Array,
    { packer, onOpened }: { packer: Packer; onOpened?: (opened: Uint8Array) => void },
  ): Promise<{ idBytes: Buffer; isNew: boolean }> {
    const packed = packer.pack(bytes, type);
    const length = packed.bytes.length + SEAL_OVERHEAD;
    // To wait for what is there takes as long as to encrypt a short chunk.
    const sealed = this.#seal(this.#withRoom(type, length) ?? (await this.#makeRoom(type, length)), packed);
    letGo(packer, packed);
    const opened = this.#openAgain(sealed);
    // Against what was given: hashing alone would take a fault between the two for what was meant.
    if (Buffer.compare(opened, bytes) !== 0) throw changedAfterSealing();
    onOpened?.(opened);
    const idBytes = hash("sha256", opened, "buffer");
    this.#letGoOpened(opened);
    if (this.#isKnown(type, idBytes) || !this.#claim(type, idBytes)) return { idBytes, isNew: false };
    if (this.#take(type, idOf(idBytes), sealed)) await this.#pass(type, sealed.pack);
    return { idBytes, isNew: true };
  }

  /**
   * Short chunks of data that lie one behind the other, in one turn: as {@link addNew}, or as {@link add} where the repository most
   * likely has them, but compressed at {@link QUICK_LEVEL}.
   * @param lengths The chunks', in order; together as long as the bytes.
   * @returns the chunks' ids, 32 bytes each.
   */
  async addPieces(bytes: Uint8Array, lengths: readonly number[], { isNew }: { isNew: boolean }): Promise<Buffer> {
    assert(lengths.reduce((sum, length) => sum + length, 0) === bytes.length, "pieces that are not all of their bytes");
    return await this.#inTurn(async () => {
      const packer = (this.#quickPacker ??= openPacker(QUICK_LEVEL));
      const ids = Buffer.allocUnsafeSlow(ID_BYTES * lengths.length);
      let at = 0;
      for (const [index, length] of lengths.entries()) {
        const piece = bytes.subarray(at, at + length);
        const added = isNew ? this.#addNew("data", piece, { packer }) : this.#add("data", piece, packer);
        ids.set((await added).idBytes, ID_BYTES * index);
        at += length;
      }
      return ids;
    });
  }

  /**
   * Takes a chunk that is sealed already, as it is, whether it is known or not. Whoever calls this has opened it and
   * compared it with its id.
   */
  async addSealed(
    { id, type, uncompressedLength }: Pick<PackEntry, "id" | "type" | "uncompressedLength">,
    sealed: Uint8Array,
  ): Promise<void> {
    await this.#inTurn(async () => {
      const pack = this.#withRoom(type, sealed.length) ?? (await this.#makeRoom(type, sealed.length));
      pack.buffer.set(sealed, pack.filled);
      if (this.#take(type, id, { pack, length: sealed.length, uncompressedLength })) await this.#pass(type, pack);
    });
  }

  /** Goes on, after {@link flush}, with what is known and claimed in another run. */
  anew({ known, claims }: Pick<SealerOptions, "known" | "claims">): void {
    this.#known = known;
    this.#claims = claims;
    this.#hasSent = false;
  }

  /** Closes the open packs: they become durable while others are filled. */
  async send(): Promise<void> {
    await this.#inTurn(async () => {
      for (const type of ["data", "tree"] as const) await this.#close(type);
    });
  }

  /** The same, and waits until all are durable and reported. */
  async flush(): Promise<void> {
    await this.#inTurn(async () => {
      for (const type of ["data", "tree"] as const) await this.#close(type);
      await Promise.all(this.#closing);
      this.#throwIfFailed();
    });
  }

  /** Throws away what is not durable yet. Never rejects. */
  async abort(): Promise<void> {
    this.#failed ??= { error: this.#options.signal.reason ?? bug("the sealer was aborted") };
    await this.#last.catch(() => {});
    await Promise.all(this.#closing);
    for (const type of ["data", "tree"] as const) {
      await this.#open[type]?.writer.abort();
      this.#open[type] = undefined;
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(async () => {
      this.#throwIfFailed();
      this.#options.signal.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        this.#failed ??= { error };
        throw error;
      }
    });
    this.#last = turn.catch(() => {});
    return await turn;
  }

  #throwIfFailed(): void {
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  #isKnown(type: ChunkType, idBytes: Buffer): boolean {
    const known = this.#known;
    return known.hasBytes === undefined ? known.has(type, idOf(idBytes)) : known.hasBytes(type, idBytes);
  }

  /** The same bytes as data and as a tree are two chunks, so a tree's claim is made under the id's mirror image. */
  #claim(type: ChunkType, idBytes: Buffer): boolean {
    return this.#claims.claim(type === "data" ? idBytes : idBytes.toReversed());
  }

  async #append(type: ChunkType, { idBytes, packed }: { idBytes: Buffer; packed: PackedChunk }): Promise<void> {
    const length = packed.bytes.length + SEAL_OVERHEAD;
    const sealed = this.#seal(this.#withRoom(type, length) ?? (await this.#makeRoom(type, length)), packed);
    const opened = this.#openAgain(sealed);
    if (!hash("sha256", opened, "buffer").equals(idBytes)) throw changedAfterSealing();
    this.#letGoOpened(opened);
    if (this.#take(type, idOf(idBytes), sealed)) await this.#pass(type, sealed.pack);
  }

  /** Seals bytes behind what a pack's buffer holds; they are not part of the pack before {@link #take}. */
  #seal(pack: OpenPack, packed: PackedChunk): Sealed {
    const length = sealInto(this.#keys, packed.bytes, pack.buffer, pack.filled);
    return { pack, length, uncompressedLength: packed.uncompressedLength };
  }

  /** The open pack of a type, where its buffer has room for so many bytes more. */
  #withRoom(type: ChunkType, sealedLength: number): OpenPack | undefined {
    const pack = this.#open[type];
    return pack !== undefined && pack.filled + sealedLength <= pack.buffer.length ? pack : undefined;
  }

  /** The open pack of a type, with room made for so many bytes more. */
  async #makeRoom(type: ChunkType, sealedLength: number): Promise<OpenPack> {
    const pack = (this.#open[type] ??= await this.#begin(type));
    if (pack.filled + sealedLength > pack.buffer.length) {
      await this.#write(pack);
      if (sealedLength > pack.buffer.length) pack.buffer = Buffer.allocUnsafeSlow(sealedLength);
    }
    return pack;
  }

  /** Makes a sealed chunk a part of its pack. @returns whether the pack is to be written, or closed. */
  #take(type: ChunkType, id: ChunkId, { pack, length, uncompressedLength }: Sealed): boolean {
    pack.entries.push({ id, type, offset: pack.size, length, uncompressedLength });
    pack.filled += length;
    pack.size += length;
    return pack.filled >= LIMITS.packWriteBytes || this.#isFull(type, pack);
  }

  #isFull(type: ChunkType, { size, entries }: OpenPack): boolean {
    return size >= this.#targetOf(type) || entries.length >= LIMITS.packMaxChunks;
  }

  async #pass(type: ChunkType, pack: OpenPack): Promise<void> {
    if (pack.filled >= LIMITS.packWriteBytes) await this.#write(pack);
    if (this.#isFull(type, pack)) await this.#close(type);
  }

  /** The first pack is a small one, so that a line is not idle for long; packs are then sent one behind the other. */
  #targetOf(type: ChunkType): number {
    return this.#isRemote && !this.#hasSent && type === "data" ? LIMITS.packSmallBytes : LIMITS.packTargetBytes;
  }

  /** The bytes that were sealed, as they can be read back; in a buffer that the next chunk is opened into. */
  #openAgain({ pack, length, uncompressedLength }: Sealed): Uint8Array {
    const sealed = pack.buffer.subarray(pack.filled, pack.filled + length);
    try {
      if (this.#opened.length < sealed.length) this.#opened = Buffer.allocUnsafeSlow(sealed.length);
      const opened = unsealInto(this.#keys, sealed, this.#opened, 0);
      return this.#packer.unpack(this.#opened.subarray(0, opened), uncompressedLength);
    } catch (error) {
      throw bug(
        "a chunk that was just sealed cannot be opened (if it happens again, test this machine's memory)",
        error,
      );
    }
  }

  /** Gives back what {@link #openAgain} unpacked; what was stored raw lies in the buffer that is used again. */
  #letGoOpened(opened: Uint8Array): void {
    if (opened.buffer !== this.#opened.buffer) this.#packer.release(opened);
  }

  async #begin(type: ChunkType): Promise<OpenPack> {
    const { store, signal } = this.#options;
    const atOnce = this.#isRemote ? LIMITS.packUploads : LIMITS.packSyncs;
    while (this.#closing.size >= atOnce) await Promise.race(this.#closing);
    const writer = await store.begin("data", { signal, isNew: true, tree: type === "tree" });
    const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.packWriteBytes);
    return { writer, entries: [], hash: createHash("sha256"), buffer, filled: 0, size: 0 };
  }

  async #write(pack: OpenPack): Promise<void> {
    if (pack.filled === 0) return;
    const bytes = pack.buffer.subarray(0, pack.filled);
    pack.hash.update(bytes);
    await pack.writer.write(bytes);
    pack.filled = 0;
  }

  /** Ends the open pack of a type; it becomes durable behind our back. */
  async #close(type: ChunkType): Promise<void> {
    const pack = this.#open[type];
    if (pack === undefined) return;
    if (pack.entries.length === 0) {
      // Begun for bytes that turned out to be known, or damaged.
      this.#open[type] = undefined;
      this.#spare.push(pack.buffer);
      return await pack.writer.abort();
    }
    this.#hasSent ||= type === "data";
    await this.#write(pack);
    const header = encodePackHeader(this.#keys, pack.entries);
    pack.hash.update(header);
    await pack.writer.write(header);
    this.#open[type] = undefined;
    if (this.#spare.length < 2) this.#spare.push(pack.buffer);
    const id = parsePackId(pack.hash.digest("hex"));
    const closing = this.#commit(pack.writer, { id, entries: pack.entries, sizeBytes: pack.size + header.length });
    this.#closing.add(closing);
    void closing.then(() => this.#closing.delete(closing));
  }

  /** Never rejects: what went wrong is thrown by the next call. */
  async #commit(writer: StoreWriter, record: PackRecord): Promise<void> {
    try {
      await writer.commit(record.id);
      this.#options.onPack(record);
    } catch (error) {
      this.#failed ??= { error };
      await writer.abort();
    }
  }
}

/** Why a chunk that another repository gave cannot be it; undefined when it is. */
function damageOf(idBytes: Buffer, packed: PackedChunk): Failure | undefined {
  try {
    const bytes = unpackChunk(packed.bytes, packed.uncompressedLength);
    if (hash("sha256", bytes, "buffer").equals(idBytes)) return undefined;
    return new Failure("repo/damaged", `chunk ${shortId(idBytes.toString("hex"))} does not match its checksum`);
  } catch (error) {
    return isFailure(error) ? error : bug("a chunk cannot be unpacked", error);
  }
}
