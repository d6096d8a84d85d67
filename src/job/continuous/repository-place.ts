/** A repository that the log goes to: what it has of a line, and how more is stored. */
import type { Clock } from "../../base/clock.ts";
import type { Line } from "../../point/continuous.ts";
import type { Repository } from "../../repo/repository.ts";
import type { Lsn } from "../../wal/lsn.ts";
import { listJournal, readJournals } from "./journal.ts";
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
      return standingOf(
        line,
        spans.map(({ span }) => span),
        journal.objects,
        segmentBytes,
      );
    },
    async *readJournal(line, from, { signal }) {
      yield* journalBytes(await open(), line, from, { signal });
    },
    spanPlace: async (facts) => openSpanPlace({ ...options, repository: await open() }, { name, ...facts }),
  };
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
