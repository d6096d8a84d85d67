/** A repository that the log goes to: what it has of a line, and how more is stored. */
import type { Clock } from "../../base/clock.ts";
import type { Line, WalSpan } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { type JournalObject, listJournal, readJournals, type RefusedObject } from "./journal.ts";
import { listContinuous } from "./list.ts";
import { openSpanPlace } from "./span-place.ts";
import { type Standing, standingOf } from "./take-up.ts";
import type { WatchedPlace } from "./watched-place.ts";

export interface RepositoryPlaceOptions {
  /** The repository's name in the configuration. */
  readonly name: string;
  /** Opened when it is first needed, and again after it could not be. */
  readonly open: () => Promise<Repository>;
  readonly identity: { readonly id: string; readonly name: string };
  readonly program: string;
  readonly clock: Clock;
}

type CallOptions = { readonly signal: AbortSignal };

export function repositoryPlace(options: RepositoryPlaceOptions): WatchedPlace {
  const { name, open } = options;
  return {
    name,
    async standing(line, segmentBytes, { signal }): Promise<Standing | undefined> {
      const repository = await open();
      const { spans, journal } = await listContinuous(repository, line.installation, { signal });
      const own = spans.map(({ span }) => span);
      const { usable, refused } = await usableObjects(repository, journal.objects.filter(isYoung(line, own)), {
        signal,
      });
      const standing = standingOf(line, own, usable, segmentBytes);
      return standing === undefined ? undefined : { ...standing, refused };
    },
    async *readJournal(line, from, { signal }) {
      yield* journalBytes(await open(), line, from, { signal });
    },
    spanPlace: async (facts) => openSpanPlace({ ...options, repository: await open() }, { name, ...facts }),
  };
}

/** Of objects of a line: those that no span has. */
function isYoung(line: Line, spans: readonly WalSpan[]): (object: JournalObject) => boolean {
  const isOwn = ({ systemId, timeline }: Pick<Line, "systemId" | "timeline">) =>
    systemId === line.systemId && timeline === line.timeline;
  const saved = spans.filter(isOwn).reduce((most, { to }) => (to > most ? to : most), 0n);
  return (object) => isOwn(object) && object.to > saved;
}

/**
 * What the server is told to be durable it lets go of, so a name is not enough: each object is read. There are some minutes' worth
 * of them.
 */
async function usableObjects(
  repository: Repository,
  objects: readonly JournalObject[],
  { signal }: CallOptions,
): Promise<{ usable: JournalObject[]; refused: RefusedObject[] }> {
  const usable: JournalObject[] = [];
  const refused: RefusedObject[] = [];
  const onRefused = (object: RefusedObject) => void refused.push(object);
  for await (const { name, installation, systemId, timeline, from, to } of readJournals(repository, objects, {
    signal,
    onRefused,
  })) {
    usable.push({ name, installation, systemId, timeline, from, to });
  }
  return { usable, refused };
}

/** Ends where the journal has a gap, or what it has cannot be used: the server is asked for the rest. */
async function* journalBytes(
  repository: Repository,
  { installation, systemId, timeline }: Line,
  from: Lsn,
  { signal }: CallOptions,
): AsyncGenerator<Buffer, void, void> {
  const { objects } = await listJournal(repository, installation, { signal });
  const own = objects.filter((one) => one.systemId === systemId && one.timeline === timeline && one.to > from);
  let at = from;
  for await (const { from: start, to, bytes } of readJournals(repository, own, { signal, onRefused() {} })) {
    if (start > at) return;
    if (to <= at) continue;
    yield bytes.subarray(Number(at - start));
    at = to;
  }
}
