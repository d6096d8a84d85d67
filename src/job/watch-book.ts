/**
 * What a watch knows of itself: how far everything is, and what somebody must know. It is written down every few seconds for
 * whoever asks (`status`, `list`), and what is new in it is told. Nothing here waits for anything.
 */
import { formatSpan } from "../base/bytes.ts";
import { type Clock, formatInstant } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { formatMicros, type Line } from "../point/continuous.ts";
import { formatLsn, type Lsn } from "../wal/lsn.ts";
import type { NotFollowed } from "./continuous/follow.ts";
import type { LineBegun, LogState, PlaceJoined } from "./continuous/follow-log.ts";
import type { LeftBehind } from "./continuous/old-tails.ts";
import { FollowedLosses } from "./followed-losses.ts";
import { type Happened, KnownFindings } from "./known-findings.ts";
import { Lag } from "./lag.ts";
import {
  gapFinding,
  journalFinding,
  type LogGap,
  type Missed,
  missedFinding,
  oldTailFinding,
  partedFinding,
  slotFindings,
  withMissed,
} from "./log-findings.ts";

/** Positions as PostgreSQL writes them, instants in RFC 3339. */
export interface WatchStatus {
  schema: 1;
  program: string;
  host: string;
  pid: number;
  /** Since when it runs, and when this was written. */
  since: string;
  at: string;
  /** `waiting`: none yet, because the server is not there. */
  mode: "stream" | "interval" | "waiting";
  /** Why the log is not had; null in the mode stream. */
  why: string | null;
  log: {
    systemId: string;
    timeline: number;
    /** When the server said last how far it is, by the clock of this machine. */
    heard?: string;
    /** How far the server is, what has come, and what is in every repository. */
    server: string;
    received: string;
    durable: string;
    lagBytes: number;
    /** For how long the server has had what is not in every repository; 0 where there is nothing. */
    lagSeconds: number;
    /** When the last commit that is in every repository that takes part was made, by the server's clock. */
    lastCommit: string | null;
    /** The newest time, by the server's clock, at which everything that it had, to that position, was in all that took part. */
    even?: { at: string; lsn: string };
    slot: { name: string; permanent: boolean; retainedBytes: number; safeBytes: number | null; status: string | null };
  } | null;
  /** Of the mode interval. */
  points: { last: string | null; seconds: number | null; next: string | null } | null;
  repositories: {
    name: string;
    durable: string | null;
    /** For how long the server has had what is not in it. */
    lagSeconds?: number;
    /** Everything that was committed until then is in it, as far as is known: by the clock of this machine. */
    safeUntil?: string;
    /** Uploaded files that this watch has kept. */
    files: number;
    filesWaiting: number;
    trouble: string | null;
    since: string | null;
  }[];
  /** The newest that serves what is kept now. `seconds`: how long taking it was; null where an earlier watch took it. */
  base: { at: string; repository: string; bytes: number; seconds: number | null } | null;
  findings: Finding[];
}

export interface BookOptions {
  readonly program: string;
  readonly host: string;
  readonly pid: number;
  readonly mode: WatchStatus["mode"];
  /** Why the log is not had. */
  readonly why?: string | undefined;
  readonly repositories: readonly string[];
  /** More repositories are configured than one; by those that are watched into where nothing says it. */
  readonly hasOthers?: boolean;
  readonly clock: Clock;
  /** `objectives.rpo`: no more may be lost. A lag of so long, or of {@link LIMITS.watchLagAlarmMs}, is an alarm. */
  readonly rpoMs: number;
}

interface RepositoryPage {
  durable: Lsn | undefined;
  lag: Lag;
  files: number;
  filesWaiting: number;
  filesFailingSinceMs: number | undefined;
  trouble: { failure: Failure; sinceMs: number } | undefined;
  gap: LogGap | undefined;
  missed: Missed | undefined;
  readonly losses: FollowedLosses;
}

export class WatchBook {
  readonly #o: BookOptions;
  readonly #sinceMs: number;
  readonly #pages: ReadonlyMap<string, RepositoryPage>;
  readonly #findings = new KnownFindings();
  #log: LogState | undefined;
  #even: { at: string; lsn: string } | undefined;
  #mode: Pick<WatchStatus, "mode" | "why">;
  #points: WatchStatus["points"] = null;
  #base: WatchStatus["base"] = null;
  /** What the clock said when nothing had passed. */
  #zeroMs: number;

  constructor(options: BookOptions) {
    this.#o = options;
    this.#sinceMs = options.clock.now();
    this.#zeroMs = this.#sinceMs - options.clock.monotonic();
    this.#mode = { mode: options.mode, why: options.why ?? null };
    this.#pages = new Map(
      options.repositories.map((name) => {
        return [
          name,
          {
            durable: undefined,
            lag: new Lag(this.#sinceMs),
            files: 0,
            filesWaiting: 0,
            filesFailingSinceMs: undefined,
            trouble: undefined,
            gap: undefined,
            missed: undefined,
            losses: new FollowedLosses(name),
          },
        ];
      }),
    );
  }

  /** The server is not there yet. @param asked how it is to be protected: where only points are, no log is missed. */
  waits(failure: Failure, asked: WatchStatus["mode"] | "auto"): void {
    this.#mode = { mode: "waiting", why: failure.message };
    if (asked === "interval") this.pointTrouble(failure);
    else this.session(failure);
  }

  /** It is there. What was said of it meanwhile goes when something has come of it. */
  begins({ mode, why }: Pick<BookOptions, "mode" | "why">): void {
    this.#mode = { mode, why: why ?? null };
    if (mode === "interval") this.session(undefined);
  }

  /** For how long something is so must not come from a clock that was set meanwhile: an alarm would come at once, or never. */
  #now(): number {
    const now = this.#o.clock.now();
    const byMs = now - this.#o.clock.monotonic() - this.#zeroMs;
    if (Math.abs(byMs) < LIMITS.clockSetMs) return now;
    this.#zeroMs += byMs;
    this.#findings.shift(byMs);
    for (const page of this.#pages.values()) {
      page.lag.shift(byMs);
      if (page.filesFailingSinceMs !== undefined) page.filesFailingSinceMs += byMs;
      if (page.trouble !== undefined) page.trouble = { ...page.trouble, sinceMs: page.trouble.sinceMs + byMs };
    }
    return now;
  }

  logState(state: LogState): void {
    this.#now();
    this.#forgetOther(state.line);
    this.#log = state;
    if (state.durableTo >= state.serverEnd && state.serverTimeUs > 0n) {
      this.#even = { at: formatMicros(state.serverTimeUs), lsn: formatLsn(state.serverEnd) };
    }
    for (const { name, durableTo } of state.places) {
      const page = this.#pages.get(name);
      if (page !== undefined) page.durable = durableTo;
    }
    const { heardMs } = state;
    if (heardMs === undefined) return;
    // A server that is not heard any more may have written since.
    for (const { lag, durable } of this.#pages.values()) {
      if (durable !== undefined) lag.look(state.serverEnd, durable, heardMs);
    }
  }

  lineBegun({ line, start, gapped, away, refused, partedAt }: LineBegun): void {
    // What is said of one line is not true of another.
    this.#even = undefined;
    this.#forgetOther(line);
    for (const [name, page] of this.#pages) {
      if (gapped.includes(name)) {
        const count = (page.gap?.count ?? 0) + 1;
        page.gap = { count, line, end: start, isParted: partedAt !== undefined };
      }
      this.trouble(name, away.find((one) => one.name === name)?.failure);
    }
    for (const { name, objects } of refused) this.happened(`journal ${name}`, journalFinding(name, objects));
    if (partedAt !== undefined) this.happened("parted", partedFinding(line, { partedAt, start }));
  }

  /** Positions and bases of another cluster say nothing of this one. */
  #forgetOther({ systemId }: Line): void {
    if (this.#log === undefined || this.#log.line.systemId === systemId) return;
    this.#log = undefined;
    this.#even = undefined;
    this.#base = null;
    for (const [name, page] of this.#pages) {
      page.durable = undefined;
      page.lag = new Lag(this.#o.clock.now());
      // Its database may have been the other one until now.
      this.filesTrouble(name, undefined);
    }
  }

  /** What an old primary wrote alone: of each failover. It is known for a day from then on, over restarts of the watch, too. */
  oldTail(left: LeftBehind): void {
    const { commits, sinceMs } = left;
    const finding = oldTailFinding(left, this.#o.hasOthers ?? this.#pages.size > 1);
    const key = `old tail ${finding.event}`;
    this.find(key);
    if (typeof commits === "object" && commits.count === 0) return;
    this.#findings.set(key, [finding], sinceMs + LIMITS.watchEventMs);
  }

  /** A repository that took nothing for a while takes what comes again. */
  joined({ name, line, start, lacksFrom, isGapped, refused }: PlaceJoined): void {
    const page = this.#pages.get(name);
    if (page !== undefined && isGapped) page.missed = withMissed(page.missed, { line, from: lacksFrom, to: start });
    if (refused.length > 0) this.happened(`journal ${name}`, journalFinding(name, refused));
  }

  /** A repository has a base behind its gap, or what it lacked. */
  gapServed(name: string): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    page.gap = undefined;
    page.missed = undefined;
  }

  /** A session with the server could not begin or ended; undefined: one goes on. */
  session(trouble: Failure | undefined): void {
    this.#set("session", trouble, (failure) => {
      const isOther = failure.code === "wal/other-cluster";
      const meanwhile = isOther
        ? "of what this server writes nothing is kept until then"
        : "what is written meanwhile is fetched afterwards, where the server still has it";
      return {
        kind: isOther ? "other-cluster" : "log-not-received",
        level: "alarm",
        message: `the log is not received: ${failure.message}`,
        hint: `${failure.hint ?? "See why."} It is tried again by itself. What is in the repositories is safe; ${meanwhile}.`,
      };
    });
  }

  /** A repository refused, or took something after that. */
  trouble(name: string, failure: Failure | undefined): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    const now = this.#now();
    const sinceMs = page.trouble?.sinceMs ?? now;
    page.trouble = failure === undefined ? undefined : { failure, sinceMs };
  }

  followed(name: string, look: { files: number; waiting: number; lost: readonly NotFollowed[] }): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    page.files += look.files;
    page.filesWaiting = look.waiting;
    page.losses.looked(look.lost, this.#o.clock.now());
  }

  baseTaken({ atMs, ...base }: { atMs: number; repository: string; bytes: number; seconds: number }): void {
    this.#base = { at: formatInstant(atMs), ...base };
  }

  /** A base that is there already serves what is kept now. */
  baseServes({ atMs, ...base }: { atMs: number; repository: string; bytes: number }): void {
    const at = formatInstant(atMs);
    if (this.#base === null || at > this.#base.at) this.#base = { at, ...base, seconds: null };
  }

  /** A base could not be taken; undefined: every repository has what it needs. */
  baseTrouble(trouble: Failure | undefined): void {
    this.#set("base", trouble, (failure) => ({
      kind: "base-not-taken",
      level: "alarm",
      message: `no base could be taken: ${failure.message}`,
      hint: `${failure.hint ?? "See why."} It is tried again by itself. The log is kept meanwhile: where an earlier base serves it, every moment can be had; where there is none, or a gap lies behind it, none can until a base is taken ('chatkeep list' shows it).`,
    }));
  }

  /** Files could not be followed into a repository; undefined: a look went well. */
  filesTrouble(name: string, trouble: Failure | undefined): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    const now = this.#now();
    page.filesFailingSinceMs = trouble === undefined ? undefined : (page.filesFailingSinceMs ?? now);
    // Who prunes ends by himself.
    const patienceMs = trouble?.code === "repo/locked" ? LIMITS.filesLockedMs : LIMITS.watchTroubleMs;
    const isLong = now - (page.filesFailingSinceMs ?? now) >= patienceMs;
    this.#set(`files trouble ${name}`, isLong ? trouble : undefined, (failure) => ({
      kind: "files-behind",
      level: "alarm",
      subject: name,
      message: `uploaded files are not followed into repository '${name}': ${failure.message}`,
      hint: `${failure.hint ?? "See why."} It is tried again by itself. The rows of these files are safe, and the next restore point has the files, unless they are deleted before.`,
    }));
  }

  /** A restore point could not be made. */
  pointTrouble(failure: Failure): void {
    this.#set("point", failure, ({ message, hint }) => ({
      kind: "point-not-made",
      level: "alarm",
      message: `the last restore point could not be made: ${message}`,
      hint: `${hint ?? "See why."} The next one is tried by itself; what was saved before can be brought back.`,
    }));
  }

  pointMade(points: NonNullable<WatchStatus["points"]>): void {
    this.#points = points;
  }

  /** @param key by which the next replaces it; none takes it away. */
  find(key: string, ...findings: readonly Finding[]): void {
    this.#findings.set(key, findings);
  }

  /** What happened, and does not go on: it is known for a day. @param key as of {@link find}. */
  happened(key: string, ...findings: readonly Finding[]): void {
    this.#findings.set(key, findings, this.#now() + LIMITS.watchEventMs);
  }

  /** What happened to this watch or the one before it, for the next one. */
  get happenings(): Happened[] {
    return this.#findings.happenedBy(this.#now());
  }

  /** What happened to the watch before is known for the rest of its day. */
  happenedBefore(all: readonly Happened[]): void {
    const mostMs = this.#o.clock.now() + LIMITS.watchEventMs;
    for (const { key, findings, untilMs } of all) this.#findings.set(key, findings, Math.min(untilMs, mostMs));
  }

  #set(key: string, failure: Failure | undefined, make: (failure: Failure) => Finding): void {
    this.find(key, ...(failure === undefined ? [] : [make(failure)]));
  }

  get findings(): Finding[] {
    const now = this.#now();
    return sortFindings([
      ...this.#findings.at(now),
      ...[...this.#pages].flatMap(([name, { gap }]) => (gap === undefined ? [] : gapFinding(name, gap))),
      ...[...this.#pages.values()].flatMap(({ losses }) => losses.findings),
      ...this.#troubles(),
      ...this.#lagFindings(),
      ...(this.#log === undefined ? [] : slotFindings(this.#log.slot)),
    ]);
  }

  /** What the server has is not in every repository, for longer than storing takes. */
  #lagFindings(): Finding[] {
    const lagMs = this.#lagMs();
    if (lagMs < LIMITS.watchLagMs || this.#log === undefined) return [];
    const { received, durableCommitUs } = this.#log;
    const late = [...this.#pages]
      .filter(([, page]) => this.#lagOf(page) >= LIMITS.watchLagMs)
      .map(([name, { trouble, lag }]) => {
        const isHere = received >= (lag.next ?? received);
        const why = isHere ? "it takes it more slowly than it comes" : "it has not come from the server yet";
        return `'${name}' (${trouble?.failure.message ?? why})`;
      });
    const safe = durableCommitUs === undefined ? "" : `; everything up to ${formatMicros(durableCommitUs)} is safe`;
    return [
      {
        kind: "log-behind",
        level: lagMs >= Math.min(LIMITS.watchLagAlarmMs, this.#o.rpoMs) ? "alarm" : "warning",
        message: `what the server wrote in the last ${formatSpan(lagMs / 1000)} is not in ${late.join(" and ")}${safe}`,
        hint: "Were the database lost now, that much would be missing there. It is stored by itself as soon as that is possible, and the server keeps it meanwhile as far as its slot allows: mend what is named, or look whether the line to it is too slow for what Chatwoot writes.",
      },
    ];
  }

  #troubles(): Finding[] {
    const now = this.#now();
    const goesOn =
      this.#pages.size > 1
        ? "The other repositories go on, and what this one lacks by then is brought from them; while none takes anything, the server keeps what comes"
        : "What is in it is safe, and the server keeps what comes meanwhile";
    return [...this.#pages].flatMap(([name, { trouble, missed }]) => {
      // A place that refuses once, as places do now and then, is worth no word.
      if (trouble === undefined || now - trouble.sinceMs < LIMITS.watchTroubleMs) {
        return missed === undefined ? [] : [missedFinding(name, missed)];
      }
      return [
        {
          kind: "repository-behind",
          level: "alarm",
          subject: name,
          message: `repository '${name}' has taken nothing for ${formatSpan((now - trouble.sinceMs) / 1000)}: ${trouble.failure.message}`,
          hint: `${trouble.failure.hint ?? "See why."} It is tried again by itself. ${goesOn}, as far as max_slot_wal_keep_size and watch.max-retained let it.`,
        } as const,
      ];
    });
  }

  get status(): WatchStatus {
    const { program, host, pid, clock } = this.#o;
    return {
      schema: 1,
      program,
      host,
      pid,
      since: formatInstant(this.#sinceMs),
      at: formatInstant(clock.now()),
      ...this.#mode,
      log: this.#logStatus(),
      points: this.#points,
      repositories: [...this.#pages].map(([name, page]) => ({
        name,
        durable: page.durable === undefined ? null : formatLsn(page.durable),
        ...(page.durable === undefined ? {} : { lagSeconds: this.#lagOf(page) / 1000 }),
        ...(page.lag.safeMs === undefined ? {} : { safeUntil: formatInstant(page.lag.safeMs) }),
        files: page.files,
        filesWaiting: page.filesWaiting,
        trouble: page.trouble?.failure.message ?? null,
        since: page.trouble === undefined ? null : formatInstant(page.trouble.sinceMs),
      })),
      base: this.#base,
      findings: this.findings,
    };
  }

  /** Of the repository that is furthest behind. */
  #lagMs(): number {
    return [...this.#pages.values()].reduce((most, page) => Math.max(most, this.#lagOf(page)), 0);
  }

  #lagOf({ lag, durable }: RepositoryPage): number {
    const isBehind = this.#log !== undefined && durable !== undefined && durable < this.#log.serverEnd;
    return isBehind ? lag.of(this.#now()) : 0;
  }

  /** Up to where every repository has everything, whether it takes part or not. */
  #durableTo({ durableTo }: LogState): Lsn {
    const known = [...this.#pages.values()].flatMap(({ durable }) => durable ?? []);
    return known.reduce((least, each) => (each < least ? each : least), durableTo);
  }

  #logStatus(): WatchStatus["log"] {
    if (this.#log === undefined) return null;
    const { line, serverEnd, received, durableCommitUs, heardMs, slot } = this.#log;
    const durableTo = this.#durableTo(this.#log);
    const behind = durableTo < serverEnd;
    return {
      systemId: line.systemId,
      timeline: line.timeline,
      ...(heardMs === undefined ? {} : { heard: formatInstant(heardMs) }),
      server: formatLsn(serverEnd),
      received: formatLsn(received),
      durable: formatLsn(durableTo),
      lagBytes: behind ? Number(serverEnd - durableTo) : 0,
      lagSeconds: this.#lagMs() / 1000,
      lastCommit: durableCommitUs === undefined ? null : formatMicros(durableCommitUs),
      ...(this.#even === undefined ? {} : { even: this.#even }),
      slot: {
        name: slot.name,
        permanent: !slot.isTemporary,
        retainedBytes: slot.restart === undefined ? 0 : Math.max(0, Number(serverEnd - slot.restart)),
        safeBytes: slot.safeBytes ?? null,
        status: slot.walStatus ?? null,
      },
    };
  }
}
