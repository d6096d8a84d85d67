/**
 * Which restore points are kept, and why: grandfather, father and son, as restic means it. Pure: points and a policy in,
 * points with their reasons out. It is for the points of one installation; whoever calls it parts them.
 *
 * Of each hour, day, ISO week, month and year that has points the newest counts, from now backwards, until so many are
 * found; while a rule has counts left, the oldest point is kept too, so that the history grows to its full length.
 * Points that a watch made every few minutes are thinned out besides: all of a day stay, and of a week one an hour.
 * `within` counts from the newest point, so that a machine that stood still forgets nothing. Whatever a policy says, the
 * newest point, the newest proven one (and the newest of those that are whole; where none is, the newest whole one), held ones and those that lie in the future
 * stay; the last take no place in any rule.
 */
import { Failure } from "../base/errors.ts";
import { isoWeek, parseSpan, Zone, type WallTime } from "./calendar.ts";

export interface RetentionPoint {
  readonly id: string;
  readonly timeMs: number;
  readonly tags: readonly string[];
  readonly isProven: boolean;
  /** Something of it is lacking: the newest proven one that is whole, or else the newest that is whole, stays beside it. */
  readonly isNotWhole?: boolean;
  /** Holds in force, as a person reads them: `audit until 2027-01-01`. */
  readonly holds?: readonly string[];
  /** One of many, made every few minutes: it stays for a while beside what the policy says. */
  readonly isInterval?: boolean;
}

/** Of points that were made every few minutes: all of the last day, and of a week one an hour. They count from the newest of them. */
const INTERVALS = [
  { name: "made every few minutes, within", span: "1d", isHourly: false },
  { name: "made every few minutes, hourly within", span: "7d", isHourly: true },
] as const;

export const PERIODS = ["hourly", "daily", "weekly", "monthly", "yearly"] as const;
export type Period = (typeof PERIODS)[number];

export interface RetentionPolicy {
  /** How many; 0 is as if it were not there. */
  readonly last?: number | undefined;
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
  /** Everything not older than this before the newest: `1y6m7d12h`. */
  readonly within?: string | undefined;
  /** One of each period, not older than this before the newest. */
  readonly withinHourly?: string | undefined;
  readonly withinDaily?: string | undefined;
  readonly withinWeekly?: string | undefined;
  readonly withinMonthly?: string | undefined;
  readonly withinYearly?: string | undefined;
  /** Points that carry any of these. */
  readonly tags?: readonly string[] | undefined;
}

export interface KeptPoint<P extends RetentionPoint = RetentionPoint> {
  readonly point: P;
  /** At least one: `daily 3 of 14`, `the newest proven`. */
  readonly reasons: readonly string[];
}

export interface RetentionPlan<P extends RetentionPoint = RetentionPoint> {
  /** Newest first. */
  readonly keep: KeptPoint<P>[];
  /** Oldest first: the order in which they go. */
  readonly remove: P[];
}

export interface RetentionOptions {
  /** IANA name. */
  readonly timeZone: string;
  readonly nowMs: number;
}

/** True when the policy has no rule that could keep anything. */
export function isEmptyPolicy(policy: RetentionPolicy): boolean {
  const { tags = [], ...rest } = policy;
  return tags.length === 0 && Object.values(rest).every((value) => value === undefined || value === 0);
}

/**
 * @throws Failure `usage/invalid` for a policy that is empty or keeps none of the points, a number that is none, a span or
 * a zone that cannot be read.
 */
export function planRetention<P extends RetentionPoint>(
  points: readonly P[],
  policy: RetentionPolicy,
  options: RetentionOptions,
): RetentionPlan<P> {
  if (isEmptyPolicy(policy)) {
    throw new Failure("usage/invalid", "the retention policy is empty: it would keep nothing", {
      hint: "Say what to keep in 'retention' of the configuration, or with --keep-daily 14 and the like.",
    });
  }
  // Of two at the same instant the one that was named first counts as the newer.
  const newestFirst = points.toSorted((a, b) => b.timeMs - a.timeMs);
  const present = newestFirst.filter(({ timeMs }) => timeMs <= options.nowMs);
  const rules = makeRules(policy, new Zone(options.timeZone), present);
  const byPolicy = new Map(
    present.map((point, at) => {
      const facts = { at, isOldest: at === present.length - 1 };
      return [point, rules.map((rule) => rule(point, facts)).filter((reason) => reason !== undefined)] as const;
    }),
  );
  if (present.length > 0 && [...byPolicy.values()].every((reasons) => reasons.length === 0)) {
    throw new Failure("usage/invalid", `the retention policy keeps none of the ${present.length} restore points`, {
      hint: "No point has such a tag. Add a rule that keeps some, as in --keep-daily 14.",
    });
  }
  const newestProven = present.find(({ isProven }) => isProven);
  const whole = present.filter(({ isNotWhole }) => isNotWhole !== true);
  const newestWhole = whole.find(({ isProven }) => isProven) ?? whole[0];
  const keep: KeptPoint<P>[] = [];
  const remove: P[] = [];
  for (const point of newestFirst) {
    const reasons = [...(byPolicy.get(point) ?? ["in the future"])];
    if (point === present[0] && reasons.length === 0) reasons.push("the newest");
    if (point === newestProven) reasons.push("the newest proven");
    else if (point === newestWhole && point.isProven) reasons.push("the newest proven that is whole");
    else if (point === newestWhole && point !== present[0]) reasons.push("the newest that is whole");
    for (const hold of point.holds ?? []) reasons.push(`held: ${hold}`);
    if (reasons.length > 0) keep.push({ point, reasons });
    else remove.unshift(point);
  }
  return { keep, remove };
}

/**
 * Points that were made of a moment and are kept no longer: they can be made again, as long as the window reaches back to them.
 * Rules do not count them, and one that is held stays; so does the one that was proven last, for its proof goes with it.
 */
export function pastMoments<
  P extends { readonly madeMs: number; readonly holds: readonly unknown[]; readonly provenMs?: number | undefined },
>(moments: readonly P[], { nowMs, keepMs }: { nowMs: number; keepMs: number }): P[] {
  const [newest] = moments
    .filter(({ provenMs }) => provenMs !== undefined)
    .toSorted((a, b) => (b.provenMs ?? 0) - (a.provenMs ?? 0) || b.madeMs - a.madeMs);
  return moments.filter((one) => one.holds.length === 0 && one.madeMs < nowMs - keepMs && one !== newest);
}

interface Facts {
  /** Place in the list, the newest at 0. */
  at: number;
  isOldest: boolean;
}

/** Called with each point, from the newest to the oldest; a text when it keeps it. */
type Rule = (point: RetentionPoint, facts: Facts) => string | undefined;

function makeRules(policy: RetentionPolicy, zone: Zone, present: readonly RetentionPoint[]): Rule[] {
  const wallTimes = new Map(present.map((point) => [point, zone.wallTime(point.timeMs)]));
  const buckets = (period: Period) => (point: RetentionPoint) => {
    const wall = wallTimes.get(point) ?? zone.wallTime(point.timeMs);
    return bucketOf(period, wall, () => zone.offsetMs(point.timeMs));
  };
  const latestMs = present[0]?.timeMs ?? 0;
  const since = (span: string | undefined) =>
    span === undefined ? undefined : { span, timeMs: zone.before(latestMs, parseSpan(span)) };
  const { withinHourly, withinDaily, withinWeekly, withinMonthly, withinYearly } = policy;
  const spans: Record<Period, string | undefined> = {
    hourly: withinHourly,
    daily: withinDaily,
    weekly: withinWeekly,
    monthly: withinMonthly,
    yearly: withinYearly,
  };
  return [
    lastRule(policy.last),
    ...PERIODS.map((period) => countRule(period, policy[period], buckets(period))),
    withinRule("within", since(policy.within), (point) => point.id),
    ...PERIODS.map((period) => withinRule(`${period} within`, since(spans[period]), buckets(period))),
    tagRule(policy.tags ?? []),
    ...intervalRules(zone, present, buckets("hourly")),
  ].filter((rule) => rule !== undefined);
}

function intervalRules(
  zone: Zone,
  present: readonly RetentionPoint[],
  hourOf: (point: RetentionPoint) => string,
): Rule[] {
  const newest = present.find(({ isInterval }) => isInterval === true);
  if (newest === undefined) return [];
  return INTERVALS.flatMap(({ name, span, isHourly }) => {
    const since = { span, timeMs: zone.before(newest.timeMs, parseSpan(span)) };
    const rule = withinRule(name, since, isHourly ? hourOf : (point) => point.id);
    if (rule === undefined) return [];
    // The oldest of all is kept by rules that let a history grow to its length.
    return [
      (point: RetentionPoint) => (point.isInterval === true ? rule(point, { at: 0, isOldest: false }) : undefined),
    ];
  });
}

/** A text that is the same for all points of one period. Where an hour is lived through twice, it is two hours. */
function bucketOf(period: Period, wall: WallTime, offsetMs: () => number): string {
  const { year, month, day, hour } = wall;
  if (period === "yearly") return String(year);
  if (period === "monthly") return `${year}-${month}`;
  if (period === "daily") return `${year}-${month}-${day}`;
  if (period === "hourly") return `${year}-${month}-${day} ${hour} ${offsetMs()}`;
  const week = isoWeek(wall);
  return `${week.year}-W${week.week}`;
}

function countRule(name: string, count: number | undefined, bucket: (point: RetentionPoint) => string) {
  if (count === undefined || count === 0) return undefined;
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new Failure("usage/invalid", `'${name}' of the retention policy cannot be ${count}`, {
      hint: "Give a whole number; 0 switches the rule off.",
    });
  }
  let found = 0;
  let before: string | undefined;
  return (point: RetentionPoint, { isOldest }: Facts): string | undefined => {
    if (found === count) return undefined;
    const own = bucket(point);
    const isNew = own !== before;
    if (!isNew && !isOldest) return undefined;
    before = own;
    found += 1;
    return isNew ? `${name} ${found} of ${count}` : `the oldest, ${name} ${found} of ${count}`;
  };
}

/** Points that were made every few minutes take no other's place: a few hours of them would else be all that is left. */
function lastRule(count: number | undefined): Rule | undefined {
  const rule = countRule("last", count, (point) => point.id);
  if (rule === undefined || count === undefined) return undefined;
  return (point, facts) => {
    if (point.isInterval !== true) return rule(point, facts);
    return facts.at < count ? `last ${facts.at + 1} of ${count}` : undefined;
  };
}

function withinRule(
  name: string,
  since: { span: string; timeMs: number } | undefined,
  bucket: (point: RetentionPoint) => string,
) {
  if (since === undefined) return undefined;
  let before: string | undefined;
  return (point: RetentionPoint, { isOldest }: Facts): string | undefined => {
    if (point.timeMs <= since.timeMs) return undefined;
    const own = bucket(point);
    if (own === before && !isOldest) return undefined;
    before = own;
    return `${name} ${since.span}`;
  };
}

function tagRule(tags: readonly string[]) {
  if (tags.length === 0) return undefined;
  return (point: RetentionPoint): string | undefined => {
    const found = tags.find((tag) => point.tags.includes(tag));
    return found === undefined ? undefined : `tag ${found}`;
  };
}
