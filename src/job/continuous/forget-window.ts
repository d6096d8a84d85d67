/**
 * Takes away what is older than the window: bases first, so that wherever it stops no base is left without its log, then spans of
 * the log, the oldest first, then followed files, then what of the journal nobody needs. Space comes back when the repository is
 * pruned.
 */
import { listSome } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { type SnapshotId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { parseGoTime } from "../../format/go-time.ts";
import {
  DEFAULT_WINDOW,
  isBeforeNeeded,
  type KeptSpan,
  parseWindow,
  planWindow,
  type WindowPlan,
} from "../../policy/keep-window.ts";
import type { ListedSnapshot, Repository } from "../../repo/repository.ts";
import { formatMicros } from "../../point/continuous.ts";
import { isImported, type Point } from "../points.ts";
import { tagValue } from "../records.ts";
import type { WindowLine } from "../window-summary.ts";
import { followsOf } from "./followed-files.ts";
import { coverOf, heldBySpans } from "./held-by-spans.ts";
import { type JournalObject, removeJournal } from "./journal.ts";
import {
  type Continuous,
  type ListedSpan,
  type ListedWindowBase,
  listContinuous,
  settleListed,
  windowIn,
} from "./list.ts";

interface SpanInPlan extends KeptSpan {
  readonly listed: ListedSpan;
}

export interface WindowForgetting {
  readonly installation: string;
  readonly plan: WindowPlan<ListedWindowBase, SpanInPlan>;
  /** In the order in which they go. */
  readonly snapshots: readonly SnapshotId[];
  readonly bases: number;
  readonly spans: number;
  readonly follows: number;
  readonly journal: readonly JournalObject[];
}

export interface WindowRules {
  readonly windowUs: bigint;
  readonly nowMs: number;
  /** When the restore points that stay were taken: what was followed before one of them is in it. */
  readonly pointsMs: readonly number[];
}

/**
 * Whose continuous protection a rule is for. How long another installation's is kept stands in its own configuration: where nobody says
 * it, all of it stays.
 * @param rules `scope`: an installation's id, or `all`. `windowOf`: for which one the length is known; null for none.
 */
export function windowRules(
  listed: readonly ListedSnapshot[],
  rules: { scope: string; windowUs: bigint | undefined; windowOf: string | null | undefined },
): { listed: readonly ListedSnapshot[]; only: string | undefined; windowUs: bigint; findings: Finding[] } {
  const { scope, windowUs = parseWindow(DEFAULT_WINDOW), windowOf } = rules;
  const inScope = listed.filter(({ snapshot }) => scope === "all" || tagValue(snapshot, "installation") === scope);
  const isKnown = (id: string | undefined) => windowOf === undefined || id === windowOf;
  const known = inScope.filter(({ snapshot }) => isKnown(tagValue(snapshot, "installation")));
  const left = new Set(inScope.filter((one) => !known.includes(one)).map(({ snapshot }) => snapshot.hostname ?? ""));
  const findings: Finding[] = [];
  if (left.size > 0) {
    findings.push({
      kind: "window-left",
      level: "note",
      message: `what continuous protection has of ${listSome([...left])} was left: how long it is kept stands in its own configuration`,
      hint: "Say it with --keep-window, as 7d or 36h, if it is to go.",
    });
  }
  return { listed: known, only: scope === "all" ? undefined : scope, windowUs, findings };
}

/**
 * Of each installation that has something.
 * @param listed what is continuous protection's, of every installation.
 * @throws Failure of the store.
 */
export async function planForgetWindows(
  repository: Repository,
  listed: readonly ListedSnapshot[],
  {
    only,
    kept,
    ...rules
  }: Omit<WindowRules, "pointsMs"> & {
    /** An installation's id. */
    only: string | undefined;
    /** The restore points that stay. */
    kept: readonly Pick<Point, "installationId" | "takenAtMs" | "snapshot">[];
    signal: AbortSignal;
  },
): Promise<WindowForgetting[]> {
  const found: WindowForgetting[] = [];
  for (const installation of new Set(listed.map(({ snapshot }) => tagValue(snapshot, "installation") ?? ""))) {
    if (only !== undefined && installation !== only) continue;
    // A dump that somebody made elsewhere has files of its own: what was followed is surely in backups alone.
    const backups = kept.filter((point) => point.installationId === installation && !isImported(point));
    const pointsMs = backups.map(({ takenAtMs }) => takenAtMs);
    found.push(await planForgetWindow(repository, { installation, snapshots: listed }, { ...rules, pointsMs }));
  }
  return found;
}

export function windowLine({ installation, plan, bases, spans, follows, journal }: WindowForgetting): WindowLine {
  return {
    installation,
    from: formatMicros(plan.fromUs < 0n ? 0n : plan.fromUs),
    kept: { bases: plan.keepBases.length, spans: plan.keepSpans.length },
    forgotten: { bases, spans, follows, journal: journal.length },
  };
}

/** @throws Failure of the store. */
export async function planForgetWindow(
  repository: Repository,
  { installation, snapshots }: { installation: string; snapshots: readonly ListedSnapshot[] },
  rules: WindowRules & { signal: AbortSignal },
): Promise<WindowForgetting> {
  const { signal } = rules;
  const found = await listContinuous(repository, installation, { signal, snapshots });
  const plan = planOf(found, rules);
  const follows = overFollows(found.follows, installation, { fromUs: plan.fromUs, pointsMs: rules.pointsMs });
  return {
    installation,
    plan,
    snapshots: [...[...plan.removeBases, ...plan.removeSpans].map(({ listed }) => listed.id), ...follows],
    bases: plan.removeBases.length,
    spans: plan.removeSpans.length,
    follows: follows.length,
    journal: await overObjects(repository, found, plan, { signal }),
  };
}

/** What of the window is kept, and what goes. */
export function planOf(
  found: Continuous,
  { windowUs, nowMs }: Omit<WindowRules, "pointsMs">,
): WindowForgetting["plan"] {
  const window = windowIn(found);
  const spans = found.spans.map((listed) => ({ ...listed.span, id: listed.id, writtenUs: usOf(listed), listed }));
  const bases = found.bases.map((listed) => ({ ...listed.base, id: listed.id, writtenUs: usOf(listed), listed }));
  return planWindow({ window, bases, spans }, { windowUs, nowUs: BigInt(nowMs) * 1000n });
}

/** Of the journal what lies before all that is needed, and what is there twice because spans that stay have it. */
async function overObjects(
  repository: Repository,
  { bases, histories, journal }: Continuous,
  { keepSpans, needed }: WindowForgetting["plan"],
  options: { signal: AbortSignal },
): Promise<JournalObject[]> {
  const isCovered = coverOf(keepSpans);
  const old = journal.objects.filter((object) => isBeforeNeeded(needed, object));
  const covered = journal.objects
    .filter((object) => !isBeforeNeeded(needed, object) && isCovered(object))
    .slice(0, LIMITS.comparedObjects);
  if (covered.length === 0) return old;
  const spans = keepSpans.map(({ listed }) => listed);
  const { wrong, undecided } = await settleListed(repository, { bases, spans, histories, covered }, options);
  const held = await heldBySpans(
    repository,
    covered,
    {
      spans,
      doubtful: [...wrong, ...undecided],
      segmentBytes: (systemId) => bases.find(({ base }) => base.systemId === systemId)?.base.segmentBytes,
    },
    options,
  );
  return [...old, ...held];
}

function usOf({ snapshot }: Pick<ListedSnapshot, "snapshot">): bigint {
  return parseGoTime(snapshot.time) / 1000n;
}

/**
 * Of a row of snapshots each has what the one before it had, so the last one says it all. A row goes when a point that was
 * taken before the window, and stays, is newer: what was uploaded until then is in it.
 */
function overFollows(
  listed: readonly ListedSnapshot[],
  installation: string,
  { fromUs, pointsMs }: { fromUs: bigint; pointsMs: readonly number[] },
): SnapshotId[] {
  const before = pointsMs.map((ms) => BigInt(ms) * 1000n).filter((us) => us <= fromUs);
  const point = before.reduce<bigint | undefined>(
    (newest, us) => (newest === undefined || us > newest ? us : newest),
    undefined,
  );
  const rows = new Set<number>();
  return followsOf(listed, installation)
    .filter(({ follow, listed: one }) => {
      const isLast = !rows.has(follow.beganMs);
      rows.add(follow.beganMs);
      return !isLast || (point !== undefined && usOf(one) < point);
    })
    .map(({ listed: one }) => one.id);
}

/** The journal's part, for which no lock is needed: how many went. What cannot be removed stays, and does no harm. */
export async function forgetJournal(
  repository: Repository,
  { journal }: Pick<WindowForgetting, "journal">,
  options: { signal: AbortSignal },
): Promise<number> {
  return journal.length === 0 ? 0 : (await removeJournal(repository, journal, options)).removed;
}
