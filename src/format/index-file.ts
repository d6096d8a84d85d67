/**
 * Index files say which chunks lie in which pack, so that no pack need be read to find one. They hold nothing that the
 * packs' own headers do not: a lost index can be made again.
 */
import { Failure } from "../base/errors.ts";
import { isId, type ChunkId, type PackId } from "../base/ids.ts";
import { isRecord, type JsonRecord, parseRecord } from "./fields.ts";
import type { PackEntry } from "./pack.ts";

/** A pack as an index lists it. */
export interface IndexedPack {
  readonly id: PackId;
  readonly entries: readonly PackEntry[];
}

const WHAT = "an index file";
const MAX_UINT32 = 0xffff_ffff;

function encodeEntry({ id, type, offset, length, uncompressedLength }: PackEntry): string {
  const uncompressed = uncompressedLength === 0 ? "" : `,"uncompressed_length":${uncompressedLength}`;
  return `{"id":"${id}","type":"${type}","offset":${offset},"length":${length}${uncompressed}}`;
}

/** The JSON of an index file. All chunks of a pack must be listed together, in one file. */
export function encodeIndex(packs: Iterable<IndexedPack>): string {
  const encoded = Array.from(packs, ({ id, entries }) => {
    return `{"id":"${id}","blobs":[${entries.map(encodeEntry).join(",")}]}`;
  });
  return `{"packs":[${encoded.join(",")}]}`;
}

/**
 * Calls `onPack` for each pack that an index file lists. Fields that we do not know (`supersedes`, rustic's own) are
 * passed over.
 * @throws {Failure} `repo/damaged`; packs before the bad one have been passed on then.
 */
export function decodeIndex(json: string, onPack: (pack: IndexedPack) => void): void {
  for (const pack of listOf(parseRecord(json, WHAT), "packs")) {
    if (!isRecord(pack) || !hasId(pack)) throw damaged("a pack without id");
    onPack({ id: pack.id as PackId, entries: listOf(pack, "blobs").map(decodeEntry) });
  }
}

function listOf(record: JsonRecord, name: string): readonly unknown[] {
  const list = record[name] ?? [];
  if (!Array.isArray(list)) throw damaged(`'${name}' is not a list`);
  return list;
}

function hasId(record: JsonRecord): record is JsonRecord & { id: string } {
  return typeof record["id"] === "string" && isId(record["id"]);
}

function isUint32(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_UINT32;
}

function decodeEntry(entry: unknown): PackEntry {
  if (!isRecord(entry) || !hasId(entry)) throw damaged("a chunk without id");
  const { id, type, offset, length, uncompressed_length: uncompressedLength = 0 } = entry;
  if (type !== "data" && type !== "tree") throw damaged(`chunk ${id} has no known type`);
  if (!isUint32(offset) || !isUint32(length) || !isUint32(uncompressedLength)) {
    throw damaged(`chunk ${id} has no proper place`);
  }
  return { id: id as ChunkId, type, offset, length, uncompressedLength };
}

function damaged(why: string): Failure {
  return new Failure("repo/damaged", `${WHAT} cannot be used: ${why}`);
}
