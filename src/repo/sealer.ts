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
import { bug, Failure, isFailure } from "../base/errors.ts";
import { parseChunkId, parsePackId, shortId, type ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { openPacker, packChunk, unpackChunk, type ChunkType, type PackedChunk } from "../format/chunk.ts";
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
      const idBytes = hash("sha256", bytes, "buffer");
      const id = parseChunkId(idBytes.toString("hex"));
      if (this.#isKnown(type, id, idBytes) || !this.#claim(type, idBytes)) return { id, isNew: false };
      const packed = this.#packer.pack(bytes, type);
      await this.#append(type, { id, idBytes, packed });
      this.#letGo(packed);
      return { id, isNew: true };
    });
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
        await this.#append(type, { id, idBytes, packed: isFit ? packed : packChunk(packed.bytes, type) });
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
      const packed = this.#packer.pack(bytes, type);
      const sealed = await this.#seal(type, packed);
      this.#letGo(packed);
      const opened = this.#openAgain(sealed);
      // Against what was given: hashing alone would take a fault between the two for what was meant.
      if (Buffer.compare(opened, bytes) !== 0) throw changedAfterSealing();
      onOpened(opened);
      const idBytes = hash("sha256", opened, "buffer");
      this.#letGoOpened(opened);
      const id = parseChunkId(idBytes.toString("hex"));
      if (this.#isKnown(type, id, idBytes) || !this.#claim(type, idBytes)) return { id, isNew: false };
      await this.#keep(type, id, sealed);
      return { id, isNew: true };
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
      const pack = await this.#makeRoom(type, sealed.length);
      pack.buffer.set(sealed, pack.filled);
      await this.#keep(type, id, { pack, length: sealed.length, uncompressedLength });
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

  #isKnown(type: ChunkType, id: ChunkId, idBytes: Uint8Array): boolean {
    const known = this.#known;
    return known.hasBytes === undefined ? known.has(type, id) : known.hasBytes(type, idBytes);
  }

  /** The same bytes as data and as a tree are two chunks, so a tree's claim is made under the id's mirror image. */
  #claim(type: ChunkType, idBytes: Buffer): boolean {
    return this.#claims.claim(type === "data" ? idBytes : idBytes.toReversed());
  }

  async #append(type: ChunkType, chunk: { id: ChunkId; idBytes: Buffer; packed: PackedChunk }): Promise<void> {
    const sealed = await this.#seal(type, chunk.packed);
    const opened = this.#openAgain(sealed);
    if (!hash("sha256", opened, "buffer").equals(chunk.idBytes)) throw changedAfterSealing();
    this.#letGoOpened(opened);
    await this.#keep(type, chunk.id, sealed);
  }

  /** Seals bytes behind what the open pack's buffer holds; they are not part of the pack before {@link #keep}. */
  async #seal(type: ChunkType, packed: PackedChunk): Promise<Sealed> {
    const pack = await this.#makeRoom(type, packed.bytes.length + SEAL_OVERHEAD);
    const length = sealInto(this.#keys, packed.bytes, pack.buffer, pack.filled);
    return { pack, length, uncompressedLength: packed.uncompressedLength };
  }

  /** The open pack of a type, with room in its buffer for so many bytes more. */
  async #makeRoom(type: ChunkType, sealedLength: number): Promise<OpenPack> {
    const pack = (this.#open[type] ??= await this.#begin(type));
    if (pack.filled + sealedLength > pack.buffer.length) {
      await this.#write(pack);
      if (sealedLength > pack.buffer.length) pack.buffer = Buffer.allocUnsafeSlow(sealedLength);
    }
    return pack;
  }

  async #keep(type: ChunkType, id: ChunkId, { pack, length, uncompressedLength }: Sealed): Promise<void> {
    pack.entries.push({ id, type, offset: pack.size, length, uncompressedLength });
    pack.filled += length;
    pack.size += length;
    if (pack.filled >= LIMITS.packWriteBytes) await this.#write(pack);
    if (pack.size >= this.#targetOf(type) || pack.entries.length >= LIMITS.packMaxChunks) await this.#close(type);
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

  /** Gives back what was made by compressing; bytes that are stored raw are the caller's own. */
  #letGo(packed: PackedChunk): void {
    if (packed.uncompressedLength > 0) this.#packer.release(packed.bytes);
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
