/** A repository as a keeper stores in it: the journal within seconds, spans when they have come together. */
import type { Lsn } from "../../wal/lsn.ts";
import { hasJournal, sweepJournal, writeJournal } from "./journal.ts";
import type { SpanPlace } from "./keeper.ts";
import { saveSpan } from "./save-span.ts";
import type { Writer } from "./writing.ts";

export interface SpanPlaceOptions {
  /** The repository's name in the configuration, or its location. */
  readonly name: string;
  readonly segmentBytes: number;
  /** Of the timeline that is stored and of those that it comes from, as the server gave them; a timeline's number → text. */
  readonly histories: ReadonlyMap<number, string>;
  /** Told when the place lets nothing be removed: from then on the journal is to be written less often. */
  readonly onKept: () => void;
}

/** The writer's signal is not looked at: each call has its own. */
export function openSpanPlace(
  writer: Omit<Writer, "signal">,
  { name, segmentBytes, histories, onKept }: SpanPlaceOptions,
): SpanPlace {
  const { repository } = writer;
  // What lies before the first span of this run may be in none: another run knows.
  let sweptFrom: Lsn | undefined;
  let line: { installation: string; systemId: string; timeline: number } | undefined;
  return {
    name,
    hasJournal: hasJournal(repository),
    async putJournal(entry, { signal }) {
      await writeJournal(repository, { ...entry, history: histories.get(entry.span.timeline) }, { signal });
    },
    async saveSpan({ span, commits, bytes }, { signal }) {
      await saveSpan({ ...writer, signal }, { span, commits, bytes, segmentBytes, histories });
      line = span;
      sweptFrom ??= span.from;
    },
    async sweepJournal(savedTo, { signal }) {
      if (sweptFrom === undefined || line === undefined) return;
      const swept = await sweepJournal(repository, { ...line, from: sweptFrom, to: savedTo }, { signal });
      if (swept.isRefused) onKept();
    },
  };
}
