/**
 * What is told of a span of the write-ahead log beside its bytes: in `wal.json`, and in the head of a journal's object. It
 * says which moments lie in it, so that one is found without reading the log.
 */
import { Failure } from "../base/errors.ts";
import { formatLsn, isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { formatMicros, parseMicros, type WalSpan } from "./continuous.ts";

/** A commit or an abort. */
export interface Commit {
  /** The end of its record: whoever has the log up to here has it. */
  readonly lsn: Lsn;
  /** Microseconds since 1970, by the server's clock. */
  readonly timeUs: bigint;
}

export interface CommitSummary {
  readonly count: number;
  readonly first: Commit | undefined;
  readonly last: Commit | undefined;
  /** The last one of each minute by the server's clock, in the log's order. */
  readonly minutes: readonly Commit[];
}

const MINUTE_US = 60_000_000n;

/** @param commits in the log's order; times may go back by a little, as commits do not come in the order of their times. */
export function summarizeCommits(commits: readonly Commit[]): CommitSummary {
  const minutes: Commit[] = [];
  for (const { lsn, timeUs } of commits) {
    const before = minutes.at(-1);
    if (before !== undefined && before.timeUs / MINUTE_US === timeUs / MINUTE_US) minutes.pop();
    minutes.push({ lsn, timeUs });
  }
  const [first, last] = [commits[0], commits.at(-1)];
  return { count: commits.length, first, last, minutes };
}

/** Of stretches of the log that follow each other, in order: as if all their commits had been summarized together. */
export function joinCommits(summaries: readonly CommitSummary[]): CommitSummary {
  const { minutes } = summarizeCommits(summaries.flatMap((one) => one.minutes));
  return {
    count: summaries.reduce((sum, { count }) => sum + count, 0),
    first: summaries.find(({ first }) => first !== undefined)?.first,
    last: summaries.findLast(({ last }) => last !== undefined)?.last,
    minutes,
  };
}

type CommitJson = readonly [lsn: string, at: string];

function commitJson({ lsn, timeUs }: Commit): CommitJson {
  return [formatLsn(lsn), formatMicros(timeUs)];
}

export interface CommitsJson {
  readonly count: number;
  readonly first: CommitJson | null;
  readonly last: CommitJson | null;
  readonly minutes: readonly CommitJson[];
}

export function commitsJson({ count, first, last, minutes }: CommitSummary): CommitsJson {
  return {
    count,
    first: first === undefined ? null : commitJson(first),
    last: last === undefined ? null : commitJson(last),
    minutes: minutes.map(commitJson),
  };
}

function parseCommit(json: unknown): Commit {
  const [lsn, at] = Array.isArray(json) ? (json as unknown[]) : [];
  const timeUs = typeof at === "string" ? parseMicros(at) : undefined;
  if (typeof lsn !== "string" || !isLsn(lsn) || timeUs === undefined) throw odd("a commit");
  return { lsn: parseLsn(lsn), timeUs };
}

/** @throws Failure `point/invalid`. */
export function parseCommits(json: unknown): CommitSummary {
  const { count, first, last, minutes } = asRecord(json, "the list of commits");
  if (typeof count !== "number" || !Array.isArray(minutes)) throw odd("the list of commits");
  const orNone = (value: unknown) => (value === null ? undefined : parseCommit(value));
  return { count, first: orNone(first), last: orNone(last), minutes: minutes.map(parseCommit) };
}

/** A file of `wal/`. */
export interface WalFile {
  /** Of a whole segment, of a segment's beginning (`.partial`), or of a timeline's history. */
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** `wal.json`. */
export interface WalFacts {
  readonly program: string;
  readonly span: WalSpan;
  /** The server's `wal_segment_size`. */
  readonly segmentBytes: number;
  readonly segments: readonly WalFile[];
  readonly histories: readonly WalFile[];
  readonly commits: CommitSummary;
}

export function formatWalFacts({ program, span, segmentBytes, segments, histories, commits }: WalFacts): string {
  const { installation, systemId: system, timeline } = span;
  const json = {
    schema: 1,
    program,
    installation,
    system,
    timeline,
    from: formatLsn(span.from),
    to: formatLsn(span.to),
    segmentBytes,
    segments,
    histories,
    commits: commitsJson(commits),
  };
  return `${JSON.stringify(json, null, 1)}\n`;
}

/** @throws Failure `point/invalid` for what {@link formatWalFacts} did not write. */
export function parseWalFacts(text: string): WalFacts {
  const json = parseRecord(text, "wal.json");
  const { program, installation, system, timeline, from, to, segmentBytes } = json;
  const commits = parseCommits(json["commits"]);
  if (typeof program !== "string" || typeof installation !== "string" || typeof system !== "string")
    throw odd("wal.json");
  if (typeof timeline !== "number" || typeof segmentBytes !== "number") throw odd("wal.json");
  if (typeof from !== "string" || typeof to !== "string" || !isLsn(from) || !isLsn(to)) throw odd("wal.json");
  const line = { installation, systemId: system, timeline };
  const times = { firstCommitUs: commits.first?.timeUs, lastCommitUs: commits.last?.timeUs };
  return {
    program,
    span: { ...line, from: parseLsn(from), to: parseLsn(to), ...times },
    segmentBytes,
    segments: parseFiles(json["segments"]),
    histories: parseFiles(json["histories"]),
    commits,
  };
}

function parseFiles(json: unknown): WalFile[] {
  if (!Array.isArray(json)) throw odd("wal.json");
  return json.map((each: unknown) => {
    const { name, bytes, sha256 } = asRecord(each, "a file of wal.json");
    if (typeof name !== "string" || typeof bytes !== "number" || typeof sha256 !== "string") throw odd("wal.json");
    return { name, bytes, sha256 };
  });
}

/** The object of a JSON text of ours. @throws Failure `point/invalid`. */
export function parseRecord(text: string, what: string): Readonly<Record<string, unknown>> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Failure("point/invalid", `${what} is not JSON`, { cause });
  }
  const record = asRecord(json, what);
  if (record["schema"] !== 1) {
    throw new Failure("point/invalid", `${what} was made by a newer Chatkeep`, { hint: "Update Chatkeep." });
  }
  return record;
}

function asRecord(json: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw odd(what);
  return json as Readonly<Record<string, unknown>>;
}

function odd(what: string): Failure {
  return new Failure("point/invalid", `${what} is not as Chatkeep writes it`);
}
