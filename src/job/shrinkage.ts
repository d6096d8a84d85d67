/** What a backup says of accounts that have lost more than they may. */
import {
  type AccountCounts,
  COUNTED_KINDS,
  type CountedKind,
  type Peak,
  type PeakKind,
} from "../base/account-counts.ts";
import { formatCount, listSome, plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { shrunkTag } from "../point/layout.ts";
import { type AcknowledgedFall, comparePeaks, type FallLimits, isShrinkage } from "../policy/shrinkage.ts";
import { type KnownAcks, readAckedFalls, SHRUNK } from "./acks.ts";
import type { Parent } from "./parent.ts";
import type { Point } from "./points.ts";

export interface Shrinkage {
  accounts: AccountCounts[];
  peaks: Peak[];
  findings: Finding[];
  /** What is to be written on the point's snapshot. */
  tags: string[];
}

export interface ShrinkageOptions {
  parent: Parent | undefined;
  /** What is acknowledged of this installation, by repository. */
  known: readonly KnownAcks[];
  /** Points in which accounts had shrunk, which nobody has acknowledged. */
  awaiting: readonly Point[];
  /** Names of the points that the repository has. */
  points: ReadonlySet<string>;
  limits: FallLimits;
}

/**
 * Compares what accounts have now with what they had.
 * @param counted of the database.
 * @param files all uploaded files that it lists.
 */
export async function judgeShrinkage(
  counted: readonly AccountCounts[],
  files: number,
  options: ShrinkageOptions,
): Promise<Shrinkage> {
  const { parent, awaiting, points, limits } = options;
  const accounts = counted.map((one) =>
    one.account === null ? { ...one, counts: { ...one.counts, files } } : { ...one },
  );
  const before = parent && earlierOf(parent);
  if (accounts[0]?.uncounted?.includes("account") === true) carryNames(before?.accounts ?? [], accounts);
  const acknowledged = before === undefined ? [] : await acknowledgedOf(before, options);
  const peaks = comparePeaks(before, accounts, { limits, acknowledged });
  const shrunk = tellShrunk(peaks, { accounts, points });
  const findings = shrunk.length > 0 ? shrunk : awaiting.slice(0, 1).map((point) => awaitingFinding(point));
  const count = new Set(peaks.filter(isShrinkage).map(({ account }) => account)).size;
  return { accounts, peaks, findings, tags: count === 0 ? [] : [shrunkTag(count)] };
}

/** Which accounts there are could not be read: they are those that there were. */
function carryNames(before: readonly AccountCounts[], accounts: AccountCounts[]): void {
  for (const { account, name } of before) {
    if (account === null || name === null) continue;
    const now = accounts.find((one) => one.account === account);
    if (now === undefined) accounts.push({ account, name, counts: {} });
    else now.name = name;
  }
}

function earlierOf({ point, manifest }: Parent) {
  const { accounts, peaks = [], startedAt } = manifest;
  return accounts === undefined ? undefined : { accounts, peaks, point: point.id, at: startedAt };
}

/** Nearly always there is nothing to be read. */
async function acknowledgedOf(
  { peaks, at }: { peaks: readonly Peak[]; at: string },
  { known }: ShrinkageOptions,
): Promise<AcknowledgedFall[]> {
  const falls: AcknowledgedFall[] = [];
  for (const place of known) {
    const matters = place.acks.filter(({ takenAtMs }) =>
      [at, ...peaks.map((peak) => peak.at)].some((time) => timeOf(time) <= takenAtMs),
    );
    falls.push(...(await readAckedFalls(place, matters)));
  }
  return falls;
}

function timeOf(text: string): number {
  return Date.parse(text); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
}

/** For whoever would remove a point, or looks at the repository. */
export function awaitingFinding({ id, snapshot }: Pick<Point, "id" | "snapshot">, repository?: string): Finding {
  const where = repository === undefined ? "" : `in repository '${repository}' `;
  return {
    kind: SHRUNK,
    level: "alarm",
    message: `${where}restore point ${shortId(id)} of ${snapshot.time} says that accounts have shrunk, and nobody has acknowledged it`,
    hint: `'chatkeep show ${shortId(id)}' names them. ${WAY_ON}`,
  };
}

const WAY_ON =
  "If that is as it should be, 'chatkeep ack shrunk' says so. Until then 'chatkeep forget' removes no restore point of this installation.";

const WORDS: Readonly<Record<CountedKind, [one: string, many: string]>> = {
  conversations: ["conversation", "conversations"],
  messages: ["message", "messages"],
  contacts: ["contact", "contacts"],
  files: ["uploaded file", "uploaded files"],
};

interface Known {
  accounts: readonly AccountCounts[];
  points: ReadonlySet<string>;
}

function tellShrunk(peaks: readonly Peak[], known: Known): Finding[] {
  const alarms = peaks.filter(isShrinkage);
  const ofAccounts = Map.groupBy(
    alarms.filter(({ account }) => account !== null),
    ({ account }) => account,
  );
  const findings = [...ofAccounts.values()].slice(0, LIMITS.shrunkAccounts).map((mine) => tellOne(mine, peaks, known));
  const more = [...ofAccounts.values()].slice(LIMITS.shrunkAccounts).map(([first]) => nameOf(first));
  if (more.length > 0) findings.push(toFinding(`${plural(more.length, "more account")} shrank: ${listSome(more)}`));
  // What is told of an account need not be told of all of them together.
  const told = new Set(alarms.filter(({ account }) => account !== null).map(({ kind }) => kind));
  const whole = alarms.filter(({ account, kind }) => account === null && !told.has(kind));
  return whole.length === 0 ? findings : [...findings, tellOne(whole, peaks, known)];
}

function toFinding(message: string, point?: string): Finding {
  const where = point === undefined ? "" : `Restore point ${shortId(point)} still has what is lacking. `;
  return { kind: SHRUNK, level: "alarm", message, hint: where + WAY_ON };
}

function nameOf(peak: Pick<Peak, "account" | "name"> | undefined): string {
  if (peak?.account == null) return "all accounts together";
  return peak.name === null ? `account ${peak.account}` : `account ${peak.account} (${peak.name})`;
}

/** @param mine the alarms of one account, or of the whole. */
function tellOne(
  mine: readonly (Peak & { lowest: number })[],
  peaks: readonly Peak[],
  { accounts: now, points }: Known,
): Finding {
  const [first] = mine;
  const account = first?.account ?? null;
  const counts = now.find((one) => one.account === account)?.counts ?? {};
  const gone = mine.find(({ kind }) => kind === "account");
  const falls = (gone === undefined ? mine : peaks.filter((peak) => peak.account === account)).filter(isCounted);
  const parts = [...Map.groupBy(falls, ({ point }) => point)].map(([point, fell]) => {
    const ordered = fell.toSorted((a, b) => COUNTED_KINDS.indexOf(a.kind) - COUNTED_KINDS.indexOf(b.kind));
    const texts = ordered.map((peak) => fallText(peak, counts[peak.kind] ?? 0));
    return `${texts.join(", ")} since restore point ${shortId(point)} of ${fell[0]?.at ?? ""}`;
  });
  const what = gone === undefined ? "shrank" : isBack(gone, now) ? "was gone, and is back" : "is gone";
  const oldest = falls.toSorted((a, b) => timeOf(a.at) - timeOf(b.at))[0]?.point ?? gone?.point ?? "";
  const message = `${nameOf(first)} ${what}${parts.length === 0 ? "" : `: ${parts.join("; ")}`}`;
  return toFinding(message, points.has(oldest) ? oldest : undefined);
}

function isCounted(peak: Peak): peak is Peak & { kind: CountedKind } {
  const kind: PeakKind = peak.kind;
  return kind !== "account";
}

function isBack({ account }: Peak, now: readonly AccountCounts[]): boolean {
  return now.some((one) => one.account === account && one.name !== null);
}

/** `from 600 messages to 400`. What came since is said too: it is not what went. */
function fallText({ kind, count, ...peak }: Peak & { kind: CountedKind }, now: number): string {
  const lowest = peak.lowest ?? now;
  const since = now > lowest ? `, now ${formatCount(now)}` : "";
  return `from ${plural(count, ...WORDS[kind])} to ${formatCount(lowest)}${since}`;
}
