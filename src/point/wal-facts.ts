/**
 * What is told of a span of the write-ahead log beside its bytes: in `wal.json`, and in the head of a journal's object. It
 * says which moments lie in it, so that one is found without reading the log.
 */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { formatLsn, isLsn, type Lsn, parseLsn } from "../wal/lsn.ts";
import { formatMicros, type Minimal, parseMicros, parseMinimal, type SetBack, type WalSpan } from "./continuous.ts";

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
  /** Where the server's clock was set back between two of them. */
  readonly setBack?: SetBack | undefined;
  /** Where the server wrote too little to be replayed. */
  readonly minimal?: Minimal | undefined;
}

const MINUTE_US = 60_000_000n;
/** Commits do not come in the order of their times: so much earlier is no clock that was set back. */
const SETTLES_US = BigInt(LIMITS.commitSettlesMs) * 1000n;

/** @param timesUs of commits, in the log's order. */
export function setBackIn(timesUs: readonly bigint[]): SetBack | undefined {
  let latest: bigint | undefined;
  let found: { mostUs: bigint; leastUs: bigint } | undefined;
  for (const us of timesUs) {
    if (latest !== undefined && us < latest - SETTLES_US) {
      const { mostUs, leastUs } = found ?? { mostUs: latest, leastUs: us };
      found = { mostUs: latest > mostUs ? latest : mostUs, leastUs: us < leastUs ? us : leastUs };
      latest = us;
    } else if (latest === undefined || us > latest) latest = us;
  }
  return found;
}

/** A record that says that from there on the server writes too little to be replayed. */
export type MinimalRecord = Pick<Minimal, "from" | "to">;

/** @param minimal in order, too. @param commits in the log's order; times may go back by a little, as commits do not come in the order of their times. */
export function summarizeCommits(commits: readonly Commit[], minimal: readonly MinimalRecord[] = []): CommitSummary {
  const minutes: Commit[] = [];
  for (const { lsn, timeUs } of commits) {
    const before = minutes.at(-1);
    if (before !== undefined && before.timeUs / MINUTE_US === timeUs / MINUTE_US) minutes.pop();
    minutes.push({ lsn, timeUs });
  }
  const [first, last] = [commits[0], commits.at(-1)];
  return {
    count: commits.length,
    first,
    last,
    minutes,
    ...ifSetBack(commits.map(({ timeUs }) => timeUs)),
    ...ifMinimal(commits, minimal),
  };
}

function ifMinimal(commits: readonly Commit[], records: readonly MinimalRecord[]): Pick<CommitSummary, "minimal"> {
  const [first, last] = [records[0], records.at(-1)];
  if (first === undefined || last === undefined) return {};
  const lastUs = commits.findLast(({ lsn }) => lsn <= first.from)?.timeUs;
  return { minimal: { from: first.from, to: last.to, ...(lastUs === undefined ? {} : { lastUs }) } };
}

/** Of summaries in order. */
function joinMinimal(summaries: readonly CommitSummary[]): Pick<CommitSummary, "minimal"> {
  const at = summaries.findIndex(({ minimal }) => minimal !== undefined);
  const first = summaries[at]?.minimal;
  if (first === undefined) return {};
  const to = summaries.findLast(({ minimal }) => minimal !== undefined)?.minimal?.to ?? first.to;
  const lastUs = first.lastUs ?? summaries.slice(0, at).findLast(({ last }) => last !== undefined)?.last?.timeUs;
  return { minimal: { from: first.from, to, ...(lastUs === undefined ? {} : { lastUs }) } };
}

function ifSetBack(timesUs: readonly bigint[]): Pick<CommitSummary, "setBack"> {
  const setBack = setBackIn(timesUs);
  return setBack === undefined ? {} : { setBack };
}

/** Times of commits that say how a stretch of the log goes, in its order. */
export function outlineOf(firstUs: bigint | undefined, setBack: SetBack | undefined, lastUs: bigint | undefined) {
  const times = [firstUs, setBack?.mostUs, setBack?.leastUs, lastUs];
  return times.filter((us) => us !== undefined);
}

/** Of stretches of the log that follow each other, in order: as if all their commits had been summarized together. */
export function joinCommits(summaries: readonly CommitSummary[]): CommitSummary {
  const { minutes } = summarizeCommits(summaries.flatMap((one) => one.minutes));
  return {
    count: summaries.reduce((sum, { count }) => sum + count, 0),
    first: summaries.find(({ first }) => first !== undefined)?.first,
    last: summaries.findLast(({ last }) => last !== undefined)?.last,
    minutes,
    ...ifSetBack(summaries.flatMap((one) => outlineOf(one.first?.timeUs, one.setBack, one.last?.timeUs))),
    ...joinMinimal(summaries),
  };
}

/** What a span's tags say of them. */
export function timesOf({
  first,
  last,
  setBack,
  minimal,
}: CommitSummary): Pick<WalSpan, "firstCommitUs" | "lastCommitUs" | "setBack" | "minimal"> {
  const times = { firstCommitUs: first?.timeUs, lastCommitUs: last?.timeUs };
  return { ...times, ...(setBack === undefined ? {} : { setBack }), ...(minimal === undefined ? {} : { minimal }) };
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
  readonly setBack?: readonly [from: string, to: string];
  readonly minimal?: { readonly records: string; readonly last: string | null };
}

export function commitsJson({ count, first, last, minutes, setBack, minimal }: CommitSummary): CommitsJson {
  return {
    count,
    first: first === undefined ? null : commitJson(first),
    last: last === undefined ? null : commitJson(last),
    minutes: minutes.map(commitJson),
    ...(setBack === undefined ? {} : { setBack: [formatMicros(setBack.mostUs), formatMicros(setBack.leastUs)] }),
    ...(minimal === undefined ? {} : { minimal: minimalJson(minimal) }),
  };
}

function minimalJson({ from, to, lastUs }: Minimal): NonNullable<CommitsJson["minimal"]> {
  return {
    records: `${formatLsn(from)}-${formatLsn(to)}`,
    last: lastUs === undefined ? null : formatMicros(lastUs),
  };
}

function parseMinimalJson(json: unknown): Minimal {
  const { records, last } = asRecord(json, "the list of commits");
  const [text, at] = [records, last].map((value) => (typeof value === "string" ? value : undefined));
  const minimal = parseMinimal(text, at);
  if (minimal === undefined) throw odd("the list of commits");
  return minimal;
}

function parseCommit(json: unknown): Commit {
  const [lsn, at] = Array.isArray(json) ? (json as unknown[]) : [];
  const timeUs = typeof at === "string" ? parseMicros(at) : undefined;
  if (typeof lsn !== "string" || !isLsn(lsn) || timeUs === undefined) throw odd("a commit");
  return { lsn: parseLsn(lsn), timeUs };
}

/** @throws Failure `point/invalid`. */
export function parseCommits(json: unknown): CommitSummary {
  const { count, first, last, minutes, setBack, minimal } = asRecord(json, "the list of commits");
  if (typeof count !== "number" || !Array.isArray(minutes)) throw odd("the list of commits");
  const orNone = (value: unknown) => (value === null ? undefined : parseCommit(value));
  const facts = { count, first: orNone(first), last: orNone(last), minutes: minutes.map(parseCommit) };
  return {
    ...facts,
    ...(setBack === undefined ? {} : { setBack: parseSetBack(setBack) }),
    ...(minimal === undefined ? {} : { minimal: parseMinimalJson(minimal) }),
  };
}

function parseSetBack(json: unknown): SetBack {
  const [mostUs, leastUs] = (Array.isArray(json) ? (json as unknown[]) : []).map((at) =>
    typeof at === "string" ? parseMicros(at) : undefined,
  );
  if (mostUs === undefined || leastUs === undefined) throw odd("the list of commits");
  return { mostUs, leastUs };
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
  const times = timesOf(commits);
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
