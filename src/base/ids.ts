/**
 * Identifiers are types of their own, so that a pack's id can never be passed for a snapshot's.
 * A brand is made only by a parser, or by the hash that defines the id.
 */
import { Failure } from "./errors.ts";

declare const brand: unique symbol;
/** A record of names, so that a type can carry two brands: with plain names, `FileId & PackId` would be `never`. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Readonly<Record<Name, true>> };

/** Lower-case hex SHA-256 of a chunk's plaintext. */
export type ChunkId = Brand<string, "ChunkId">;
/** Lower-case hex SHA-256 of a stored file's bytes (packs, indexes, snapshots, keys, locks). */
export type FileId = Brand<string, "FileId">;
export type PackId = FileId & Brand<string, "PackId">;
export type SnapshotId = FileId & Brand<string, "SnapshotId">;

const HEX64 = /^[0-9a-f]{64}$/;

/** True when the text is a name that a repository gives to its files. */
export function isId(text: string): boolean {
  return HEX64.test(text);
}

function parse(text: string, what: string): string {
  if (!HEX64.test(text)) throw new Failure("repo/damaged", `'${text.slice(0, 80)}' is not a ${what}`);
  return text;
}

export function parseChunkId(text: string): ChunkId {
  return parse(text, "chunk id") as ChunkId;
}
export function parseFileId(text: string): FileId {
  return parse(text, "file id") as FileId;
}
export function parsePackId(text: string): PackId {
  return parse(text, "pack id") as PackId;
}
export function parseSnapshotId(text: string): SnapshotId {
  return parse(text, "snapshot id") as SnapshotId;
}

/** The first eight digits: how ids are shown to people. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}
