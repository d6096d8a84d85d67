/** What the doors hand to a verb: where it runs, who watches, whom it may ask. */
import type { Clock } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";

/** A person at a terminal. */
export interface Person {
  confirm(question: string): Promise<boolean>;
  text(question: string, suggested?: string): Promise<string>;
  /** What is typed is not shown. */
  secret(question: string): Promise<string>;
}

export interface Surroundings {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  /** Undefined where nobody can answer (`--yes`, no terminal). */
  readonly person: Person | undefined;
  /** `--limit-upload`, `--limit-download`. */
  readonly rates?: Rates;
  /** `--at-time`: repositories are read as they were then, in milliseconds since 1970. */
  readonly atMs?: number | undefined;
  /** True for what makes room or mends: it may use the room that a disk else has left for others. */
  readonly mayFill?: boolean;
  /** What somebody must see while the run goes on: on stderr, also with `--quiet` and `--json`. */
  readonly warn?: ((what: Finding | string) => void) | undefined;
  /**
   * Until the result is called, SIGINT and SIGTERM go to the taker and do not stop the run: somebody else's program has the
   * terminal.
   */
  readonly takeSignals?: (taker: (signal: NodeJS.Signals) => void) => () => void;
  /** False for `--no-cache`. */
  readonly isCached?: boolean;
  /** Told what lets go of a place that was opened; all of it is done when the run is over. Never rejects. */
  readonly atEnd?: (letGo: () => Promise<void>) => void;
  /** Takes every secret that was told out of what is written to disk or sent away. */
  readonly redact: <T>(value: T) => T;
  /** Told every secret as soon as it is known, so that nothing printed ever holds one. */
  readonly hide: (secrets: Iterable<string>) => void;
}

/** Options that every verb takes. */
export interface Globals {
  /** `--config FILE`. */
  readonly config?: string | undefined;
  /** `--repository WHERE`: a name or a location. */
  readonly repository?: string | undefined;
}

/** Bytes a second to and from each remote repository, and from each bucket of uploaded files; what is given here goes before the configuration. */
export interface Rates {
  readonly upload?: number | undefined;
  readonly download?: number | undefined;
}
