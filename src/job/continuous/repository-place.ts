/** A repository that the log goes to: what it has of a line, and how more is stored. */
import type { Clock } from "../../base/clock.ts";
import type { Line, WalSpan } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { type JournalObject, readJournals, type RefusedObject } from "./journal.ts";
import { listContinuous, settleListed } from "./list.ts";
import { newestLine } from "./newest-line.ts";
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
  const readJournal: WatchedPlace["readJournal"] = async function* (line, from, { signal }) {
    yield* journalBytes(await open(), line, from, { signal });
  };
  return {
    name,
    newest: async ({ signal }) => newestLine(await listContinuous(await open(), options.identity.id, { signal })),
    async standing(line, segmentBytes, { signal, after = -1n }): Promise<Standing | undefined> {
      const repository = await open();
      const { spans, young, reach } = await youngOf(repository, line, { signal, after });
      const { usable, refused } = await usableObjects(repository, young, { signal });
      const stretches = usable.map(({ object, counts }) => ({ ...object, to: counts }));
      const standing = standingOf(line, spans, stretches, segmentBytes);
      return standing === undefined ? undefined : { ...standing, refused, reach };
    },
    readJournal,
    spanPlace: async (facts) =>
      openSpanPlace({ ...options, repository: await open() }, { name, readJournal, ...facts }),
  };
}

/** An object, and up to where it counts. */
interface Counting {
  readonly object: JournalObject;
  readonly counts: Lsn;
}

/** Of a line what spans have, and objects that none has. Of what two objects say differently the server's own counts. */
async function youngOf(
  repository: Repository,
  line: Line,
  { signal, after = -1n }: CallOptions & { after?: Lsn },
): Promise<{ spans: readonly WalSpan[]; young: readonly Counting[]; reach: Lsn }> {
  const isOwn = ({ systemId, timeline }: Pick<Line, "systemId" | "timeline">) =>
    systemId === line.systemId && timeline === line.timeline;
  const lists = await listContinuous(repository, line.installation, { signal });
  const all = lists.spans.map(({ span }) => span);
  const reach = endOf([...all, ...lists.journal.objects].filter(isOwn));
  const spans = all.filter((span) => isOwn(span) && span.from > after);
  const saved = endOf(spans);
  const objects = lists.journal.objects.filter((object) => isOwn(object) && object.from > after && object.to > saved);
  const { wrong, undecided } = await settleListed(repository, { ...lists, objects }, { signal });
  const young = objects.map((object): Counting => {
    const ends = [...wrong.filter(({ name }) => name === object.name), ...undecided.filter(isOwn)].filter(
      ({ from, to }) => from < object.to && to > object.from,
    );
    const counts = ends.reduce((least, { from }) => (from < least ? from : least), object.to);
    return { object, counts };
  });
  return { spans, young: young.filter(({ object, counts }) => counts > object.from), reach };
}

function endOf(stretches: readonly { readonly to: Lsn }[]): Lsn {
  return stretches.reduce((most, { to }) => (to > most ? to : most), 0n);
}

/**
 * What the server is told to be durable it lets go of, so a name is not enough: each object is read. There are some minutes' worth
 * of them.
 */
async function usableObjects(
  repository: Repository,
  young: readonly Counting[],
  { signal }: CallOptions,
): Promise<{ usable: Counting[]; refused: RefusedObject[] }> {
  const names = new Set<string>();
  const refused: RefusedObject[] = [];
  const onRefused = (object: RefusedObject) => void refused.push(object);
  const objects = young.map(({ object }) => object);
  for await (const { name } of readJournals(repository, objects, { signal, onRefused })) names.add(name);
  return { usable: young.filter(({ object }) => names.has(object.name)), refused };
}

/** Ends where the journal has a gap, or what it has cannot be used: the server is asked for the rest. */
async function* journalBytes(
  repository: Repository,
  line: Line,
  from: Lsn,
  { signal }: CallOptions,
): AsyncGenerator<Buffer, void, void> {
  const { young } = await youngOf(repository, line, { signal });
  const ends = new Map(young.map(({ object, counts }) => [object.name, counts]));
  const wanted = young.filter(({ counts }) => counts > from).map(({ object }) => object);
  let at = from;
  for await (const { name, from: start, bytes } of readJournals(repository, wanted, { signal, onRefused() {} })) {
    if (start > at) return;
    const to = ends.get(name) ?? at;
    if (to <= at) continue;
    yield bytes.subarray(Number(at - start), Number(to - start));
    at = to;
  }
}
