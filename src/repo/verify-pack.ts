/** Reads one pack whole: its name, its header and every chunk. */
import { hash } from "node:crypto";
import { messageOf } from "../base/errors.ts";
import { shortId } from "../base/ids.ts";
import { decodePackHeader, type PackEntry } from "../format/pack.ts";
import { isDamage, openChunk } from "./chunk.ts";
import type { PackRecord } from "./pack-record.ts";
import type { Repository } from "./repository.ts";

export interface PackVerdict {
  /** What is wrong with it; undefined when it is whole. */
  readonly reason: string | undefined;
  /** Entries whose chunk it does not give. */
  readonly bad: readonly PackEntry[];
  /** It was whole when it was read a second time: a cable, a cache, memory. */
  readonly isUnsteady: boolean;
}

/** Compares a pack with what the index says of it. What looks damaged is read once more before it counts as that. */
export async function checkPack(
  repository: Repository,
  record: PackRecord,
  { signal, sizeBytes }: { signal: AbortSignal; sizeBytes: number },
): Promise<PackVerdict> {
  const first = await readPack(repository, record, { signal, sizeBytes });
  if (first.reason === undefined) return { ...first, isUnsteady: false };
  const second = await readPack(repository, record, { signal, sizeBytes });
  return { ...second, isUnsteady: second.reason === undefined };
}

type Reading = Pick<PackVerdict, "reason" | "bad">;

async function readPack(
  repository: Repository,
  { id, entries }: PackRecord,
  { signal, sizeBytes }: { signal: AbortSignal; sizeBytes: number },
): Promise<Reading> {
  let bytes: Buffer;
  try {
    bytes = await repository.store.get({ kind: "data", name: id }, { signal });
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { reason: messageOf(error), bad: entries };
  }
  const bad: PackEntry[] = [];
  let reason = hash("sha256", bytes) === id ? undefined : "it does not match its checksum";
  reason ??= headerProblem(repository, { bytes, sizeBytes }, entries);
  for (const entry of entries) {
    try {
      const sealed = bytes.subarray(entry.offset, entry.offset + entry.length);
      openChunk(repository.keys, { id: entry.id, sealed, uncompressedLength: entry.uncompressedLength });
    } catch (error) {
      if (!isDamage(error)) throw error;
      bad.push(entry);
      reason ??= `chunk ${shortId(entry.id)}: ${messageOf(error)}`;
    }
    signal.throwIfAborted();
  }
  return { reason, bad };
}

function headerProblem(
  repository: Repository,
  { bytes, sizeBytes }: { bytes: Buffer; sizeBytes: number },
  entries: readonly PackEntry[],
): string | undefined {
  try {
    const listed = decodePackHeader(repository.keys, bytes, sizeBytes);
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
