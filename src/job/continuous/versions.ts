/**
 * Where a repository has a stretch of the log more than once: whether that is the same, and else which version is the server's.
 * Names tell where to look, so that nothing is read where nothing overlaps.
 */
import { mapConcurrent } from "../../base/concurrent.ts";
import { isFailure } from "../../base/errors.ts";
import type { ChunkId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { TreeNode } from "../../format/node.ts";
import type { Line } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import { type TimelineHistory } from "../../wal/history.ts";
import { type Lsn, segmentName, segmentStart } from "../../wal/lsn.ts";
import { createWalReader, type WalReader } from "../../wal/reader.ts";
import { type SettledSegment, settleSegment } from "../../wal/versions.ts";
import { coverOf } from "./held-by-spans.ts";
import { type JournalObject, readJournal } from "./journal.ts";
import type { ListedSpan } from "./list.ts";
import { readSegmentNodes, sizeOf } from "./span-files.ts";

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
  /** What spans have, by their snapshots' ids, of those that were read already. */
  readonly nodes?: ReadonlyMap<string, readonly TreeNode[]>;
  /** Segments that are looked at; all without it. */
  readonly wants?: (timeline: number, start: Lsn) => boolean;
  /**
   * Where it is true, a segment of which one span has the beginning and another one more of it counts as there once: so it is where a
   * watch went on. It is looked at when the segment is read.
   */
  readonly isListing?: (timeline: number, start: Lsn) => boolean;
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
    const twice = segmentsTwice(own, timeline).filter((start) => toSettle.wants?.(timeline, start) !== false);
    if (twice.length > 0) all.push(await new LineVersions(repository, timeline, own, options).settle(twice));
  }
  return { wrong: all.flatMap(({ wrong }) => wrong), undecided: all.flatMap(({ undecided }) => undecided) };
}

/** Beginnings of segments that, by the names, are there twice in part at least, in order. */
function segmentsTwice({ spans, objects, segmentBytes, isListing }: ToSettle, timeline: number): Lsn[] {
  const starts = new Set<Lsn>();
  const add = (from: Lsn, to: Lsn) => {
    for (let at = segmentStart(from, segmentBytes); at < to; at += BigInt(segmentBytes)) starts.add(at);
  };
  const ofSpans = spans.map(({ span: { from, to }, snapshot }) => ({ from, to, tree: snapshot.tree as string }));
  for (const stretches of [ofSpans, objects.map(({ from, to, name }) => ({ from, to, tree: name }))]) {
    let open: typeof stretches = [];
    for (const next of stretches.toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
      open = open.filter(({ to }) => to > next.from);
      for (const one of open) {
        if (one.tree === next.tree) continue;
        const to = one.to < next.to ? one.to : next.to;
        const start = segmentStart(one.to, segmentBytes);
        const isGoneOnWith = one.to < next.to && next.from === start;
        if (!isGoneOnWith || isListing?.(timeline, start) !== true) add(next.from, to);
      }
      open.push(next);
    }
  }
  const isCovered = coverOf(spans.map(({ span }) => span));
  for (const object of objects) if (isCovered(object)) add(object.from, object.to);
  return [...starts].toSorted((a, b) => (a < b ? -1 : 1));
}

/** What has a part of a segment, and how much of it. */
interface Holder {
  readonly name: string;
  readonly length: number;
}

/** One version of a part of a segment, and all that have it or its beginning; the first has all of it. */
interface NamedPart {
  readonly from: Lsn;
  readonly holders: readonly Holder[];
}

type PartBytes = NamedPart & { readonly bytes: Uint8Array };

interface SettledParts {
  readonly found: SettledSegment;
  readonly parts: readonly NamedPart[];
}

/** Files of spans of which each is the beginning of the one before it, the longest first. */
type Likes = { readonly id: string; readonly node: TreeNode }[];

/**
 * What was found of segments, by all that has a part in that: what is stored under a name never changes, and a watch looks every
 * minute.
 */
const FOUND = new Map<string, SettledParts>();
/** Of which segments all that is there is the same, or not. */
const SAME = new Map<string, boolean>();
const MOST_FOUND = 4096;

/** A segment and those beside it. */
const READ_AT_ONCE = 3;

class LineVersions {
  readonly #repository: Repository;
  readonly #timeline: number;
  readonly #o: ToSettle;
  readonly #signal: AbortSignal;
  readonly #settled = new Map<Lsn, SettledParts>();
  readonly #files = new Map<Lsn, Likes[]>();
  /** Of the segments that were read last. */
  readonly #bytes = new Map<Lsn, readonly PartBytes[]>();
  readonly #nodes = new Map<string, Promise<readonly TreeNode[]>>();

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
    const differing = await this.#differing(twice);
    const isTooMuch = segmentBytes > LIMITS.settledSegmentBytes;
    const judged = isTooMuch ? [] : differing.slice(-LIMITS.settledSegments);
    for (const start of differing.slice(0, differing.length - judged.length)) {
      undecided.push({ ...line, from: start, to: start + BigInt(segmentBytes), lastCommitUs: undefined });
    }
    const open = new Set<Lsn>(differing);
    // What the segment behind has to say is known only when that one is settled.
    for (const order of [judged, judged.toReversed()]) {
      for (const start of order.filter((one) => open.has(one))) {
        if ((await this.#settleOne(start, open)).undecidedFrom === undefined) open.delete(start);
      }
    }
    for (const start of judged) {
      const { found, parts } = this.#settled.get(start) ?? { found: undefined, parts: [] };
      const end = start + BigInt(segmentBytes);
      for (const [index, { from, holders }] of parts.entries()) {
        const counts = found?.ends[index] ?? end;
        for (const { name, length } of holders) {
          const to = from + BigInt(length);
          if (counts < to) wrong.push({ ...line, name, from: counts, to });
        }
      }
      if (found?.undecidedFrom === undefined) continue;
      undecided.push({ ...line, from: found.undecidedFrom, to: end, lastCommitUs: found.lastCommitUs });
    }
    return { wrong, undecided };
  }

  /** Segments of which not all that is there is the same. */
  async #differing(twice: readonly Lsn[]): Promise<Lsn[]> {
    const [young, saved] = [true, false].map((has) => twice.filter((at) => this.#objectsOf(at).length > 0 === has));
    const differing = new Set<Lsn>();
    const compare = async (start: Lsn) => {
      const key = [this.#o.systemId, this.#timeline, start, ...this.#namesOf(start)].join("|");
      const isSame = SAME.get(key) ?? (await this.#isSame(start));
      if (SAME.size > MOST_FOUND) SAME.clear();
      SAME.set(key, isSame);
      if (isSame) this.#files.delete(start);
      else differing.add(start);
    };
    await mapConcurrent(saved ?? [], LIMITS.journalReads, compare, { signal: this.#signal });
    // Of these all bytes are read.
    for (const start of young ?? []) await compare(start);
    return twice.filter((start) => differing.has(start));
  }

  /** Of spans the chunks' names tell, and a beginning's last chunk; nothing more of the log is read for that. */
  async #isSame(start: Lsn): Promise<boolean> {
    const { segmentBytes } = this.#o;
    const files = await this.#filesOf(start);
    if (this.#objectsOf(start).length === 0) return files.length <= 1;
    if (segmentBytes > LIMITS.settledSegmentBytes) return false;
    const parts = await this.#partsOf(start);
    const alone = { start, segmentBytes, parts, before: undefined, after: undefined, open: undefined };
    return settleSegment(alone).undecidedFrom === undefined;
  }

  async #settleOne(start: Lsn, open: ReadonlySet<Lsn>): Promise<SettledSegment> {
    const size = BigInt(this.#o.segmentBytes);
    const [before, after] = [start - size, start + size].map((each) => (open.has(each) ? undefined : each));
    const around = [before, start, after].map((each) => (each === undefined ? "" : this.#namesOf(each).join(" ")));
    const key = [this.#o.systemId, this.#timeline, this.#o.major, start, ...around].join("|");
    const known = FOUND.get(key);
    if (known !== undefined) {
      this.#settled.set(start, known);
      return known.found;
    }
    const parts = await this.#partsOf(start);
    const found = settleSegment({
      start,
      segmentBytes: this.#o.segmentBytes,
      parts,
      before: before === undefined ? undefined : await this.#bytesOf(before),
      after: after === undefined ? undefined : await this.#bytesOf(after),
      open: this.#reader(),
    });
    const settled = { found, parts: parts.map(({ from, holders }) => ({ from, holders })) };
    if (FOUND.size > MOST_FOUND) FOUND.clear();
    FOUND.set(key, settled);
    this.#settled.set(start, settled);
    return found;
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

  /** What spans have of a segment: files that differ, each with those that are its beginning. */
  async #filesOf(start: Lsn): Promise<Likes[]> {
    const known = this.#files.get(start);
    if (known !== undefined) return known;
    const found: Likes[] = [];
    for (const listed of this.#spansOf(start)) {
      const node = await this.#nodeOf(listed, start);
      if (node !== undefined) found.push([{ id: listed.id, node }]);
    }
    const files: Likes[] = [];
    for (const one of found.flat().toSorted((a, b) => sizeOf(b.node) - sizeOf(a.node))) {
      const likes = await this.#likesOf(one.node, files);
      if (likes === undefined) files.push([one]);
      else likes.push(one);
    }
    this.#files.set(start, files);
    return files;
  }

  async #likesOf(node: TreeNode, files: readonly Likes[]): Promise<Likes | undefined> {
    for (const likes of files) {
      const shortest = likes.at(-1);
      if (shortest !== undefined && (await this.#isBeginning(node, shortest.node))) return likes;
    }
    return undefined;
  }

  /** @param whole not shorter. False too where a chunk cannot be read that would tell. */
  async #isBeginning(node: TreeNode, whole: TreeNode): Promise<boolean> {
    const [ids, others] = [node.content ?? [], whole.content ?? []];
    const at = ids.findIndex((id, index) => id !== others[index]);
    if (at === -1) return true;
    const [last, other] = [ids[at], others[at]];
    if (last === undefined || other === undefined || at < ids.length - 1 || sizeOf(node) === sizeOf(whole))
      return false;
    const read = async () => await this.#readChunk(last);
    const [bytes, longer] = [
      await this.#unlessLost(read),
      await this.#unlessLost(async () => await this.#readChunk(other)),
    ];
    return bytes !== undefined && longer !== undefined && longer.subarray(0, bytes.length).equals(bytes);
  }

  async #nodeOf(listed: ListedSpan, start: Lsn): Promise<TreeNode | undefined> {
    const name = segmentName(this.#timeline, start, this.#o.segmentBytes);
    const nodes = this.#nodes.get(listed.id) ?? this.#readNodes(listed);
    this.#nodes.set(listed.id, nodes);
    return (await nodes).find((node) => node.name === name);
  }

  async #readNodes(listed: ListedSpan): Promise<readonly TreeNode[]> {
    const { segmentBytes, nodes } = this.#o;
    const known = nodes?.get(listed.id);
    if (known !== undefined) return known;
    try {
      return await readSegmentNodes(this.#repository, listed, { segmentBytes, signal: this.#signal });
    } catch (error) {
      if (!isFailure(error, "repo/damaged")) throw error;
      return [];
    }
  }

  async #partsOf(start: Lsn): Promise<readonly PartBytes[]> {
    const known = this.#bytes.get(start);
    if (known !== undefined) return known;
    const parts = await this.#readParts(start);
    for (const oldest of this.#bytes.keys()) if (this.#bytes.size >= READ_AT_ONCE) this.#bytes.delete(oldest);
    this.#bytes.set(start, parts);
    return parts;
  }

  async #readParts(start: Lsn): Promise<PartBytes[]> {
    const end = start + BigInt(this.#o.segmentBytes);
    const parts: PartBytes[] = [];
    for (const likes of await this.#filesOf(start)) {
      for (const [index, { node }] of likes.entries()) {
        const bytes = await this.#unlessLost(async () => await this.#readFile(node));
        if (bytes === undefined) continue;
        const holders = likes.slice(index).map((one) => ({ name: one.id, length: sizeOf(one.node) }));
        parts.push({ from: start, holders, bytes });
        break;
      }
    }
    for (const object of this.#objectsOf(start)) {
      const read = async () => (await readJournal(this.#repository, object, { signal: this.#signal })).bytes;
      const bytes = await this.#unlessLost(read);
      if (bytes === undefined) continue;
      const from = object.from > start ? object.from : start;
      const to = object.to < end ? object.to : end;
      // A copy, so that no more of the object stays in memory.
      const part = new Uint8Array(bytes.subarray(Number(from - object.from), Number(to - object.from)));
      parts.push({ from, holders: [{ name: object.name, length: part.length }], bytes: part });
    }
    return parts;
  }

  async #readFile({ content }: TreeNode): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (const id of content ?? []) chunks.push(await this.#readChunk(id));
    return Buffer.concat(chunks);
  }

  async #readChunk(id: ChunkId): Promise<Buffer> {
    return await this.#repository.readChunk("data", id, { signal: this.#signal });
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
    // What could be read when it was settled, and cannot be now.
    if (known !== undefined && known.parts.length !== parts.length) return undefined;
    const size = this.#o.segmentBytes;
    const joined = new Uint8Array(size);
    let filled = 0;
    for (const [index, { from, bytes }] of parts.entries()) {
      const counts = known?.found.ends[index] ?? from + BigInt(bytes.length);
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
