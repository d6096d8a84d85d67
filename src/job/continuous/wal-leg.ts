/** One leg of the log on its way to a server, as it is put together from what spans have whole, beginnings, and the journal. */
import { type FileHandle, open, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { Failure } from "../../base/errors.ts";
import type { Line } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Restorer } from "../../repo/restore-tree.ts";
import { formatLsn, type Lsn, parseSegmentName, segmentName, segmentStart } from "../../wal/lsn.ts";
import { differs, type JournalObject, readJournals, type RefusedObject } from "./journal.ts";
import type { ListedSpan } from "./list.ts";
import { differsAt } from "../../wal/versions.ts";
import { restoreFiles, type SpanFile } from "./span-files.ts";
import type { Settled, ToSettle } from "./versions.ts";

/** A stretch of one timeline. */
export interface WalLeg {
  readonly timeline: number;
  readonly from: Lsn;
  /** Without this byte; undefined: as far as it goes without a gap. */
  readonly to: Lsn | undefined;
}

export interface WalToRead extends Pick<Line, "installation" | "systemId"> {
  readonly segmentBytes: number;
  readonly legs: readonly WalLeg[];
  readonly spans: readonly ListedSpan[];
  readonly journal: readonly JournalObject[];
  /** The server's major, and its timelines: where something is there twice, reading it says which version is the server's. */
  readonly major?: number | undefined;
  readonly histories?: ToSettle["histories"];
  /**
   * True for a moment before the legs' end: the log ends where something lacks or is there in two versions, and whoever replays it
   * refuses a moment that was not reached.
   */
  readonly isOpenEnd?: boolean;
}

interface Stretch {
  readonly from: Lsn;
  readonly to: Lsn;
}

interface LegParts {
  readonly wanted: WalToRead;
  readonly leg: WalLeg;
  readonly folder: string;
  readonly restorer: Restorer;
  readonly settled: Settled;
}

/** One leg, as it comes together. */
export class Leg {
  readonly #wanted: WalToRead;
  readonly #leg: WalLeg;
  readonly #folder: string;
  readonly #restorer: Restorer;
  readonly #settled: Settled;
  readonly #begin: Lsn;
  /** Segments that a span has whole, by name: they stay where they are until they are asked for. */
  readonly #stored = new Map<string, SpanFile>();
  /** Those that lie in the folder. */
  readonly #assembled = new Set<string>();
  /** The timeline's history file, where the journal has it. */
  history: string | undefined;
  /** What is there, in order, and joined where it touches. */
  #known: Stretch[] = [];
  /** Where two versions begin. */
  #cut: Lsn | undefined;

  constructor({ wanted, leg, folder, restorer, settled }: LegParts) {
    this.#wanted = wanted;
    this.#leg = leg;
    this.#folder = folder;
    this.#restorer = restorer;
    this.#settled = settled;
    // A server reads a segment from its first page on.
    this.#begin = segmentStart(leg.from, wanted.segmentBytes);
    const cuts = settled.undecided.filter(({ timeline, to }) => timeline === leg.timeline && to > this.#begin);
    this.#cut = cuts.reduce<Lsn | undefined>(
      (least, { from }) => (least === undefined || from < least ? from : least),
      undefined,
    );
  }

  get names(): string[] {
    return [...this.#stored.keys(), ...this.#assembled].toSorted();
  }

  get timeline(): number {
    return this.#leg.timeline;
  }

  stored(name: string): SpanFile | undefined {
    return this.#stored.get(name);
  }

  isAssembled(name: string): boolean {
    return this.#assembled.has(name);
  }

  wants(start: Lsn): boolean {
    return start >= this.#begin && (this.#leg.to === undefined || start < this.#leg.to);
  }

  #nameOf(lsn: Lsn): string {
    return segmentName(this.#leg.timeline, lsn, this.#wanted.segmentBytes);
  }

  /** Segments of spans: whole ones are only noted, beginnings are put into the folder. */
  async take(files: readonly SpanFile[], refused: RefusedObject[]): Promise<void> {
    const { segmentBytes } = this.#wanted;
    const isWhole = ({ bytes }: SpanFile) => bytes === segmentBytes;
    for (const file of files.filter(isWhole)) {
      this.#stored.set(file.node.name, file);
      this.#learn({ from: file.start, to: file.start + BigInt(segmentBytes) });
    }
    const beginnings = files.filter((file) => !isWhole(file));
    for (const { start, node, bytes } of await restoreFiles(this.#restorer, beginnings, refused)) {
      const path = join(this.#folder, node.name);
      await truncate(path, bytes);
      await truncate(path, segmentBytes);
      this.#assembled.add(node.name);
      this.#learn({ from: start, to: start + BigInt(bytes) });
    }
  }

  /** A segment in the folder, to be written to. */
  async #open(lsn: Lsn): Promise<FileHandle> {
    const name = this.#nameOf(lsn);
    const stored = this.#stored.get(name);
    if (stored !== undefined) {
      const problems: RefusedObject[] = [];
      await restoreFiles(this.#restorer, [stored], problems);
      const [problem] = problems;
      if (problem !== undefined) throw new Failure("repo/damaged", `'${name}' cannot be read: ${problem.reason}`);
      this.#stored.delete(name);
    }
    this.#assembled.add(name);
    return await openSegment(join(this.#folder, name), this.#wanted.segmentBytes);
  }

  #learn(stretch: Stretch): void {
    const joined: Stretch[] = [];
    for (const each of [...this.#known, stretch].toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
      const last = joined.at(-1);
      if (last === undefined || each.from > last.to) joined.push(each);
      else if (each.to > last.to) joined.splice(-1, 1, { from: last.from, to: each.to });
    }
    this.#known = joined;
  }

  #covers({ from, to }: Stretch): boolean {
    return this.#known.some((known) => known.from <= from && known.to >= to);
  }

  get #reached(): Lsn {
    const to = this.#known.find((one) => one.from <= this.#begin && one.to > this.#begin)?.to ?? this.#begin;
    return this.#cut !== undefined && this.#cut < to ? this.#cut : to;
  }

  /** What spans do not have, from the journal. @param options `onGone`: told of what was taken out of it since it was listed. */
  async fill(
    repository: Repository,
    { signal, refused, onGone }: { signal: AbortSignal; refused: RefusedObject[]; onGone: () => void },
  ): Promise<void> {
    const { systemId, journal } = this.#wanted;
    const { timeline, to } = this.#leg;
    const lacking = journal.filter(
      (object) =>
        object.systemId === systemId &&
        object.timeline === timeline &&
        object.to > this.#begin &&
        (to === undefined || object.from < to) &&
        !this.#covers(object),
    );
    const onRefused = (object: RefusedObject) => void refused.push(object);
    for await (const { name, from, to: end, bytes, history } of readJournals(repository, lacking, {
      signal,
      onRefused,
      onGone,
    })) {
      this.history ??= history;
      const wrong = this.#settled.wrong.filter((one) => one.name === name).map((one) => one.from);
      const counts = wrong.reduce((least, each) => (each < least ? each : least), end);
      await this.#write(from, bytes.subarray(0, Number(counts - from)));
    }
  }

  async #write(from: Lsn, bytes: Buffer): Promise<void> {
    const { segmentBytes } = this.#wanted;
    for (let at = 0; at < bytes.length;) {
      const lsn = from + BigInt(at);
      const within = Number(lsn - segmentStart(lsn, segmentBytes));
      const part = bytes.subarray(at, at + segmentBytes - within);
      if (lsn >= this.#begin) {
        await using file = await this.#open(lsn);
        await this.#writePart(file, lsn, within, part);
      }
      at += part.length;
    }
  }

  /** What is there already must be the same; the rest is written. */
  async #writePart(file: FileHandle, lsn: Lsn, within: number, part: Buffer): Promise<void> {
    const end = lsn + BigInt(part.length);
    for (const known of this.#known) {
      const from = known.from > lsn ? known.from : lsn;
      const to = known.to < end ? known.to : end;
      if (from >= to) continue;
      const at = Number(from - lsn);
      const there = Buffer.alloc(Number(to - from));
      await file.read(there, 0, there.length, within + at);
      const differs = differsAt(there, part.subarray(at, at + there.length));
      if (differs === undefined) continue;
      const cut = from + BigInt(differs);
      if (this.#cut === undefined || cut < this.#cut) this.#cut = cut;
      return;
    }
    await file.write(part, 0, part.length, within);
    this.#learn({ from: lsn, to: end });
  }

  /** @throws Failure `moment/outside` where something lacks before the leg's end, `repo/damaged` where versions differ there. */
  async finish(refused: readonly RefusedObject[]): Promise<Lsn> {
    const { segmentBytes } = this.#wanted;
    const { timeline, to } = this.#leg;
    const reached = this.#reached;
    const isDifferent = reached === this.#cut && (to === undefined || reached < to);
    if (isDifferent && this.#wanted.isOpenEnd !== true) throw differs(reached);
    if (to !== undefined && reached < to && this.#wanted.isOpenEnd !== true) {
      const why = refused.length === 0 ? "" : `: ${refused[0]?.reason ?? ""}`;
      throw new Failure(
        "moment/outside",
        `the log of timeline ${timeline} is there from ${formatLsn(this.#begin)} to ${formatLsn(reached)}, and not to ${formatLsn(to)}${why}`,
        { hint: "'chatkeep list' shows from when to when any moment can be had." },
      );
    }
    // Behind a gap nothing counts: a server must find zeros there, or no file.
    for (const name of this.names) {
      const start = parseSegmentName(name, segmentBytes)?.start;
      if (start === undefined || start < reached) continue;
      this.#stored.delete(name);
      if (this.#assembled.delete(name)) await rm(join(this.#folder, name), { force: true });
    }
    const last = this.#nameOf(reached);
    if (this.#assembled.has(last)) {
      const path = join(this.#folder, last);
      await truncate(path, Number(reached - segmentStart(reached, segmentBytes)));
      await truncate(path, segmentBytes);
    }
    return reached;
  }
}

async function openSegment(path: string, segmentBytes: number): Promise<FileHandle> {
  try {
    return await open(path, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const file = await open(path, "wx+", 0o600);
    await file.truncate(segmentBytes);
    return file;
  }
}
