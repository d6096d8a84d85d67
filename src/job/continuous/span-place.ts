/** A repository as a keeper stores in it: the journal within seconds, spans when they have come together. */
import { isFailure } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { type Line, parseJournalName } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import { type Lsn, segmentStart } from "../../wal/lsn.ts";
import { hasJournal, type JournalObject, readJournals, type Swept, sweepJournal, writeJournal } from "./journal.ts";
import type { SpanPlace } from "./keeper.ts";
import { writeSpan } from "./save-span.ts";
import { type Writer, Writing } from "./writing.ts";

export interface SpanPlaceOptions {
  /** The repository's name in the configuration, or its location. */
  readonly name: string;
  readonly segmentBytes: number;
  /** Of the timeline that is stored and of those that it comes from, as the server gave them; a timeline's number → text. */
  readonly histories: ReadonlyMap<number, string>;
  /** What the repository's journal has of a line from a position on, without a gap. */
  readonly readJournal: (line: Line, from: Lsn, options: { signal: AbortSignal }) => AsyncIterable<Buffer>;
}

/** The writer's signal is not looked at: each call has its own. */
export function openSpanPlace(
  writer: Omit<Writer, "signal">,
  { name, segmentBytes, histories, readJournal }: SpanPlaceOptions,
): SpanPlace {
  const { repository, program } = writer;
  const writing = new Writing(writer, { startsLate: true });
  /** The span before this one said that it follows at once. */
  let isOneOfMany = false;
  // What lies before the first span of this run may be in none: another run knows.
  let sweptFrom: Lsn | undefined;
  let line: { installation: string; systemId: string; timeline: number } | undefined;
  let isKept = false;
  /** Objects that this run wrote, and that were not swept yet: by their names where they end. */
  const own = new Map<string, Lsn>();
  /** The bytes of the newest span, until the journal was swept. */
  let newest: Swept["saved"] | undefined;
  /** The newest span, where it ends inside a segment. */
  let partial: { id: SnapshotId; from: Lsn } | undefined;
  return {
    name,
    hasJournal: hasJournal(repository),
    // What can never be removed piles up, and so do snapshots.
    get leastFlushMs() {
      return isKept || !hasJournal(repository) ? LIMITS.journalKeptFlushMs : 0;
    },
    async putJournal(entry, options) {
      const onStored = (to: Lsn, object: string) => {
        own.set(object, to);
        options.onStored(to);
      };
      const { signal } = options;
      await writeJournal(repository, { ...entry, history: histories.get(entry.span.timeline) }, { signal, onStored });
    },
    async readJournal(of, { from, to }, { signal }) {
      const length = Number(to - from);
      // By the hour, as while somebody prunes, there is much of it: nothing is listed for what this run wrote itself.
      const written = ownObjects(of, own.keys(), { from, to });
      if (written !== undefined) {
        const bytes = await gather(bytesOf(repository, written, from, { signal }), length);
        if (bytes.length === length) return bytes;
      }
      return await gather(readJournal(of, from, { signal }), length);
    },
    async saveSpan({ span, commits, bytes }, { signal, goesOn }) {
      const lanes = isOneOfMany ? LIMITS.sealingWorkers : 1;
      isOneOfMany = false;
      let stored: readonly Buffer[] = [];
      const read = async () => (stored = typeof bytes === "function" ? await bytes() : bytes);
      const saved = await writeSpan(
        writing,
        { span, commits, bytes: read, segmentBytes, histories, program },
        { signal, lanes, goesOn: () => (isOneOfMany = goesOn()) },
      );
      if (partial !== undefined && partial.from >= span.from) await removeReplaced(repository, partial.id, signal);
      const isPartial = span.to !== segmentStart(span.to, segmentBytes);
      partial = isPartial ? { id: saved.snapshotId, from: span.from } : undefined;
      line = span;
      sweptFrom ??= span.from;
      newest = hasJournal(repository) ? { from: span.from, bytes: stored } : undefined;
    },
    async sweepJournal(savedTo, { signal }) {
      if (sweptFrom === undefined || line === undefined || newest === undefined) return;
      const saved = newest;
      // Whoever stored them lets go of them now.
      newest = undefined;
      const swept = await sweepJournal(
        repository,
        { within: { ...line, from: sweptFrom, to: savedTo }, own, saved },
        { signal },
      );
      for (const [object, to] of own) if (to <= savedTo) own.delete(object);
      if (swept.isRefused) isKept = true;
    },
    async close() {
      await writing[Symbol.asyncDispose]();
    },
  };
}

/** Of objects that this run wrote, those that have a stretch between them, in order; undefined where they lack something of it. */
function ownObjects(
  { installation, systemId, timeline }: Line,
  names: Iterable<string>,
  { from, to }: { from: Lsn; to: Lsn },
): JournalObject[] | undefined {
  const objects = [...names].flatMap((name) => {
    const parsed = parseJournalName(name);
    const isOwn = parsed?.systemId === systemId && parsed.timeline === timeline;
    return isOwn && parsed.from < to && parsed.to > from ? [{ ...parsed, installation, name }] : [];
  });
  objects.sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
  const end = objects.reduce((at, object) => (object.from <= at && object.to > at ? object.to : at), from);
  return end >= to ? objects : undefined;
}

/** Ends where they have a gap, or one cannot be used. */
async function* bytesOf(
  repository: Repository,
  objects: readonly JournalObject[],
  from: Lsn,
  { signal }: { signal: AbortSignal },
): AsyncGenerator<Buffer, void, void> {
  let at = from;
  for await (const object of readJournals(repository, objects, { signal, onRefused() {} })) {
    if (object.from > at) return;
    if (object.to <= at) continue;
    yield object.bytes.subarray(Number(at - object.from));
    at = object.to;
  }
}

/** In memory that threads share. Fewer bytes where fewer come. */
async function gather(parts: AsyncIterable<Buffer>, length: number): Promise<Buffer> {
  const all = Buffer.from(new SharedArrayBuffer(length));
  let filled = 0;
  for await (const part of parts) {
    filled += part.copy(all, filled);
    if (filled === length) break;
  }
  return all.subarray(0, filled);
}

/** A snapshot that the next one has all of: where nothing may be removed it stays, and does no harm. */
export async function removeReplaced(repository: Repository, name: SnapshotId, signal: AbortSignal): Promise<void> {
  try {
    await repository.store.remove({ kind: "snapshots", name }, { signal });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (!isFailure(error)) throw error;
  }
}
