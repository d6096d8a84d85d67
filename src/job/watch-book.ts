/**
 * What a watch knows of itself: how far everything is, and what somebody must know. It is written down every few seconds for
 * whoever asks (`status`, `list`), and what is new in it is told. Nothing here waits for anything.
 */
import { formatBytes, formatSpan, plural } from "../base/bytes.ts";
import { type Clock, formatInstant } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import { formatMicros } from "../point/continuous.ts";
import { formatLsn, type Lsn } from "../wal/lsn.ts";
import type { NotFollowed } from "./continuous/follow.ts";
import type { LineBegun, LogState } from "./continuous/follow-log.ts";

/** Positions as PostgreSQL writes them, instants in RFC 3339. */
export interface WatchStatus {
  schema: 1;
  program: string;
  host: string;
  pid: number;
  /** Since when it runs, and when this was written. */
  since: string;
  at: string;
  mode: "stream" | "interval";
  /** Why the log is not had; null in the mode stream. */
  why: string | null;
  log: {
    systemId: string;
    timeline: number;
    /** How far the server is, what has come, and what is in every repository. */
    server: string;
    received: string;
    durable: string;
    lagBytes: number;
    /** For how long the server has had what is not in every repository; 0 where there is nothing. */
    lagSeconds: number;
    /** When the last commit that is in every repository was made, by the server's clock. */
    lastCommit: string | null;
    slot: { name: string; permanent: boolean; retainedBytes: number; safeBytes: number | null; status: string | null };
  } | null;
  /** Of the mode interval. */
  points: { last: string | null; seconds: number | null; next: string | null } | null;
  repositories: {
    name: string;
    durable: string | null;
    /** Uploaded files that this watch has kept. */
    files: number;
    filesWaiting: number;
    trouble: string | null;
    since: string | null;
  }[];
  base: { at: string; repository: string; bytes: number; seconds: number } | null;
  findings: Finding[];
}

export interface BookOptions {
  readonly program: string;
  readonly host: string;
  readonly pid: number;
  readonly mode: WatchStatus["mode"];
  readonly why: string | null;
  readonly repositories: readonly string[];
  readonly clock: Clock;
}

interface RepositoryPage {
  durable: Lsn | undefined;
  files: number;
  filesWaiting: number;
  filesFailingSinceMs: number | undefined;
  trouble: { failure: Failure; sinceMs: number } | undefined;
}

/** A purge that came before the copy, and files that never came, are told in one line each: so many names at most. */
const NAMED = 5;

export class WatchBook {
  readonly #o: BookOptions;
  readonly #sinceMs: number;
  readonly #pages: ReadonlyMap<string, RepositoryPage>;
  readonly #findings = new Map<string, readonly Finding[]>();
  #log: LogState | undefined;
  /** When everything that the server had was in every repository for the last time. */
  #evenMs: number;
  #points: WatchStatus["points"] = null;
  #base: WatchStatus["base"] = null;

  constructor(options: BookOptions) {
    this.#o = options;
    this.#sinceMs = options.clock.now();
    this.#evenMs = this.#sinceMs;
    this.#pages = new Map(
      options.repositories.map((name) => {
        return [
          name,
          { durable: undefined, files: 0, filesWaiting: 0, filesFailingSinceMs: undefined, trouble: undefined },
        ];
      }),
    );
  }

  logState(state: LogState): void {
    this.#log = state;
    if (state.durableTo >= state.serverEnd) this.#evenMs = this.#o.clock.now();
    for (const { name, durableTo } of state.places) {
      const page = this.#pages.get(name);
      if (page !== undefined) page.durable = durableTo;
    }
  }

  lineBegun({ line, start, gapped, away }: LineBegun): void {
    for (const name of gapped) {
      this.find(`gap ${name} ${formatLsn(start)}`, {
        kind: "log-gap",
        level: "alarm",
        subject: name,
        message: `repository '${name}' lacks a part of the log before ${formatLsn(start)} of timeline ${line.timeline}: the server did not have it any more`,
        hint: "Moments before and after the gap can be had, those in it cannot; 'chatkeep list' shows it. A new base is taken now.",
      });
    }
    for (const { name, failure } of away) this.trouble(name, failure);
  }

  /** A session with the server could not begin or ended; undefined: one goes on. */
  session(trouble: Failure | undefined): void {
    this.#set("session", trouble, (failure) => ({
      kind: failure.code === "wal/other-cluster" ? "other-cluster" : "log-not-received",
      level: "alarm",
      message: `the log is not received: ${failure.message}`,
      hint: `${failure.hint ?? "See why."} It is tried again by itself; until then only what is in the repositories can be brought back.`,
    }));
  }

  /** A repository refused, or took something after that. */
  trouble(name: string, failure: Failure | undefined): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    const sinceMs = page.trouble?.sinceMs ?? this.#o.clock.now();
    page.trouble = failure === undefined ? undefined : { failure, sinceMs };
  }

  followed(name: string, look: { files: number; waiting: number; lost: readonly NotFollowed[] }): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    page.files += look.files;
    page.filesWaiting = look.waiting;
    for (const [isPurged, lost] of Map.groupBy(look.lost, ({ reason }) => reason === "purged")) {
      const names = lost.slice(0, NAMED).map(({ blob }) => `'${blob.filename}' (${blob.id})`);
      const more = lost.length > NAMED ? ` and ${lost.length - NAMED} more` : "";
      const what = plural(lost.length, "uploaded file");
      this.find(`files ${name} ${isPurged} ${lost[0]?.blob.id ?? ""}`, {
        kind: isPurged ? "purged-before-copy" : "files-not-followed",
        level: isPurged ? "note" : "warning",
        subject: name,
        message: isPurged
          ? `${what} went before a copy was made: ${names.join(", ")}${more}`
          : `${what} did not come, or not as the database says: ${names.join(", ")}${more}`,
        discreet: isPurged
          ? `${what} went before a copy was made`
          : `${what} did not come, or not as the database says`,
        hint: isPurged
          ? "Chatwoot deleted them seconds after they were uploaded; a moment between has their rows and not the files."
          : "'chatkeep doctor' looks for what is missing in the storage.",
      });
    }
  }

  baseTaken({ atMs, ...base }: { atMs: number; repository: string; bytes: number; seconds: number }): void {
    this.#base = { at: formatInstant(atMs), ...base };
  }

  /** A base could not be taken; undefined: every repository has what it needs. */
  baseTrouble(trouble: Failure | undefined): void {
    this.#set("base", trouble, (failure) => ({
      kind: "base-not-taken",
      level: "alarm",
      message: `no base could be taken: ${failure.message}`,
      hint: `${failure.hint ?? "See why."} It is tried again by itself; moments after the last one that a base serves cannot be had meanwhile.`,
    }));
  }

  /** Files could not be followed into a repository; undefined: a look went well. */
  filesTrouble(name: string, trouble: Failure | undefined): void {
    const page = this.#pages.get(name);
    if (page === undefined) return;
    page.filesFailingSinceMs = trouble === undefined ? undefined : (page.filesFailingSinceMs ?? this.#o.clock.now());
    const isLong = this.#o.clock.now() - (page.filesFailingSinceMs ?? this.#o.clock.now()) >= LIMITS.watchTroubleMs;
    this.#set(`files trouble ${name}`, isLong ? trouble : undefined, (failure) => ({
      kind: "files-behind",
      level: "alarm",
      subject: name,
      message: `uploaded files are not followed into repository '${name}': ${failure.message}`,
      hint: `${failure.hint ?? "See why."} It is tried again by itself; the next restore point has them all the same, unless they are deleted before.`,
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
    if (findings.length === 0) this.#findings.delete(key);
    else this.#findings.set(key, findings);
  }

  #set(key: string, failure: Failure | undefined, make: (failure: Failure) => Finding): void {
    this.find(key, ...(failure === undefined ? [] : [make(failure)]));
  }

  get findings(): Finding[] {
    return sortFindings([...[...this.#findings.values()].flat(), ...this.#troubles(), ...this.#slotFindings()]);
  }

  #troubles(): Finding[] {
    const now = this.#o.clock.now();
    return [...this.#pages].flatMap(([name, { trouble }]) => {
      // A place that refuses once, as places do now and then, is worth no word.
      if (trouble === undefined || now - trouble.sinceMs < LIMITS.watchTroubleMs) return [];
      return [
        {
          kind: "repository-behind",
          level: "alarm",
          subject: name,
          message: `repository '${name}' has taken nothing for ${formatSpan((now - trouble.sinceMs) / 1000)}: ${trouble.failure.message}`,
          hint: `${trouble.failure.hint ?? "See why."} The server keeps the log meanwhile, as far as it may.`,
        } as const,
      ];
    });
  }

  /** A slot whose log the server is about to let go of. */
  #slotFindings(): Finding[] {
    const slot = this.#log?.slot;
    if (slot?.walStatus !== "unreserved" && slot?.walStatus !== "extended") return [];
    const safe = slot.safeBytes === undefined ? "" : `, and ${formatBytes(Math.max(0, slot.safeBytes))} more are safe`;
    return [
      {
        kind: "slot-near-limit",
        level: slot.walStatus === "unreserved" ? "alarm" : "warning",
        message: `the server keeps more of its log than it needs itself for the slot '${slot.name}' (${slot.walStatus}${safe})`,
        hint: "Whatever holds the repositories up should end soon: beyond max_slot_wal_keep_size the log is lost to us, and a gap and a new base follow.",
      },
    ];
  }

  get status(): WatchStatus {
    const { program, host, pid, mode, why, clock } = this.#o;
    return {
      schema: 1,
      program,
      host,
      pid,
      since: formatInstant(this.#sinceMs),
      at: formatInstant(clock.now()),
      mode,
      why,
      log: this.#logStatus(),
      points: this.#points,
      repositories: [...this.#pages].map(([name, { durable, files, filesWaiting, trouble }]) => ({
        name,
        durable: durable === undefined ? null : formatLsn(durable),
        files,
        filesWaiting,
        trouble: trouble?.failure.message ?? null,
        since: trouble === undefined ? null : formatInstant(trouble.sinceMs),
      })),
      base: this.#base,
      findings: this.findings,
    };
  }

  #logStatus(): WatchStatus["log"] {
    if (this.#log === undefined) return null;
    const { line, serverEnd, received, durableTo, durableCommitUs, slot } = this.#log;
    const behind = durableTo < serverEnd;
    return {
      systemId: line.systemId,
      timeline: line.timeline,
      server: formatLsn(serverEnd),
      received: formatLsn(received),
      durable: formatLsn(durableTo),
      lagBytes: behind ? Number(serverEnd - durableTo) : 0,
      lagSeconds: behind ? Math.max(0, (this.#o.clock.now() - this.#evenMs) / 1000) : 0,
      lastCommit: durableCommitUs === undefined ? null : formatMicros(durableCommitUs),
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
