/**
 * Whether accounts have lost more than they may. What an account has is compared with the most that it had since somebody
 * last acknowledged that it has less, not with what it had the day before: so a loss of a little each day is noticed as soon as
 * all of it together is too much, however slow it goes. A fall that was an alarm stays one until it is acknowledged, also when
 * the numbers come back: what came is not what went.
 */
import {
  type AccountCounts,
  COUNTED_KINDS,
  type CountedKind,
  type Peak,
  type PeakKind,
} from "../base/account-counts.ts";

/** A fall is too much when it is both more than so many, and more than so many of a hundred. */
export interface FallLimit {
  percent: number;
  count: number;
}

/** A kind without a limit never is an alarm. */
export type FallLimits = Partial<Record<CountedKind, FallLimit>>;

/** Where nothing else is said. */
export const FALL_LIMITS: Readonly<Record<CountedKind, FallLimit>> = {
  conversations: { percent: 10, count: 20 },
  messages: { percent: 10, count: 100 },
  contacts: { percent: 10, count: 50 },
  files: { percent: 10, count: 50 },
};

/** What an earlier restore point says. */
export interface EarlierCounts {
  accounts: readonly AccountCounts[];
  peaks: readonly Peak[];
  /** Its name and time (RFC 3339). */
  point: string;
  at: string;
}

/** That somebody said: it may have as few. */
export interface AcknowledgedFall {
  account: string | null;
  kind: PeakKind;
  /** What there was in the restore point that was acknowledged. */
  count: number;
  /** That point's name and time (RFC 3339). */
  point: string;
  at: string;
}

const KINDS: readonly PeakKind[] = ["account", ...COUNTED_KINDS];

/**
 * The peaks that a new restore point keeps; those with `lowest` are alarms.
 * @param before undefined for the first point, and where the last one does not say what accounts had.
 */
export function comparePeaks(
  before: EarlierCounts | undefined,
  now: readonly AccountCounts[],
  { limits, acknowledged }: { limits: FallLimits; acknowledged: readonly AcknowledgedFall[] },
): Peak[] {
  if (before === undefined) return [];
  const present = new Map(now.map((one) => [one.account, one]));
  const past = new Map(before.accounts.map((one) => [one.account, one]));
  const whole = present.get(null);
  const peaks: Peak[] = [];
  for (const account of new Set([...past.keys(), ...before.peaks.map((peak) => peak.account)])) {
    for (const kind of KINDS) {
      if (kind === "account" && account === null) continue;
      const known = before.peaks.find((peak) => peak.account === account && peak.kind === kind);
      const seen = past.get(account);
      const name = present.get(account)?.name ?? seen?.name ?? known?.name ?? null;
      const last = { account, name, kind, count: countOf(seen, kind), point: before.point, at: before.at };
      if (!isCounted(whole, account, kind)) {
        // What cannot be told now must not be forgotten: the next time it is compared with what was known.
        const kept = known ?? (kind !== "account" && last.count > 0 ? last : undefined);
        if (kept !== undefined) peaks.push({ ...kept, name });
        continue;
      }
      const said = acknowledged.filter((one) => one.account === account && one.kind === kind);
      const peak = toPeak(
        { known, last, said, count: countOf(present.get(account), kind) },
        limitOf(kind, seen, limits),
      );
      if (peak !== undefined) peaks.push({ ...peak, name });
    }
  }
  return peaks;
}

/** True for a fall that nobody has acknowledged. */
export function isShrinkage(peak: Peak): peak is Peak & { lowest: number } {
  return peak.lowest !== undefined;
}

function isCounted(whole: AccountCounts | undefined, account: string | null, kind: PeakKind): boolean {
  if (account !== null && whole?.uncounted?.includes(kind) === true) return false;
  return kind === "account" || whole?.counts[kind] !== undefined;
}

function countOf(one: AccountCounts | undefined, kind: PeakKind): number {
  if (kind === "account") return one?.name == null ? 0 : 1;
  return one?.counts[kind] ?? 0;
}

/** An account that goes is too much lost if it had anything at all. */
function limitOf(kind: PeakKind, seen: AccountCounts | undefined, limits: FallLimits): FallLimit | undefined {
  if (kind !== "account") return limits[kind];
  const hasAny = Object.values(seen?.counts ?? {}).some((count) => count > 0);
  return hasAny ? { percent: 0, count: 0 } : undefined;
}

interface Compared {
  known: Peak | undefined;
  /** What the last point had. */
  last: Peak;
  said: readonly AcknowledgedFall[];
  count: number;
}

function toPeak({ known, last, said, count }: Compared, limit: FallLimit | undefined): Peak | undefined {
  const acknowledged = newestOf(said);
  // What was before the word of a person counts no more.
  const open = known !== undefined && !isBefore(known, acknowledged) ? known : undefined;
  if (open?.lowest !== undefined) return { ...open, lowest: Math.min(open.lowest, count) };
  const floor =
    acknowledged === undefined
      ? []
      : [{ ...last, count: acknowledged.count, point: acknowledged.point, at: acknowledged.at }];
  const candidates = [...(open === undefined ? [] : [open]), ...(isBefore(last, acknowledged) ? [] : [last]), ...floor];
  const peak = candidates.reduce((most, one) => (one.count > most.count ? one : most), candidates[0] ?? last);
  const fall = peak.count - count;
  if (fall <= 0) return undefined;
  const isTooMuch = limit !== undefined && fall > limit.count && fall * 100 > limit.percent * peak.count;
  if (isTooMuch) return { ...peak, lowest: count };
  return last.kind === "account" ? undefined : peak;
}

/** True for a point that is older than the one that was acknowledged. */
function isBefore({ at }: Peak, acknowledged: AcknowledgedFall | undefined): boolean {
  return acknowledged !== undefined && timeOf(at) < timeOf(acknowledged.at);
}

function newestOf(said: readonly AcknowledgedFall[]): AcknowledgedFall | undefined {
  return said.toSorted((a, b) => timeOf(a.at) - timeOf(b.at)).at(-1);
}

function timeOf(text: string): number {
  return Date.parse(text); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
}
