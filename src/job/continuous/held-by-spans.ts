/**
 * Which objects of the journal spans have, byte for byte. By their names alone it cannot be said: where two servers wrote one timeline,
 * a span may be another log than the server's, and an object that lies in the same place the only one that has it.
 */
import { isFailure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Line, WalSpan } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import { type Lsn, segmentName, segmentStart } from "../../wal/lsn.ts";
import { type JournalObject, readJournals } from "./journal.ts";
import type { ListedSpan } from "./list.ts";
import { readSegmentNodes } from "./span-files.ts";

type Stretch = Pick<WalSpan, "systemId" | "timeline" | "from" | "to">;

/** Says of a stretch whether spans together have all of it, as far as their names tell. */
export function coverOf(spans: readonly Stretch[]): (stretch: Stretch) => boolean {
  const lines = new Map<string, { from: Lsn; to: Lsn }[]>();
  for (const { from, to, ...line } of spans.toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
    const joined = lines.get(keyOf(line)) ?? [];
    const last = joined.at(-1);
    if (last === undefined || from > last.to) joined.push({ from, to });
    else if (to > last.to) last.to = to;
    lines.set(keyOf(line), joined);
  }
  return (stretch) =>
    lines.get(keyOf(stretch))?.some(({ from, to }) => from <= stretch.from && to >= stretch.to) === true;
}

function keyOf({ systemId, timeline }: Pick<Line, "systemId" | "timeline">): string {
  return `${systemId} ${timeline}`;
}

export interface HeldBySpans {
  readonly spans: readonly ListedSpan[];
  /** By cluster. */
  readonly segmentBytes: (systemId: string) => number | undefined;
  /** Stretches of which spans have several versions. */
  readonly doubtful: readonly Stretch[];
}

/**
 * @param objects In order, of which spans have all, by their names. What differs is not in the answer, and nothing that lies behind it
 * in its segment: there a span may not count, whatever it has. Nor is what lies where a span cannot be read. One that cannot be read
 * itself holds nothing, and is in it.
 * @throws Failure of the store.
 */
export async function heldBySpans(
  repository: Repository,
  objects: readonly JournalObject[],
  { spans, segmentBytes, doubtful }: HeldBySpans,
  { signal }: { signal: AbortSignal },
): Promise<JournalObject[]> {
  if (objects.length === 0) return [];
  const staying = new Set<string>();
  // What was stored since the index was read is looked at, too.
  const saved = new SavedLog(repository.anew(), spans, { signal });
  const inDoubt = new Set<string>();
  for (const stretch of doubtful) {
    const size = segmentBytes(stretch.systemId);
    if (size !== undefined) for (const name of segmentsOf(stretch, size)) inDoubt.add(name);
  }
  for await (const { bytes, ...object } of readJournals(repository, objects, { signal, onRefused() {} })) {
    const size = segmentBytes(object.systemId);
    const segments = size === undefined ? [] : segmentsOf(object, size);
    const isHeld =
      size !== undefined && !segments.some((segment) => inDoubt.has(segment)) && (await saved.has(object, bytes, size));
    if (isHeld) continue;
    staying.add(object.name);
    for (const segment of segments) inDoubt.add(segment);
  }
  return objects.filter(({ name }) => !staying.has(name));
}

/** Names of the segments that a stretch touches. */
function segmentsOf({ from, to, ...line }: Stretch, segmentBytes: number): string[] {
  const names: string[] = [];
  for (let at = segmentStart(from, segmentBytes); at < to; at += BigInt(segmentBytes)) {
    names.push(`${keyOf(line)} ${at}`);
  }
  return names;
}

/** What spans have, read by chunks. */
class SavedLog {
  readonly #repository: Repository;
  readonly #spans: readonly ListedSpan[];
  readonly #signal: AbortSignal;
  readonly #contents = new Map<string, Promise<ReadonlyMap<string, readonly ChunkId[]>>>();
  /** The chunk that was read last: objects lie one behind the other. */
  #last: { id: ChunkId; bytes: Buffer } | undefined;

  constructor(repository: Repository, spans: readonly ListedSpan[], { signal }: { signal: AbortSignal }) {
    this.#repository = repository;
    this.#spans = spans;
    this.#signal = signal;
  }

  /** Whether some span has each part of the bytes as they are. */
  async has({ systemId, timeline, from }: JournalObject, bytes: Buffer, segmentBytes: number): Promise<boolean> {
    for (let at = 0; at < bytes.length;) {
      const lsn = from + BigInt(at);
      const start = segmentStart(lsn, segmentBytes);
      const inSegment = Number(lsn - start);
      const inChunk = inSegment % LIMITS.walChunkBytes;
      const part = bytes.subarray(at, at + Math.min(LIMITS.walChunkBytes - inChunk, segmentBytes - inSegment));
      const place = {
        name: segmentName(timeline, start, segmentBytes),
        index: Math.floor(inSegment / LIMITS.walChunkBytes),
      };
      const own = this.#spans.filter(
        ({ span }) =>
          span.systemId === systemId &&
          span.timeline === timeline &&
          span.from <= lsn &&
          span.to >= lsn + BigInt(part.length),
      );
      if (!(await this.#anyHas(own, place, { segmentBytes, inChunk, part }))) return false;
      at += part.length;
    }
    return true;
  }

  async #anyHas(
    spans: readonly ListedSpan[],
    { name, index }: { name: string; index: number },
    { segmentBytes, inChunk, part }: { segmentBytes: number; inChunk: number; part: Buffer },
  ): Promise<boolean> {
    for (const listed of spans) {
      const id = (await this.#contentsOf(listed, segmentBytes)).get(name)?.[index];
      const chunk = id === undefined ? undefined : await this.#chunk(id);
      if (chunk?.subarray(inChunk, inChunk + part.length).equals(part) === true) return true;
    }
    return false;
  }

  async #contentsOf(listed: ListedSpan, segmentBytes: number): Promise<ReadonlyMap<string, readonly ChunkId[]>> {
    const read = async () => {
      const nodes = await unlessDamaged(
        async () => await readSegmentNodes(this.#repository, listed, { segmentBytes, signal: this.#signal }),
      );
      return new Map((nodes ?? []).map(({ name, content }) => [name, content ?? []]));
    };
    const found = this.#contents.get(listed.id) ?? read();
    this.#contents.set(listed.id, found);
    return await found;
  }

  async #chunk(id: ChunkId): Promise<Buffer | undefined> {
    if (this.#last?.id === id) return this.#last.bytes;
    const bytes = await unlessDamaged(
      async () => await this.#repository.readChunk("data", id, { signal: this.#signal }),
    );
    this.#last = bytes === undefined ? undefined : { id, bytes };
    return bytes;
  }
}

async function unlessDamaged<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!isFailure(error, "repo/damaged") && !isFailure(error, "store/not-found")) throw error;
    return undefined;
  }
}
