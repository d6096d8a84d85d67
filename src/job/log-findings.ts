/** What a watch tells of the log that it follows, in words. Pure. */
import { formatBytes, formatSpan, plural } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { formatMicros, type Line } from "../point/continuous.ts";
import { formatPosition } from "../point/moment.ts";
import type { Slot } from "../postgres/replication-slots.ts";
import { formatLsn, type Lsn } from "../wal/lsn.ts";
import type { OpenHole } from "./continuous/fill-holes.ts";
import type { RefusedObject } from "./continuous/journal.ts";
import type { LeftBehind } from "./continuous/old-tails.ts";

/** What came while a repository took nothing, until it has it from another one. */
export interface Missed {
  readonly line: Line;
  /** Undefined where it had nothing of that line. */
  readonly from: Lsn | undefined;
  readonly to: Lsn;
}

/** What a repository lacks of the log, while no base serves what comes after it. */
export interface LogGap {
  readonly count: number;
  /** Of the newest one: where the log goes on. */
  readonly line: Line;
  readonly end: Lsn;
  /** The server has another log since. */
  readonly isParted: boolean;
}

/** With what was missed before; of another cluster's log the positions say nothing of this one. */
export function withMissed(before: Missed | undefined, missed: Missed): Missed {
  const isSame = before?.line.systemId === missed.line.systemId;
  return { ...missed, from: (isSame ? before.from : undefined) ?? missed.from };
}

export function partedFinding(
  { systemId, timeline }: Line,
  { partedAt, start }: { partedAt: Lsn; start: Lsn },
): Finding {
  const from = formatLsn(partedAt);
  return {
    kind: "log-parted",
    level: "alarm",
    event: `${systemId} ${timeline} ${from}`,
    message: `the server's log is another one than before from ${from} of timeline ${timeline} on: it has lost what it had written behind that, or its disk was brought back from before`,
    hint: `Look at the server: fsync must be on, and its disk must keep what it says it has. What it lost is in the repositories: go back to a moment before the gap to have it ('chatkeep list' shows it). The log is followed again from ${formatLsn(start)} on; moments from then on can be had when the base is there that is taken now by itself.`,
  };
}

/**
 * What was acknowledged and is on no line that goes on.
 * @param hasOthers Other repositories are configured, and may be read in place of the one that has it.
 */
export function oldTailFinding({ line, from, to, repositories, commits }: LeftBehind, hasOthers: boolean): Finding {
  const { systemId, timeline } = line;
  const isCounted = typeof commits === "object";
  const end = (isCounted ? commits.last?.lsn : undefined) ?? to;
  const [first, last] = [from, end].map((lsn) => formatPosition({ lsn, timeline }));
  const count = isCounted ? `${plural(commits.count, "commit")}, ` : "";
  const time = isCounted && commits.last !== undefined ? `, the last of ${formatMicros(commits.last.timeUs)}` : "";
  const where = `It is in ${repositories.map((name) => `'${name}'`).join(" and ")}`;
  const message = `the server that took over does not have what the one before wrote last: ${count}from ${first} to ${last}${time}`;
  const known = { kind: "failover-left-behind", event: `${systemId} ${first}` };
  if (commits === "counting") {
    const hint = "Nothing need be done yet: this goes where there was none, and becomes an alarm where there was one.";
    return {
      ...known,
      level: "note",
      message: `${message}. ${where}. Whether that was committed is being looked at`,
      hint,
    };
  }
  const of = hasOthers ? ` --repository ${repositories[0] ?? ""}` : "";
  const within = isCounted ? ` --since ${formatMicros(commits.sinceUs)} --until ${formatMicros(commits.untilUs)}` : "";
  const what = isCounted ? "It was acknowledged, and does" : "It may have been acknowledged, and does";
  return {
    ...known,
    level: "alarm",
    message: `${message}${isCounted ? "" : ", whose commits could not be counted"}. ${where}`,
    hint: `${what} not come back by itself. 'chatkeep moments${of}${within}' shows what was done there, by lsn:${timeline}:…; 'chatkeep diff${of} ${first} ${last}' the rows; 'chatkeep restore${of} ${last} --run' is that database, to be looked at.`,
  };
}

export function gapFinding(repository: string, { count, line, end, isParted }: LogGap): Finding {
  const why = isParted ? "the server's log is another one than before" : "the server did not have it any more";
  const at = `${formatLsn(end)} of timeline ${line.timeline}`;
  const more = count === 1 ? "" : `, the last of ${count} gaps since a base was taken`;
  return {
    kind: "log-gap",
    level: "alarm",
    subject: repository,
    event: `${line.systemId} ${at}`,
    message: `repository '${repository}' lacks a part of the log before ${at}${more}: ${why}`,
    hint: "Moments before the gap can be had, those in it never; 'chatkeep list' shows it. Those after it can be had when the base is there that is taken now by itself, and this goes then. Until then 'chatkeep backup' makes a restore point of now.",
  };
}

export function missedFinding(repository: string, { line: { timeline }, from, to }: Missed): Finding {
  const between = from === undefined ? `before ${formatLsn(to)}` : `from ${formatLsn(from)} to ${formatLsn(to)}`;
  return {
    kind: "repository-behind",
    level: "warning",
    subject: repository,
    message: `repository '${repository}' lacks the log ${between} of timeline ${timeline}, which came while it took nothing`,
    hint: "It takes what comes again, and what it lacks is brought from another repository by itself. Until then moments from there on can be had from the others alone; 'chatkeep list' shows it.",
  };
}

/** What a repository lacks, and cannot get from the one that has it. */
export function holeFindings(repository: string, holes: readonly OpenHole[]): Finding[] {
  return holes.map(({ from, spans: [first, ...others], failure }) => {
    const { span } = first;
    const more = others.length > 0 ? `, and ${plural(others.length, "more span")}` : "";
    return {
      kind: "hole-not-filled",
      level: "warning",
      // Of several repositories each may have something else of it.
      subject: `${repository} from ${from}`,
      message: `a gap in repository '${repository}' cannot be filled: the log from ${formatLsn(span.from)} to ${formatLsn(span.to)} of timeline ${span.timeline}${more} is damaged in '${from}': ${failure.message}`,
      hint: `Moments from the gap to the next base cannot be had from '${repository}', and those behind the damage not from '${from}' ('chatkeep list' shows it); all others can. 'chatkeep verify --read-data --repository ${from}' says what else is damaged, and 'chatkeep repair packs --repository ${from}' mends what another repository has. It is tried again every ${formatSpan(LIMITS.damagedSpanRetryMs / 1000)}.`,
    };
  });
}

export function journalFinding(repository: string, objects: readonly RefusedObject[]): Finding {
  const [first] = objects;
  const more = objects.length > 1 ? `, and ${plural(objects.length - 1, "more")}` : "";
  return {
    kind: "journal-damaged",
    level: "warning",
    subject: repository,
    event: first?.name ?? "",
    message: `a part of the journal in repository '${repository}' cannot be used: ${first?.reason ?? ""}${more}`,
    hint: "What it held was fetched again from another repository or from the server; where none of them had it any more, 'log-gap' is told, too. Something changed what was stored: look at the disk or the service that holds the repository, and run 'chatkeep verify --read-data'.",
  };
}

/** The next session goes on a second later, so the trouble of the session itself would tell nobody. */
export function givenUpFinding(
  { message, hint = "Look at what keeps the repositories." }: Failure,
  atMs: number,
): Finding {
  return { kind: "slot-given-up", level: "alarm", event: formatInstant(atMs), message, hint };
}

/** Of a slot whose log the server is about to let go of. */
export function slotFindings({ name, walStatus, safeBytes }: Slot): Finding[] {
  if (walStatus !== "unreserved" && walStatus !== "extended") return [];
  const safe = safeBytes === undefined ? "" : `, and ${formatBytes(Math.max(0, safeBytes))} more are safe`;
  return [
    {
      kind: "slot-near-limit",
      level: walStatus === "unreserved" ? "alarm" : "warning",
      message: `the server keeps more of its log than it needs itself for the slot '${name}' (${walStatus}${safe})`,
      hint: "'chatkeep status' says which repository is behind and why: mend that, or raise max_slot_wal_keep_size if the server's disk has room. Beyond it the log is gone before it was stored: moments in that gap cannot be had, and a new base begins what follows. What is stored is safe.",
    },
  ];
}
