/**
 * Moments: what a person writes for one, and what the tags of a restore point say that was made of one. Such a point's time is
 * the moment; it is found by its name or by its moment alone, and never stands in for a backup.
 */
import { parseZonedInstant } from "../base/clock.ts";
import { formatLsn, isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { formatMicros, parseMicros } from "./continuous.ts";
import { tagText } from "./layout.ts";

/** Of the newest timeline, and of the cluster that lives, that has it; unless they are named. */
export interface Position {
  readonly lsn: Lsn;
  readonly timeline?: number | undefined;
  /** The cluster's system identifier, in decimal. */
  readonly systemId?: string | undefined;
}

/** A moment that was asked for. Times are microseconds since 1970, by the clock of the database's server. */
export type AskedMoment =
  /** Everything that was committed until then. */
  | { readonly kind: "time"; readonly us: bigint }
  /** Everything that lies before a position of the log. */
  | ({ readonly kind: "lsn" } & Position)
  /** The newest that there is. */
  | { readonly kind: "now" };

const RELATIVE = /^-(\d{1,7})(s|m|h|d)$/;
const UNIT_US = { s: 1_000_000n, m: 60_000_000n, h: 3_600_000_000n, d: 86_400_000_000n } as const;
const MS_US = 1_000n;

/**
 * The moment that a word means: a time with its zone, to the microsecond; `-90s`, `-5m`, `-2h`, `-1d` before now; `now`; or
 * `lsn:0/16B3748`, with a timeline before it or a cluster and a timeline ({@link formatPosition}). Undefined for any other word.
 */
export function parseMoment(word: string, nowMs: number): AskedMoment | undefined {
  if (word === "now") return { kind: "now" };
  const [, amount, unit] = RELATIVE.exec(word) ?? [];
  if (amount !== undefined && unit !== undefined) {
    return {
      kind: "time",
      us: BigInt(Math.trunc(nowMs)) * MS_US - BigInt(amount) * UNIT_US[unit as keyof typeof UNIT_US],
    };
  }
  if (word.startsWith("lsn:")) return parsePosition(word);
  const ms = parseZonedInstant(word);
  return ms === undefined ? undefined : { kind: "time", us: BigInt(Math.trunc(ms)) * MS_US + microsOf(word) };
}

const POSITION = /^lsn:(?:(?:(\d{1,20})\.)?(\d{1,9}):)?([^:]+)$/;

function parsePosition(word: string): AskedMoment | undefined {
  const [, systemId, timeline, lsn] = POSITION.exec(word) ?? [];
  if (lsn === undefined || !isLsn(lsn)) return undefined;
  return {
    kind: "lsn",
    lsn: parseLsn(lsn),
    ...(timeline === undefined ? {} : { timeline: Number(timeline) }),
    ...(systemId === undefined ? {} : { systemId }),
  };
}

/** As {@link parseMoment} takes it: `lsn:0/16B3748`; of a timeline `lsn:1:0/16B3748`, and of a cluster `lsn:7570000000000000001.1:0/16B3748`. */
export function formatPosition({ lsn, timeline, systemId }: Position): string {
  const cluster = systemId === undefined ? "" : `${systemId}.`;
  return `lsn:${timeline === undefined ? "" : `${cluster}${timeline}:`}${formatLsn(lsn)}`;
}

/** As {@link parseMoment} takes it, with the time in UTC to the microsecond. */
export function formatMoment(asked: AskedMoment): string {
  if (asked.kind === "now") return "now";
  return asked.kind === "lsn" ? formatPosition(asked) : formatMicros(asked.us);
}

/** True for so long before now, which looks as an option does. */
export function isTimeAgo(word: string): boolean {
  return RELATIVE.test(word);
}

/** True for a word that can mean nothing but a moment, where a time may also mean the restore point before it. */
export function isMomentAlone(word: string): boolean {
  return word === "now" || RELATIVE.test(word) || word.startsWith("lsn:");
}

/** The digits of a second's fraction that milliseconds have no room for. */
function microsOf(word: string): bigint {
  const [, digits = ""] = /\.(\d+)/.exec(word) ?? [];
  return BigInt(digits.slice(3, 6).padEnd(3, "0") || "0");
}

/** What a restore point of a moment is of. */
export interface MomentFacts {
  /** The moment: what was asked for, or where a position was, the time of the last commit before it. */
  readonly us: bigint;
  /** The position that was asked for. */
  readonly upTo: Lsn | undefined;
  /** The cluster's system identifier, in decimal. */
  readonly systemId: string;
  /** Of the log that was replayed. */
  readonly timeline: number;
  /** The end of the last record that was replayed. */
  readonly replayedTo: Lsn;
  /** When the point was made, in milliseconds since 1970. */
  readonly madeMs: number;
}

export function momentTags({ us, upTo, systemId, timeline, replayedTo, madeMs }: MomentFacts): string[] {
  return [
    `moment=${formatMicros(us)}`,
    ...(upTo === undefined ? [] : [`up-to=${formatLsn(upTo)}`]),
    `system=${systemId}`,
    `timeline=${timeline}`,
    `lsn=${formatLsn(replayedTo)}`,
    `made=${formatMicros(BigInt(madeMs) * MS_US)}`,
  ];
}

/** What a snapshot's tags say of the moment that it is of; undefined for a point that a backup or an import made. */
export function momentOf(tags: readonly string[] | undefined): MomentFacts | undefined {
  const value = (name: string) => tagText(tags, name);
  const [us, made] = [parseMicros(value("moment")), parseMicros(value("made"))];
  const [systemId, timeline, lsn, upTo] = [value("system"), value("timeline"), value("lsn"), value("up-to")];
  if (us === undefined || made === undefined || systemId === undefined) return undefined;
  if (timeline === undefined || !/^\d{1,10}$/.test(timeline) || lsn === undefined || !isLsn(lsn)) return undefined;
  return {
    us,
    upTo: upTo !== undefined && isLsn(upTo) ? parseLsn(upTo) : undefined,
    systemId,
    timeline: Number(timeline),
    replayedTo: parseLsn(lsn),
    madeMs: Number(made / MS_US),
  };
}

/**
 * True when a point is of the very moment that is asked for, in the same history. What was brought to a position has everything before
 * that, whatever it was asked for by.
 */
export function isSameMoment(
  facts: MomentFacts,
  asked: Exclude<AskedMoment, { kind: "now" }>,
  { systemId, timeline }: Pick<MomentFacts, "systemId" | "timeline">,
): boolean {
  if (facts.systemId !== systemId || facts.timeline !== timeline) return false;
  if (asked.kind === "lsn") return facts.upTo === asked.lsn || facts.replayedTo === asked.lsn;
  return facts.upTo === undefined && facts.us === asked.us;
}
