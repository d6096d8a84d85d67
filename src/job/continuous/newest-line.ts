/** Which server, and how much of its log, the repositories have already: nothing of another one is mixed with that. */
import type { Clock } from "../../base/clock.ts";
import { Failure, failureOf } from "../../base/errors.ts";
import { describeAddress, type ServerAddress } from "../../postgres/address.ts";
import type { SystemIdentity } from "../../postgres/replication.ts";
import { formatLsn, type Lsn } from "../../wal/lsn.ts";
import { answersOf } from "./answers.ts";
import { isBehind } from "./line-start.ts";
import type { Continuous } from "./list.ts";
import type { WatchedPlace } from "./watched-place.ts";

/** The newest that is there of an installation: of its living cluster the newest timeline, and how far that goes. */
export interface NewestLine {
  readonly systemId: string;
  readonly timeline: number;
  readonly end: Lsn;
  /** When something of the cluster was written last, as far as the lists tell: microseconds since 1970 by its clock. */
  readonly us: bigint;
}

/** @returns undefined where there is nothing yet. */
export function newestLine({
  bases,
  spans,
  journal,
}: Pick<Continuous, "bases" | "spans" | "journal">): NewestLine | undefined {
  const stretches = [
    ...bases.map(({ base }) => ({ ...base, us: base.endedUs ?? base.beganUs })),
    ...spans.map(({ span }) => ({ ...span, us: span.lastCommitUs ?? 0n })),
    ...journal.objects.map((object) => ({ ...object, us: 0n })),
  ];
  const lines = [...Map.groupBy(stretches, ({ systemId }) => systemId)].map(([systemId, own]) => {
    const timeline = own.reduce((newest, one) => Math.max(newest, one.timeline), 0);
    const end = own.filter((one) => one.timeline === timeline).reduce((most, { to }) => (to > most ? to : most), 0n);
    return { systemId, timeline, end, us: own.reduce((newest, { us }) => (us > newest ? us : newest), 0n) };
  });
  return newestOf(lines);
}

/** Of several repositories' newest: of the cluster that lives, what goes furthest. */
export function newestOf(lines: readonly (NewestLine | undefined)[]): NewestLine | undefined {
  const known = lines.filter((line) => line !== undefined);
  const living = known.reduce<NewestLine | undefined>((a, b) => (a !== undefined && a.us >= b.us ? a : b), undefined);
  const own = known.filter(({ systemId }) => systemId === living?.systemId);
  return own.reduce<NewestLine | undefined>((a, b) => {
    const isFurther = a === undefined || b.timeline > a.timeline || (b.timeline === a.timeline && b.end > a.end);
    return isFurther ? b : a;
  }, undefined);
}

export interface StrangerSearch {
  readonly address: ServerAddress;
  readonly places: readonly Pick<WatchedPlace, "newest">[];
  /** Whether somebody said that a cluster takes the place of the one before. */
  readonly isAccepted?: (systemId: string) => Promise<boolean>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * A watch that begins knows no server yet: an address that leads elsewhere, or an old primary that came back, would else be followed
 * as if it were the installation's own. A repository that does not answer has no say.
 * @throws Failure `wal/other-cluster`; the signal's reason.
 */
export async function refuseStrangers(
  found: SystemIdentity,
  { address, places, isAccepted, clock, signal }: StrangerSearch,
): Promise<void> {
  const answers = await answersOf(places, askNewest, { isAnswer: (answer) => answer !== undefined, clock, signal });
  const asked = [...answers.values()].map((answer) => answer?.newest);
  refuseStranger(found, newestOf(asked), { address, isAccepted: (await isAccepted?.(found.systemId)) === true });
}

/** Undefined where it does not answer. */
async function askNewest(
  place: Pick<WatchedPlace, "newest">,
  signal: AbortSignal,
): Promise<{ newest: NewestLine | undefined } | undefined> {
  try {
    return { newest: await place.newest({ signal }) };
  } catch (error) {
    signal.throwIfAborted();
    if (failureOf(error).code === "internal/bug") throw error;
    return undefined;
  }
}

/** As {@link refuseStrangers}, by what is known. */
export function refuseStranger(
  found: SystemIdentity,
  newest: NewestLine | undefined,
  { address, isAccepted }: { address: ServerAddress; isAccepted: boolean },
): void {
  if (newest === undefined) return;
  if (found.systemId !== newest.systemId) {
    if (isAccepted) return;
    throw new Failure(
      "wal/other-cluster",
      `the server is another one than the repositories have the log of (${describeAddress(address)}): its system identifier is ${found.systemId}, not ${newest.systemId}`,
      {
        hint: "Does the address lead to another database, as that of a test installation? Nothing of it is mixed with what is kept. Where it took the old one's place for good, as after a restore or an upgrade, say so: 'chatkeep watch --new-server'.",
      },
    );
  }
  if (!isBehind(found, newest)) return;
  throw new Failure(
    "wal/other-cluster",
    `the server is behind what the repositories have: its log ends at ${formatLsn(found.flushed)} of timeline ${found.timeline}, and they have ${formatLsn(newest.end)} of timeline ${newest.timeline} (${describeAddress(address)})`,
    {
      hint:
        found.timeline === newest.timeline
          ? "Is it a copy of the disk from before, or a standby that lags? Let the address lead to the server that Chatwoot uses. Where this one is to go on from its earlier state, give it a timeline of its own: stop it, make an empty file standby.signal in its data folder, start it, and run SELECT pg_promote()."
          : "Is it an old primary that came back? Let the address lead to the server that Chatwoot uses, and make this one a standby of that (pg_rewind).",
    },
  );
}
