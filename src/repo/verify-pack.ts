/** Reads one pack whole: its name, its header and every chunk. */
import { hash } from "node:crypto";
import { releaseBytes } from "../base/bytes.ts";
import { Failure, messageOf } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { openPacker, type Packer } from "../format/chunk.ts";
import { unsealInto, type Keys } from "../format/crypto.ts";
import { decodePackHeader, type PackEntry } from "../format/pack.ts";
import type { Store } from "../store/store.ts";
import { isDamage } from "./chunk.ts";
import type { PackRecord } from "./pack-record.ts";
import type { WorkHandler } from "./work.ts";

/** Where packs are read from, and with what. */
export interface PackSource {
  readonly store: Store;
  readonly keys: Keys;
}

export interface PackTask {
  readonly record: PackRecord;
  /** As the store has it. */
  readonly sizeBytes: number;
}

/** Does the tasks of one thread. */
export function makePackChecker(
  source: PackSource,
  { signal }: { signal: AbortSignal },
): WorkHandler<PackTask, PackVerdict> {
  let memory = Buffer.alloc(0);
  return {
    async run({ record, sizeBytes }) {
      // Packs are about as long as one another, and never longer than this where a store says the truth.
      const wanted = Math.min(sizeBytes, LIMITS.packReusedBytes);
      if (memory.length < wanted) memory = Buffer.allocUnsafeSlow(wanted);
      return await checkPack(source, record, { signal, sizeBytes, memory });
    },
  };
}

export interface PackVerdict {
  /** What is wrong with it; undefined when it is whole. */
  readonly reason: string | undefined;
  /** Entries whose chunk it does not give. */
  readonly bad: readonly PackEntry[];
  /** It was whole when it was read a second time: a cable, a cache, memory. */
  readonly isUnsteady: boolean;
}

/** Compares a pack with what the index says of it. What looks damaged is read once more before it counts as that. */
export async function checkPack(source: PackSource, record: PackRecord, reading: PackReading): Promise<PackVerdict> {
  const first = await readPack(source, record, reading);
  if (first.reason === undefined) return { ...first, isUnsteady: false };
  const second = await readPack(source, record, reading);
  return { ...second, isUnsteady: second.reason === undefined };
}

interface PackReading {
  signal: AbortSignal;
  sizeBytes: number;
  /** What it may be read into. */
  memory?: Buffer;
}

type Reading = Pick<PackVerdict, "reason" | "bad">;

async function readPack(
  source: PackSource,
  { id, entries }: PackRecord,
  { signal, sizeBytes, memory }: PackReading,
): Promise<Reading> {
  let bytes: Buffer;
  try {
    bytes = await source.store.get(
      { kind: "data", name: id },
      { signal, ...(memory === undefined ? {} : { into: memory }) },
    );
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { reason: messageOf(error), bad: entries };
  }
  const bad: PackEntry[] = [];
  let reason = hash("sha256", bytes) === id ? undefined : "it does not match its checksum";
  reason ??= headerProblem(source, { bytes, sizeBytes }, entries);
  // Whatever an index says, no chunk is longer than the pack.
  const opened = scratchOf(
    Math.min(
      bytes.length,
      entries.reduce((longest, { length }) => Math.max(longest, length), 0),
    ),
  );
  for (const entry of entries) {
    try {
      const sealed = bytes.subarray(entry.offset, entry.offset + entry.length);
      const length = unsealInto(source.keys, sealed, opened, 0);
      packer ??= openPacker();
      const plain = packer.unpack(opened.subarray(0, length), entry.uncompressedLength);
      const isIt = hash("sha256", plain) === entry.id;
      if (plain.buffer !== opened.buffer) packer.release(plain);
      if (!isIt) throw new Failure("repo/damaged", "it does not match its checksum");
    } catch (error) {
      if (!isDamage(error)) throw error;
      bad.push(entry);
      reason ??= `chunk ${shortId(entry.id)}: ${messageOf(error)}`;
    }
  }
  if (bytes.buffer !== memory?.buffer) releaseBytes(bytes);
  signal.throwIfAborted();
  return { reason, bad };
}

/** Of this thread: no chunk is waited for between its unpacking and its hash. */
let packer: Packer | undefined;
/** One piece of memory for all chunks that this thread opens, one after another: a repository may have millions. */
let scratch = Buffer.alloc(0);

function scratchOf(length: number): Buffer {
  if (scratch.length < length) scratch = Buffer.allocUnsafeSlow(length);
  return scratch;
}

function headerProblem(
  source: PackSource,
  { bytes, sizeBytes }: { bytes: Buffer; sizeBytes: number },
  entries: readonly PackEntry[],
): string | undefined {
  try {
    const listed = decodePackHeader(source.keys, bytes, sizeBytes);
    const isSame =
      listed.length === entries.length && listed.every((entry, at) => describe(entry) === describe(entries[at]));
    return isSame ? undefined : "its header lists other chunks than the index";
  } catch (error) {
    if (!isDamage(error)) throw error;
    return messageOf(error);
  }
}

function describe(entry: PackEntry | undefined): string {
  if (entry === undefined) return "";
  const { id, type, offset, length, uncompressedLength } = entry;
  return `${id} ${type} ${offset} ${length} ${uncompressedLength}`;
}
