/**
 * Packs: sealed chunks one after another, then a sealed header that lists them, then the header's length.
 * Offsets are not written: each chunk begins where the one before it ends. A pack holds chunks of one type only.
 */
import { Buffer } from "node:buffer";
import { bug, Failure } from "../base/errors.ts";
import { type ChunkId, parseChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { ChunkType } from "./chunk.ts";
import { type Keys, seal, SEAL_OVERHEAD, unseal } from "./crypto.ts";

/** Where a chunk lies in its pack. */
export interface PackEntry {
  readonly id: ChunkId;
  readonly type: ChunkType;
  readonly offset: number;
  /** Of the sealed bytes. */
  readonly length: number;
  /** Of the chunk itself; 0 when it is stored raw (then it is `length` less the sealing). */
  readonly uncompressedLength: number;
}

/** The first byte of an entry. Bit 0: a tree. Bit 1: compressed, and four bytes longer. */
const IS_TREE = 1;
const IS_COMPRESSED = 2;
const ID_BYTES = 32;
const RAW_ENTRY_BYTES = 1 + 4 + ID_BYTES;
const COMPRESSED_ENTRY_BYTES = RAW_ENTRY_BYTES + 4;
const LENGTH_BYTES = 4;
const MAX_UINT32 = 0xffff_ffff;

function entryBytes(entry: PackEntry): number {
  return entry.uncompressedLength === 0 ? RAW_ENTRY_BYTES : COMPRESSED_ENTRY_BYTES;
}

/** How many bytes follow the chunks in a pack with these entries. */
export function packHeaderBytes(entries: readonly PackEntry[]): number {
  return entries.reduce((sum, entry) => sum + entryBytes(entry), SEAL_OVERHEAD + LENGTH_BYTES);
}

/** What follows the chunks: the sealed header and its length. Entries must follow one another without gaps. */
export function encodePackHeader(keys: Keys, entries: readonly PackEntry[]): Buffer {
  const size = packHeaderBytes(entries);
  if (entries.length === 0 || size > LIMITS.packHeaderMaxBytes) throw bug(`a pack with ${entries.length} chunks`);
  const header = Buffer.alloc(size - SEAL_OVERHEAD - LENGTH_BYTES);
  const [first] = entries;
  let at = 0;
  let offset = 0;
  for (const entry of entries) {
    if (entry.offset !== offset || entry.type !== first?.type) throw bug("a pack with gaps, or of mixed types");
    const { uncompressedLength, length } = entry;
    offset += length;
    if (offset > MAX_UINT32 || length < SEAL_OVERHEAD) throw bug("a pack with impossible lengths");
    const kind = (entry.type === "tree" ? IS_TREE : 0) | (uncompressedLength > 0 ? IS_COMPRESSED : 0);
    at = header.writeUInt8(kind, at);
    at = header.writeUInt32LE(length, at);
    if (uncompressedLength > 0) at = header.writeUInt32LE(uncompressedLength, at);
    at += header.write(entry.id, at, "hex");
  }
  const sealed = seal(keys, header);
  const end = Buffer.alloc(LENGTH_BYTES);
  end.writeUInt32LE(sealed.length);
  return Buffer.concat([sealed, end]);
}

/**
 * How many bytes at the end of a pack are its header, the length included.
 * @param tail the last bytes of the pack, four at least.
 * @throws {Failure} `repo/damaged` when no pack of that size can have such a header.
 */
export function packTailBytes(tail: Uint8Array, packSizeBytes: number): number {
  if (tail.length < LENGTH_BYTES || packSizeBytes < tail.length) throw damaged("it is too short");
  const sealed = viewOf(tail).readUInt32LE(tail.length - LENGTH_BYTES);
  const bytes = sealed + LENGTH_BYTES;
  if (bytes > LIMITS.packHeaderMaxBytes) throw damaged("its header is too long");
  if (sealed < SEAL_OVERHEAD + RAW_ENTRY_BYTES || bytes > packSizeBytes) throw damaged("its header is cut off");
  return bytes;
}

/**
 * What lies in a pack.
 * @param tail the last bytes of the pack: at least {@link packTailBytes} of them.
 * @throws {Failure} `repo/damaged` when the header was changed, or does not account for every byte of the pack.
 */
export function decodePackHeader(keys: Keys, tail: Uint8Array, packSizeBytes: number): PackEntry[] {
  const bytes = packTailBytes(tail, packSizeBytes);
  if (bytes > tail.length) throw bug("too few bytes of a pack to hold its header");
  const header = unseal(keys, tail.subarray(tail.length - bytes, tail.length - LENGTH_BYTES));
  const entries: PackEntry[] = [];
  let offset = 0;
  for (let at = 0; at < header.length;) {
    const kind = header.readUInt8(at);
    const isCompressed = (kind & IS_COMPRESSED) !== 0;
    const size = isCompressed ? COMPRESSED_ENTRY_BYTES : RAW_ENTRY_BYTES;
    if (kind > 3 || at + size > header.length) throw damaged("its header lists something unknown");
    const length = header.readUInt32LE(at + 1);
    const uncompressedLength = isCompressed ? header.readUInt32LE(at + 5) : 0;
    const id = parseChunkId(header.toString("hex", at + size - ID_BYTES, at + size));
    entries.push({ id, type: (kind & IS_TREE) === 0 ? "data" : "tree", offset, length, uncompressedLength });
    offset += length;
    at += size;
  }
  if (offset + bytes !== packSizeBytes) throw damaged("its header does not account for every byte");
  return entries;
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function damaged(why: string): Failure {
  return new Failure("repo/damaged", `a pack is damaged: ${why}`);
}
