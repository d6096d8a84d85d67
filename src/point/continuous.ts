/**
 * What continuous protection keeps beside restore points: physical bases, spans of the write-ahead log, and files that were
 * uploaded since. Each is a snapshot of its own whose tags say what a list must know, so that what can be brought back is
 * known without reading anything else. Positions are text as PostgreSQL writes them; instants are ISO 8601 in UTC with
 * microseconds, as the log has them (`2026-11-23T15:58:50.123456Z`).
 *
 *     /chatkeep-base     base.json, backup_manifest, data/…         the cluster's files as BASE_BACKUP gave them
 *     /chatkeep-wal      wal.json, wal/<segment>, wal/<n>.history   one span of one timeline, without a gap
 *     /chatkeep-follow   follow.json, storage/…                     files that came after the newest restore point
 *
 * What is younger than the newest span lies in the journal, objects beside restic's folders.
 */
import { formatLsn, isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { encodeName, installationTag, type RecordPlace, tagText } from "./layout.ts";

export const BASE: RecordPlace = {
  tag: "chatkeep-base",
  path: "/chatkeep-base",
  folder: "chatkeep-base",
  file: "base.json",
};
export const WAL: RecordPlace = {
  tag: "chatkeep-wal",
  path: "/chatkeep-wal",
  folder: "chatkeep-wal",
  file: "wal.json",
};
export const FOLLOW: RecordPlace = {
  tag: "chatkeep-follow",
  path: "/chatkeep-follow",
  folder: "chatkeep-follow",
  file: "follow.json",
};

/** What a snapshot with these tags is to continuous protection; undefined for every other. */
export function continuousPlace(tags: readonly string[] | undefined): RecordPlace | undefined {
  return [BASE, WAL, FOLLOW].find(({ tag }) => tags?.includes(tag));
}

/** The cluster and the line of its history that positions belong to: the same number means something else elsewhere. */
export interface Line {
  /** The installation's id. */
  readonly installation: string;
  /** The cluster's system identifier, in decimal. */
  readonly systemId: string;
  /** From 1 on; a promotion begins the next. */
  readonly timeline: number;
}

/** Where the server's clock was set back: the latest time of a commit before that, and the earliest one behind it. */
export interface SetBack {
  readonly mostUs: bigint;
  readonly leastUs: bigint;
}

/**
 * Where the server ran with `wal_level = minimal`, which writes too little to be replayed: from the first record that says so to the end of
 * the last one. No base from before serves anything behind it.
 */
export interface Minimal {
  readonly from: Lsn;
  readonly to: Lsn;
  /** Of the last commit before it, where that is known. */
  readonly lastUs?: bigint | undefined;
}

/** A span of the log that is there without a gap: the bytes from `from` on, up to and without `to`. */
export interface WalSpan extends Line {
  readonly from: Lsn;
  readonly to: Lsn;
  /** When the first and the last commit or abort in it were made, by the server's clock: microseconds since 1970; undefined where it has none. */
  readonly firstCommitUs: bigint | undefined;
  readonly lastCommitUs: bigint | undefined;
  /** Of the server's clock, within the span. */
  readonly setBack?: SetBack | undefined;
  /** Within the span. */
  readonly minimal?: Minimal | undefined;
  /** Where the timeline comes from, the oldest first; undefined for the first timeline, and where it is not known. */
  readonly parents?: readonly { readonly timeline: number; readonly switchLsn: Lsn }[] | undefined;
}

/** A physical base: the cluster can be brought to any position of its timeline (and of those that follow) from `to` on. */
export interface Base extends Line {
  /** Where replaying begins (the redo position of its checkpoint), and from where on the cluster is consistent. */
  readonly from: Lsn;
  readonly to: Lsn;
  /** The server's major version. */
  readonly major: number;
  /** The server's `wal_segment_size`. */
  readonly segmentBytes: number;
  /** When it was begun, by the server's clock: microseconds since 1970. */
  readonly beganUs: bigint;
  /** When `to` was reached, by the same clock: a moment that is no earlier can be had from it. Undefined where nobody asked. */
  readonly endedUs?: bigint | undefined;
  /** Bytes of its files, before compression and deduplication. */
  readonly bytes: number;
}

/** Microseconds since 1970 as ISO 8601 in UTC. */
export function formatMicros(us: bigint): string {
  const ms = us / 1000n;
  const rest = (us % 1000n).toString().padStart(3, "0");
  return `${new Date(Number(ms)).toISOString().slice(0, -1)}${rest}Z`; // oxlint-disable-line no-restricted-globals -- formats, reads no clock
}

const MICROS = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})(\d{3})Z$/;

/** Undefined for what {@link formatMicros} did not write. */
export function parseMicros(text: string | undefined): bigint | undefined {
  const match = MICROS.exec(text ?? "");
  if (match === null) return undefined;
  const ms = Date.parse(`${match[1] ?? ""}Z`); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1000n + BigInt(match[2] ?? "0");
}

function lineTags({ installation, systemId, timeline }: Line): string[] {
  return [installationTag(installation), `system=${systemId}`, `timeline=${timeline}`];
}

export function walTags(span: WalSpan): string[] {
  const { from, to, firstCommitUs, lastCommitUs, setBack, minimal } = span;
  const times = [
    ...(firstCommitUs === undefined ? [] : [`first=${formatMicros(firstCommitUs)}`]),
    ...(lastCommitUs === undefined ? [] : [`last=${formatMicros(lastCommitUs)}`]),
    ...(setBack === undefined
      ? []
      : [`most=${formatMicros(setBack.mostUs)}`, `least=${formatMicros(setBack.leastUs)}`]),
    ...(minimal === undefined ? [] : [`minimal=${formatLsn(minimal.from)}-${formatLsn(minimal.to)}`]),
    ...(minimal?.lastUs === undefined ? [] : [`minimal-last=${formatMicros(minimal.lastUs)}`]),
  ];
  const parents = (span.parents ?? []).map((one) => `parent=${one.timeline}@${formatLsn(one.switchLsn)}`);
  return [WAL.tag, ...lineTags(span), `from=${formatLsn(from)}`, `to=${formatLsn(to)}`, ...times, ...parents];
}

export function baseTags(base: Base): string[] {
  return [
    BASE.tag,
    ...lineTags(base),
    `from=${formatLsn(base.from)}`,
    `to=${formatLsn(base.to)}`,
    `major=${base.major}`,
    `segment=${base.segmentBytes}`,
    `began=${formatMicros(base.beganUs)}`,
    ...(base.endedUs === undefined ? [] : [`ended=${formatMicros(base.endedUs)}`]),
    `bytes=${base.bytes}`,
  ];
}

/** Followed files: all those that came from an instant on, as far as they were there at another one. */
export interface Follow {
  /** The installation's id. */
  readonly installation: string;
  /** Since when this row of snapshots collects: each has what the one before it had, which may go then. Milliseconds since 1970. */
  readonly beganMs: number;
  readonly files: number;
  readonly bytes: number;
}

export function followTags({ installation, beganMs, files, bytes }: Follow): string[] {
  return [FOLLOW.tag, installationTag(installation), `began=${beganMs}`, `files=${files}`, `bytes=${bytes}`];
}

/** The followed files that a snapshot's tags tell of; undefined where they tell of none, or make no sense. */
export function followOf(tags: Tags): Follow | undefined {
  if (tags?.includes(FOLLOW.tag) !== true) return undefined;
  const [beganMs, files, bytes] = ["began", "files", "bytes"].map((name) => wholeNumber(tagText(tags, name)));
  const installation = tagText(tags, "installation");
  if (installation === undefined || beganMs === undefined || files === undefined || bytes === undefined)
    return undefined;
  return { installation, beganMs, files, bytes };
}

type Tags = readonly string[] | undefined;

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function spanOf(tags: Tags): (Line & { from: Lsn; to: Lsn }) | undefined {
  const [installation, systemId, from, to] = ["installation", "system", "from", "to"].map((name) =>
    tagText(tags, name),
  );
  const timeline = wholeNumber(tagText(tags, "timeline"));
  if (installation === undefined || systemId === undefined || from === undefined || to === undefined) return undefined;
  if (timeline === undefined || !isLsn(from) || !isLsn(to)) return undefined;
  return { installation, systemId, timeline, from: parseLsn(from), to: parseLsn(to) };
}

/** The span that a snapshot's tags tell of; undefined where they tell of none, or make no sense. */
export function walOf(tags: Tags): WalSpan | undefined {
  if (tags?.includes(WAL.tag) !== true) return undefined;
  const span = spanOf(tags);
  if (span === undefined) return undefined;
  return {
    ...span,
    firstCommitUs: parseMicros(tagText(tags, "first")),
    lastCommitUs: parseMicros(tagText(tags, "last")),
    ...setBackOf(tags),
    ...minimalOf(tags),
    ...parentsOf(tags),
  };
}

function setBackOf(tags: Tags): Pick<WalSpan, "setBack"> {
  const [mostUs, leastUs] = [parseMicros(tagText(tags, "most")), parseMicros(tagText(tags, "least"))];
  return mostUs === undefined || leastUs === undefined ? {} : { setBack: { mostUs, leastUs } };
}

function minimalOf(tags: Tags): Pick<WalSpan, "minimal"> {
  const minimal = parseMinimal(tagText(tags, "minimal"), tagText(tags, "minimal-last"));
  return minimal === undefined ? {} : { minimal };
}

/** Undefined for what makes no sense. @param text Its two positions. */
export function parseMinimal(text: string | undefined, last: string | undefined): Minimal | undefined {
  const [from = "", to = ""] = (text ?? "").split("-");
  if (!isLsn(from) || !isLsn(to)) return undefined;
  const lastUs = parseMicros(last);
  return { from: parseLsn(from), to: parseLsn(to), ...(lastUs === undefined ? {} : { lastUs }) };
}

function parentsOf(tags: Tags): Pick<WalSpan, "parents"> {
  const parents = (tags ?? []).flatMap((tag) => {
    const [, timeline = "", at = ""] = /^parent=(\d{1,10})@(.+)$/.exec(tag) ?? [];
    return isLsn(at) ? [{ timeline: Number(timeline), switchLsn: parseLsn(at) }] : [];
  });
  return parents.length === 0 ? {} : { parents: parents.toSorted((a, b) => a.timeline - b.timeline) };
}

/** The base that a snapshot's tags tell of; undefined where they tell of none, or make no sense. */
export function baseOf(tags: Tags): Base | undefined {
  if (tags?.includes(BASE.tag) !== true) return undefined;
  const span = spanOf(tags);
  const [major, segmentBytes, bytes] = ["major", "segment", "bytes"].map((name) => wholeNumber(tagText(tags, name)));
  const beganUs = parseMicros(tagText(tags, "began"));
  if (span === undefined || major === undefined || segmentBytes === undefined) return undefined;
  if (bytes === undefined || beganUs === undefined) return undefined;
  const endedUs = parseMicros(tagText(tags, "ended"));
  return { ...span, major, segmentBytes, bytes, beganUs, ...(endedUs === undefined ? {} : { endedUs }) };
}

/** The folder of an installation's journal, among the files beside the repository's own (`chatkeep/`). */
export function journalFolder(installation: string): string {
  return `journal/${encodeName(installation)}`;
}

const JOURNAL_NAME = /^(\d{1,20})-([0-9a-f]{8})-([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{8})$/;

function hex(value: bigint, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/**
 * The name of the journal's object that has a span: `<system>-<timeline>-<from>-<to>-<mark>`, so that names sort as positions
 * do.
 * @param mark Eight hexadecimal digits that were drawn for it: two writers of one span never write over each other, so
 * nothing that was acknowledged is replaced by bytes that may differ.
 */
export function journalName(
  { systemId, timeline, from, to }: Pick<WalSpan, "systemId" | "timeline" | "from" | "to">,
  mark: string,
): string {
  return [systemId, hex(BigInt(timeline), 8), hex(from, 16), hex(to, 16), mark].join("-");
}

/** What the name of a journal's object says; undefined for a name that is none. */
export function parseJournalName(name: string): Pick<WalSpan, "systemId" | "timeline" | "from" | "to"> | undefined {
  const match = JOURNAL_NAME.exec(name);
  if (match === null) return undefined;
  const [systemId = "", timeline = "", from = "", to = ""] = match.slice(1);
  return { systemId, timeline: Number.parseInt(timeline, 16), from: BigInt(`0x${from}`), to: BigInt(`0x${to}`) };
}

/** What a snapshot of continuous protection holds; undefined where nobody knows. */
export function kindOfPiece(tags: Tags): "base" | "log" | "files" | undefined {
  if (baseOf(tags) !== undefined) return "base";
  if (walOf(tags) !== undefined) return "log";
  return continuousPlace(tags ?? undefined) === FOLLOW ? "files" : undefined;
}

/** What a snapshot of continuous protection is, in words, with the times that `list` shows. */
export function describePiece(tags: Tags): string {
  const base = baseOf(tags);
  if (base !== undefined) return `the base of ${formatMicros(base.endedUs ?? base.beganUs)}`;
  const span = walOf(tags);
  if (span === undefined)
    return continuousPlace(tags ?? undefined) === FOLLOW
      ? "followed files"
      : "a piece of which nobody knows what it is";
  const { firstCommitUs: first, lastCommitUs: last, from, to, timeline } = span;
  const stretch = `the log from ${formatLsn(from)} to ${formatLsn(to)} of timeline ${timeline}`;
  return first === undefined || last === undefined
    ? stretch
    : `${stretch} (${formatMicros(first)} to ${formatMicros(last)})`;
}
