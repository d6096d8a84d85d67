/**
 * Where a repository has a stretch of the log more than once: whether that is the same, and else which version is the server's.
 * Names tell where to look, so that nothing is read where nothing overlaps.
 */
import { isFailure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Line } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import { type TimelineHistory } from "../../wal/history.ts";
import { type Lsn, segmentName, segmentStart } from "../../wal/lsn.ts";
import { createWalReader, type WalReader } from "../../wal/reader.ts";
import { type SettledSegment, settleSegment } from "../../wal/versions.ts";
import { type JournalObject, readJournal } from "./journal.ts";
import type { ListedSpan } from "./list.ts";
import { readSegmentNodes } from "./span-files.ts";

/** A stretch of one timeline. */
export interface Hole extends Pick<Line, "systemId" | "timeline"> {
  readonly from: Lsn;
  readonly to: Lsn;
}

export interface Settled {
  /** What of a span, by its snapshot's id, or of an object of the journal is another log than the server's: it does not count. */
  readonly wrong: readonly (Hole & { readonly name: string })[];
  /** Where nobody can tell which version is right. `lastCommitUs`: what was committed last before it, where that is known. */
  readonly undecided: readonly (Hole & { readonly lastCommitUs: bigint | undefined })[];
}

export const NOTHING_TWICE: Settled = { wrong: [], undecided: [] };

export interface ToSettle {
  readonly systemId: string;
  readonly segmentBytes: number;
  /** The server's; undefined where it is not known, and nobody can tell. */
  readonly major: number | undefined;
  readonly histories: readonly (TimelineHistory & { readonly systemId: string })[];
  readonly spans: readonly ListedSpan[];
  /** Those that count. */
  readonly objects: readonly JournalObject[];
  /** Segments that are looked at; all without it. */
  readonly wants?: (timeline: number, start: Lsn) => boolean;
  /**
   * True for a list: where a watch went on, its span has the segment whole of which an earlier one has the beginning. That is looked
   * at when the segment is read.
   */
  readonly isListing?: boolean;
}

type CallOptions = { readonly signal: AbortSignal };

/** @throws Failure of the store. What cannot be read does not count. */
export async function settleVersions(
  repository: Repository,
  toSettle: ToSettle,
  options: CallOptions,
): Promise<Settled> {
  const { systemId } = toSettle;
  const spans = toSettle.spans.filter(({ span }) => span.systemId === systemId);
  const objects = toSettle.objects.filter((object) => object.systemId === systemId);
  const all: Settled[] = [];
  for (const timeline of new Set([...spans.map(({ span }) => span), ...objects].map((one) => one.timeline))) {
    const own = {
      ...toSettle,
      spans: spans.filter(({ span }) => span.timeline === timeline),
      objects: objects.filter((object) => object.timeline === timeline),
    };
    const twice = segmentsTwice(own).filter((start) => toSettle.wants?.(timeline, start) !== false);
    if (twice.length > 0) all.push(await new LineVersions(repository, timeline, own, options).settle(twice));
  }
  return { wrong: all.flatMap(({ wrong }) => wrong), undecided: all.flatMap(({ undecided }) => undecided) };
}

/** Beginnings of segments that, by the names, are there twice in part at least, in order. */
function segmentsTwice({ spans, objects, segmentBytes, isListing = false }: ToSettle): Lsn[] {
  const starts = new Set<Lsn>();
  const ofSpans = spans.map(({ span: { from, to }, snapshot }) => ({ from, to, tree: snapshot.tree as string }));
  for (const stretches of [ofSpans, objects.map(({ from, to, name }) => ({ from, to, tree: name }))]) {
    let open: typeof stretches = [];
    for (const next of stretches.toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
      open = open.filter(({ to }) => to > next.from);
      for (const one of open) {
        const isGoneOnWith = one.to < next.to && next.from === segmentStart(one.to, segmentBytes);
        if (one.tree === next.tree || (isListing && isGoneOnWith)) continue;
        const to = one.to < next.to ? one.to : next.to;
        for (let at = segmentStart(next.from, segmentBytes); at < to; at += BigInt(segmentBytes)) starts.add(at);
      }
      open.push(next);
    }
  }
  return [...starts].toSorted((a, b) => (a < b ? -1 : 1));
}

/** A part of a segment, as far as it counts. */
interface NamedPart {
  readonly name: string;
  readonly from: Lsn;
  readonly bytes: Uint8Array;
}

interface Known {
  readonly found: SettledSegment;
  /** Those that it was found of. */
  readonly parts: readonly { readonly name: string; readonly from: Lsn; readonly to: Lsn }[];
}

/**
 * What was found of segments, by all that has a part in that: what is stored under a name never changes, and a watch looks every
 * minute.
 */
const FOUND = new Map<string, Known>();
const MOST_FOUND = 4096;
const SAME: Known = { found: { ends: [], undecidedFrom: undefined, lastCommitUs: undefined }, parts: [] };

class LineVersions {
  readonly #repository: Repository;
  readonly #timeline: number;
  readonly #o: ToSettle;
  readonly #signal: AbortSignal;
  readonly #settled = new Map<Lsn, Known>();
  readonly #nodes = new Map<string, ReturnType<typeof readSegmentNodes>>();

  constructor(repository: Repository, timeline: number, toSettle: ToSettle, { signal }: CallOptions) {
    // What was stored since the index was read is looked at, too.
    this.#repository = repository.anew();
    this.#timeline = timeline;
    this.#o = toSettle;
    this.#signal = signal;
  }

  /** @param twice segments in order. */
  async settle(twice: readonly Lsn[]): Promise<Settled> {
    const { segmentBytes, systemId } = this.#o;
    const wrong: (Hole & { name: string })[] = [];
    const undecided: Settled["undecided"][number][] = [];
    const line = { systemId, timeline: this.#timeline };
    const isTooMuch = segmentBytes > LIMITS.settledSegmentBytes;
    const judged = isTooMuch ? [] : twice.slice(-LIMITS.settledSegments);
    for (const start of twice.filter((one) => !judged.includes(one))) {
      undecided.push({ ...line, from: start, to: start + BigInt(segmentBytes), lastCommitUs: undefined });
    }
    const open = new Set<Lsn>(judged);
    // What the segment behind has to say is known only when that one is settled.
    for (const order of [judged, judged.toReversed()]) {
      for (const start of order.filter((one) => open.has(one))) {
        if ((await this.#settleOne(start, open)).undecidedFrom === undefined) open.delete(start);
      }
    }
    for (const start of judged) {
      const { found, parts } = this.#settled.get(start) ?? { found: undefined, parts: [] };
      const end = start + BigInt(segmentBytes);
      for (const [index, { name, to }] of parts.entries()) {
        const counts = found?.ends[index] ?? end;
        if (counts < to) wrong.push({ ...line, name, from: counts, to });
      }
      if (found?.undecidedFrom === undefined) continue;
      undecided.push({ ...line, from: found.undecidedFrom, to: end, lastCommitUs: found.lastCommitUs });
    }
    return { wrong, undecided };
  }

  async #settleOne(start: Lsn, open: ReadonlySet<Lsn>): Promise<SettledSegment> {
    const size = BigInt(this.#o.segmentBytes);
    const [before, after] = [start - size, start + size].map((each) => (open.has(each) ? undefined : each));
    const around = [before, start, after].map((each) => (each === undefined ? "" : this.#namesOf(each).join(" ")));
    const key = [this.#o.systemId, this.#timeline, this.#o.major, start, ...around].join("|");
    const known = FOUND.get(key) ?? (await this.#find(start, before, after));
    if (FOUND.size > MOST_FOUND) FOUND.clear();
    FOUND.set(key, known);
    this.#settled.set(start, known);
    return known.found;
  }

  async #find(start: Lsn, before: Lsn | undefined, after: Lsn | undefined): Promise<Known> {
    if (await this.#isSame(start)) return SAME;
    const parts = await this.#partsOf(start);
    const found = settleSegment({
      start,
      segmentBytes: this.#o.segmentBytes,
      parts,
      before: before === undefined ? undefined : await this.#bytesOf(before),
      after: after === undefined ? undefined : await this.#bytesOf(after),
      open: this.#reader(),
    });
    return { found, parts: parts.map(({ name, from, bytes }) => ({ name, from, to: from + BigInt(bytes.length) })) };
  }

  #reader(): ((from: Lsn) => WalReader) | undefined {
    const { major, systemId, segmentBytes, histories } = this.#o;
    if (major === undefined) return undefined;
    const isOwn = (one: ToSettle["histories"][number]) => one.systemId === systemId && one.timeline === this.#timeline;
    const timeline = histories.find(isOwn) ?? this.#timeline;
    return (from) => createWalReader({ from, major, systemId, timeline, segmentBytes });
  }

  #spansOf(start: Lsn): ListedSpan[] {
    const end = start + BigInt(this.#o.segmentBytes);
    return this.#o.spans.filter(({ span }) => span.from < end && span.to > start);
  }

  #objectsOf(start: Lsn): JournalObject[] {
    const end = start + BigInt(this.#o.segmentBytes);
    return this.#o.objects.filter(({ from, to }) => from < end && to > start);
  }

  #namesOf(start: Lsn): string[] {
    return [...this.#spansOf(start).map(({ id }) => id), ...this.#objectsOf(start).map(({ name }) => name)];
  }

  /** True where spans alone have it, and by their chunks' names all of them the same; nothing of the log is read for that. */
  async #isSame(start: Lsn): Promise<boolean> {
    if (this.#objectsOf(start).length > 0) return false;
    const lists: (readonly ChunkId[])[] = [];
    for (const listed of this.#spansOf(start)) {
      const node = await this.#nodeOf(listed, start);
      if (node !== undefined) lists.push(node.content ?? []);
    }
    const longest = lists.reduce((most, list) => (list.length > most.length ? list : most), []);
    return lists.every((list) => list.every((id, at) => id === longest[at]));
  }

  async #nodeOf(listed: ListedSpan, start: Lsn) {
    const { segmentBytes } = this.#o;
    const nodes =
      this.#nodes.get(listed.id) ??
      readSegmentNodes(this.#repository, listed, { segmentBytes, signal: this.#signal }).catch((error: unknown) => {
        if (!isFailure(error, "repo/damaged")) throw error;
        return [];
      });
    this.#nodes.set(listed.id, nodes);
    const name = segmentName(this.#timeline, start, segmentBytes);
    return (await nodes).find((node) => node.name === name);
  }

  async #partsOf(start: Lsn): Promise<NamedPart[]> {
    const end = start + BigInt(this.#o.segmentBytes);
    const parts: NamedPart[] = [];
    for (const listed of this.#spansOf(start)) {
      const bytes = await this.#unlessLost(async () => await this.#readFile(listed, start));
      if (bytes !== undefined) parts.push({ name: listed.id, from: start, bytes });
    }
    for (const object of this.#objectsOf(start)) {
      const read = async () => (await readJournal(this.#repository, object, { signal: this.#signal })).bytes;
      const bytes = await this.#unlessLost(read);
      if (bytes === undefined) continue;
      const from = object.from > start ? object.from : start;
      const to = object.to < end ? object.to : end;
      const part = bytes.subarray(Number(from - object.from), Number(to - object.from));
      parts.push({ name: object.name, from, bytes: part });
    }
    return parts;
  }

  async #readFile(listed: ListedSpan, start: Lsn): Promise<Buffer | undefined> {
    const node = await this.#nodeOf(listed, start);
    if (node === undefined) return undefined;
    const chunks: Buffer[] = [];
    for (const id of node.content ?? []) {
      chunks.push(await this.#repository.readChunk("data", id, { signal: this.#signal }));
    }
    return Buffer.concat(chunks);
  }

  async #unlessLost(read: () => Promise<Buffer | undefined>): Promise<Buffer | undefined> {
    try {
      return await read();
    } catch (error) {
      if (!isFailure(error, "repo/damaged") && !isFailure(error, "store/not-found")) throw error;
      return undefined;
    }
  }

  /** What is there of a segment without a gap, of what counts. */
  async #bytesOf(start: Lsn): Promise<Uint8Array | undefined> {
    const known = this.#settled.get(start);
    const parts = await this.#partsOf(start);
    const endOf = (name: string) => known?.found.ends[known.parts.findIndex((part) => part.name === name)];
    const size = this.#o.segmentBytes;
    const joined = new Uint8Array(size);
    let filled = 0;
    for (const { name, from, bytes } of parts) {
      const counts = endOf(name) ?? from + BigInt(bytes.length);
      const undecided = known?.found.undecidedFrom ?? counts;
      const [begin, to] = [from, undecided < counts ? undecided : counts].map((lsn) => Number(lsn - start));
      if (begin === undefined || to === undefined) continue;
      if (begin > filled || to <= filled) continue;
      joined.set(bytes.subarray(filled - begin, to - begin), filled);
      filled = to;
    }
    return filled === 0 ? undefined : joined.subarray(0, filled);
  }
}
