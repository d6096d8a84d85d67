/** What is asked of a server and of repositories before a line of the log is taken up. */
import type { Clock } from "../../base/clock.ts";
import { Failure, failureOf, isFailure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Line } from "../../point/continuous.ts";
import { describeAddress, type ServerAddress } from "../../postgres/address.ts";
import type { Connection } from "../../postgres/connect.ts";
import type { ReplicationSession, SystemIdentity } from "../../postgres/replication.ts";
import { readReplicationFacts } from "../../postgres/replication-facts.ts";
import { slotFor } from "../../postgres/replication-look.ts";
import {
  adoptSlot,
  createSlot,
  dropSlot,
  readSlot,
  refuseOtherReader,
  type Slot,
  temporarySlotName,
} from "../../postgres/replication-slots.ts";
import { firstTimeline, parseHistory, type TimelineHistory } from "../../wal/history.ts";
import { formatLsn, type Lsn, parseLsn } from "../../wal/lsn.ts";
import { answersOf } from "./answers.ts";
import type { RefusedObject } from "./journal.ts";
import { behindGap, type Standing } from "./take-up.ts";
import type { WatchedPlace } from "./watched-place.ts";

/** After the server has said so often that what was asked for is gone, nothing of that timeline is hoped for. */
const MOST_TIMES_GONE = 2;

interface CallOptions {
  readonly signal: AbortSignal;
}

/** How far the server's log is: what it has written, or as a standby received; and its clock less ours, in milliseconds. */
export async function serverPosition(
  connection: Connection,
  clock: Clock,
): Promise<{ serverEnd: Lsn; clockAheadMs: number }> {
  const before = clock.now();
  const [row] = await connection.query<{ lsn: string | null; ms: string }>(
    `select (case when pg_catalog.pg_is_in_recovery()
       then coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
       else pg_catalog.pg_current_wal_flush_lsn() end)::text as lsn,
       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()) * 1000)::int8::text as ms`,
  );
  const clockAheadMs = Number(row?.ms ?? before) - (before + clock.now()) / 2;
  return { serverEnd: parseLsn(row?.lsn ?? "0/0"), clockAheadMs };
}

/**
 * The slot of this session: a permanent one only where the server bounds what it keeps for slots; elsewhere one that goes with
 * the session, whose log is kept by `wal_keep_size` between two of them.
 * @throws Failure `wal/slot-in-use` where another watch of the installation reads, on whatever machine.
 * @returns `wasLost`: the server had let go of what it kept for the permanent one, and it was made anew.
 */
export async function openSlot(
  session: ReplicationSession,
  connection: Connection,
  name: string,
): Promise<{ slot: Slot; wasLost: boolean }> {
  if (slotFor(await readReplicationFacts(connection)) === "temporary") {
    // One that was made while the server had a bound would keep its log for ever now.
    const old = await readSlot(connection, name);
    if (old?.isPhysical === true && old.activePid === undefined) await dropSlot(session, connection, name);
    const own = temporarySlotName(name);
    await refuseOtherReader(connection, name, undefined);
    await createSlot(session, own, { isTemporary: true });
    // Another one may have looked at the same time.
    await refuseOtherReader(connection, name, own);
    const slot = await readSlot(connection, own);
    if (slot !== undefined) return { slot, wasLost: false };
    throw new Failure("database/failed", `the temporary replication slot '${own}' was gone as soon as it was made`, {
      hint: "Is the address that of a pooler, which leads each session elsewhere? Name the server itself.",
    });
  }
  await refuseOtherReader(connection, name, name);
  try {
    return { slot: await adoptSlot(session, connection, name), wasLost: false };
  } catch (error) {
    if (!isFailure(error, "wal/gone")) throw error;
    await dropSlot(session, connection, name);
    return { slot: await adoptSlot(session, connection, name), wasLost: true };
  }
}

/** Where the server has got a bound for slots since, the next session has one that stays. @throws Failure `run/cancelled`, to end this one. */
export async function endIfBounded(slot: Slot | undefined, connection: Connection): Promise<void> {
  if (slot?.isTemporary !== true) return;
  if (slotFor(await readReplicationFacts(connection)) === "permanent")
    throw new Failure("run/cancelled", "the server bounds what it keeps for slots now");
}

/** Whether a server has less than something that was had of its cluster. */
export function isBehind(
  identity: Pick<SystemIdentity, "flushed" | "timeline">,
  { timeline, end }: { readonly timeline: number; readonly end: Lsn },
): boolean {
  return identity.timeline < timeline || (identity.timeline === timeline && identity.flushed < end);
}

/** @throws Failure `wal/other-cluster` where a server has less than was followed. */
export function refuseBehind(
  identity: Pick<SystemIdentity, "flushed" | "timeline">,
  followed: { readonly timeline: number; readonly end: Lsn },
  address: ServerAddress,
): void {
  if (!isBehind(identity, followed)) return;
  const at = `${formatLsn(identity.flushed)} of timeline ${identity.timeline}`;
  const was = `${formatLsn(followed.end)} of timeline ${followed.timeline}`;
  throw new Failure(
    "wal/other-cluster",
    `the server is behind what was followed: its log ends at ${at}, and there was ${was} (${describeAddress(address)})`,
    {
      hint: "Is it an old primary that came back, or a copy of the disk from before? Let the address lead to the server that Chatwoot uses; nothing of this one is mixed with what is kept.",
    },
  );
}

/** A place's standing, or why it does not tell. @throws what is no failure of a place. */
export async function tryStanding(
  place: WatchedPlace,
  line: Line,
  segmentBytes: number,
  { signal }: CallOptions,
): Promise<Standing | undefined | Failure> {
  try {
    return await place.standing(line, segmentBytes, { signal });
  } catch (error) {
    signal.throwIfAborted();
    const failure = failureOf(error);
    if (failure.code === "internal/bug") throw error;
    return failure;
  }
}

/** The history of a timeline, and the texts of its file and of those before it, as far as the server has them. */
export async function historyOf(
  session: ReplicationSession,
  timeline: number,
): Promise<{ history: TimelineHistory; histories: ReadonlyMap<number, string> }> {
  const histories = new Map<number, string>();
  if (timeline === 1) return { history: firstTimeline(), histories };
  const { text } = await session.timelineHistory(timeline);
  const history = parseHistory(timeline, text);
  if (history === undefined) {
    throw new Failure("database/failed", `the server's history of timeline ${timeline} cannot be read`, {
      hint: "Look at the .history files in its pg_wal.",
    });
  }
  histories.set(timeline, text);
  for (const { timeline: parent } of history.parents) {
    if (parent === 1) continue;
    try {
      histories.set(parent, (await session.timelineHistory(parent)).text);
    } catch (error) {
      // The newest one's file tells of all.
      if (!isFailure(error, "wal/gone")) throw error;
    }
  }
  return { history, histories };
}

export interface FoundLine {
  readonly line: Line;
  readonly history: TimelineHistory;
  readonly histories: ReadonlyMap<number, string>;
  readonly standings: readonly { readonly place: WatchedPlace; readonly standing: Standing | undefined | Failure }[];
  /** Where the timeline before was left, when the line is the one that follows something that a repository has. */
  readonly leftAt: Lsn | undefined;
  /** Where its own timeline was left, and the line that follows then; undefined for the one that the server is on. */
  readonly next: { readonly at: Lsn; readonly line: FoundLine } | undefined;
}

/** What places have of a line. One that is late counts as away. */
async function standingsOf(
  line: Line,
  { places, segmentBytes, clock, signal }: Pick<LineSearch, "places" | "segmentBytes" | "clock" | "signal">,
): Promise<ReadonlyMap<WatchedPlace, Standing | undefined | Failure>> {
  const answers = await answersOf(
    places,
    async (place, inner) => await tryStanding(place, line, segmentBytes, { signal: inner }),
    { isAnswer: (standing) => !isFailure(standing), clock, signal },
  );
  return new Map(places.map((place) => [place, answers.has(place) ? answers.get(place) : late(place)]));
}

function late({ name }: WatchedPlace): Failure {
  return new Failure("store/unreachable", `'${name}' has not answered for ${LIMITS.placeAnswerMs / 1000} seconds`, {
    hint: "It is asked again by itself. Can its place be reached?",
  });
}

export interface LineSearch {
  readonly session: ReplicationSession;
  readonly identity: SystemIdentity;
  readonly segmentBytes: number;
  readonly places: readonly WatchedPlace[];
  readonly installation: string;
  /** How often the server has said that what was asked for is gone. */
  readonly timesGone: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * The newest timeline of the server's past that a repository has something of, all of which belongs to that past; without one
 * the server's own.
 */
export async function findLine(search: LineSearch): Promise<FoundLine> {
  const { session, identity, installation, timesGone } = search;
  const { history, histories } = await historyOf(session, identity.timeline);
  const timelines = [identity.timeline, ...history.parents.map(({ timeline }) => timeline).toReversed()];
  let own: FoundLine | undefined;
  let following: FoundLine | undefined;
  const away = new Map<WatchedPlace, Failure>();
  for (const timeline of timelines) {
    const line = { installation, systemId: identity.systemId, timeline };
    const places = search.places.filter((place) => !away.has(place));
    const answers = await standingsOf(line, { ...search, places });
    for (const [place, standing] of answers) if (isFailure(standing)) away.set(place, standing);
    const standings = search.places.map((place) => {
      const standing = away.get(place) ?? answers.get(place);
      const isSettled = standing === undefined || isFailure(standing) || timesGone === 0;
      return { place, standing: isSettled ? standing : behindGap(standing) };
    });
    const known = standings.flatMap(({ standing }) =>
      standing === undefined || isFailure(standing) ? [] : [standing],
    );
    const parents = history.parents.filter((parent) => parent.timeline < timeline);
    const leftAt = history.parents.find((parent) => parent.timeline === timeline)?.switchLsn;
    const next = leftAt === undefined || following === undefined ? undefined : { at: leftAt, line: following };
    const found: FoundLine = { line, history: { timeline, parents }, histories, standings, leftAt: undefined, next };
    own ??= found;
    if (known.some(({ durableTo }) => leftAt === undefined || durableTo < leftAt)) return found;
    // All of it is there up to where it was left, or more: what came of it and not to the server that was promoted is kept, and
    // the next timeline begins where this one was left.
    if (known.length > 0 && following !== undefined && leftAt !== undefined) {
      return { ...following, leftAt };
    }
    following = found;
  }
  if (own === undefined) throw new Failure("database/failed", "the server has no timeline");
  return own;
}

/** What of the journals cannot be used. */
export function refusedIn(standings: FoundLine["standings"]): { name: string; objects: readonly RefusedObject[] }[] {
  return standings.flatMap(({ place: { name }, standing }) => {
    const objects = standing === undefined || isFailure(standing) ? [] : (standing.refused ?? []);
    return objects.length === 0 ? [] : [{ name, objects }];
  });
}

/** From where on the server is asked, by how often it had to say that it is gone already. */
export function oldestOf(
  { standings, leftAt }: Pick<FoundLine, "standings" | "leftAt">,
  { slot, identity, timesGone }: { slot: Slot; identity: SystemIdentity; timesGone: number },
): Lsn {
  const kept = slot.restart ?? identity.flushed;
  const known = standings.flatMap(({ standing }) => (standing === undefined || isFailure(standing) ? [] : [standing]));
  const ends = known.map(({ durableTo }) => durableTo).toSorted((a, b) => (a < b ? -1 : 1));
  const hoped = [[leftAt, ends[0]], [ends.at(-1)]][timesGone] ?? [];
  return hoped.filter((lsn) => lsn !== undefined).reduce((least, lsn) => (lsn < least ? lsn : least), kept);
}

/**
 * What a repository lacks of an older timeline, the server may not have any more: then the timeline that follows is taken up, and
 * there is a gap in those that are `lacking`.
 */
export function chooseLine(
  found: FoundLine,
  asking: { slot: Slot; identity: SystemIdentity; timesGone: number },
): { found: FoundLine; lacking: ReadonlySet<string> } {
  const isGone = asking.timesGone >= MOST_TIMES_GONE || oldestOf(found, asking) >= (found.next?.at ?? 0n);
  if (found.next === undefined || !isGone) return { found, lacking: new Set() };
  const known = found.standings.filter(({ standing }) => standing !== undefined && !isFailure(standing));
  return { found: found.next.line, lacking: new Set(known.map(({ place }) => place.name)) };
}
