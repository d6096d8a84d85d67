/**
 * Bringing an installation back into its own place goes by stages: what a stage changes is recorded before it is changed,
 * so that a restore that was killed goes on where it was, and a rollback undoes what was done, the last first.
 */
import type { Clock } from "../../base/clock.ts";
import type { Finding } from "../../base/findings.ts";
import type { Progress } from "../../base/progress.ts";
import type { MatchLine } from "../../chatwoot/environment-match.ts";
import type { Environment } from "../../chatwoot/environment.ts";
import type { ComposeProject } from "../../installation/images.ts";
import type { Installation } from "../../installation/installation.ts";
import type { Manifest } from "../../point/manifest.ts";
import type { ServerAddress } from "../../postgres/address.ts";
import type { PointReader } from "../point-reader.ts";
import type { RoomNeed } from "../room.ts";
import type { StorageSettings } from "../sources.ts";

/** In the order in which they are done. */
export const STAGE_NAMES = [
  "stop",
  "database",
  "files",
  "code",
  "image",
  "clone",
  "swap",
  "environment",
  "redis",
  "migrate",
  "web",
  "health",
  "outbound",
  "worker",
] as const;
export type StageName = (typeof STAGE_NAMES)[number];

/** The installation that is there: what is restored takes its place. */
export interface Place {
  readonly installation: Installation;
  /** The database that its application uses, as it is reached from here. */
  readonly address: ServerAddress;
  /** What Chatkeep's configuration says of its storage services, with the credentials that it gives for them. */
  readonly storageSettings?: StorageSettings;
  /** Looks at the installation again: what was started is at another address than before. */
  readonly look?: () => Promise<Installation>;
}

/** What becomes of messages that a worker would send as soon as it is started. */
export type OutboundChoice = "ask" | "defuse" | "allow" | "hold";

export interface StageOptions {
  /** Roles that are lacking are made, and owners and rights in the database are what they were. */
  readonly withRoles: boolean;
  /** The service of the place that takes all uploaded files; undefined: each its own, where the place has it. */
  readonly storage: string | undefined;
  /** Of the uploaded files only those that the live database lists and that are not there, each into its own service. */
  readonly missing?: boolean;
  /** Runs Chatwoot's own migrations when the database is in place. */
  readonly migrate: boolean;
  readonly outbound: OutboundChoice;
  /** An upgrade is undone: what it stopped is started again, whether or not it ran when the restore began. */
  readonly afterUpgrade?: boolean;
  /** What the containers of the place's Compose project ran before that upgrade: they are to run it again. */
  readonly project?: ComposeProject;
  /** The place is a fresh installation on another machine, which takes over from the one that the point was taken of. */
  readonly isElsewhere?: boolean;
  /** A copy that must not send anything to anybody. */
  readonly clone: { readonly frontendUrl: string; readonly anonymise: boolean } | undefined;
}

/** What every stage has, also when it is undone: nothing of the repository, which may be out of reach then. */
export interface UndoContext {
  readonly place: Place;
  /** A folder of this restore alone, kept until it is forgotten: for lists and for what was replaced. */
  readonly folder: string;
  /** What the new database is called until the swap; undefined where the database is not restored. */
  readonly fresh: ServerAddress | undefined;
  /** Takes every known secret out of what is recorded. */
  readonly redact: <T>(value: T) => T;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface StageContext extends UndoContext {
  readonly reader: PointReader;
  readonly manifest: Manifest;
  /** The environment that the point has; undefined where it has none. */
  readonly saved: Environment | undefined;
  readonly options: StageOptions;
  /**
   * Asks the person at the terminal, who has been shown the lines before the question; one of the choices comes back.
   * Absent where there is nobody to ask.
   */
  readonly ask?: (question: StageQuestion) => Promise<string>;
}

export interface StageQuestion {
  /** A line each. */
  readonly lines: readonly string[];
  readonly question: string;
  /** The first is what an empty answer means. */
  readonly choices: readonly { readonly answer: string; readonly meaning: string }[];
}

export interface StagePlan {
  /** For people: what will be done, a line each. None: the stage has nothing to do and is passed over. */
  readonly lines: readonly string[];
  /** What stands in the way: nothing at all is begun then. */
  readonly blockers: readonly Finding[];
  /** What is worth knowing before. */
  readonly findings: readonly Finding[];
  /** What it will write on disks of this machine, as far as that counts: others may write there, too. */
  readonly room?: readonly RoomNeed[];
  /** Of the stage `environment`: each variable, what becomes of it and why. Never a value. */
  readonly environment?: readonly MatchLine[];
}

/** What a stage keeps on disk, as JSON. */
export interface StageRecord<T> {
  /** Undefined where it was never begun. */
  readonly kept: T | undefined;
  /** Returns when it is durable: call it before the change that an undo must know of. */
  keep(value: T): Promise<void>;
}

/** What the way back of a stage looks like before it is walked. */
export interface UndoPlan {
  /** What would stop the rollback half-way: nothing at all is undone then. */
  readonly blockers: readonly Finding[];
  /** What could not be undone, or is worth knowing; nothing waits for it. */
  readonly findings: readonly Finding[];
}

/**
 * `needed`: Chatwoot must not run, or cannot, before the stage is undone, so that a failure stops the rollback. `spared`: it runs as
 * well without, so that nobody waits for it: it is undone as far as it can be, and what is left is told.
 */
export type UndoIs = "needed" | "spared";

export interface StageResult {
  /** For people: what was done, a line each. */
  readonly lines: readonly string[];
  readonly findings: readonly Finding[];
  /** What is left for a person, in order. */
  readonly next?: readonly string[];
  /** The restore, or its rollback, stops here in good order, with this reason; calling it again goes on with this stage. */
  readonly holds?: string;
}

/** @typeParam T What it keeps on disk: plain JSON. */
export interface Stage<T = unknown> {
  readonly name: StageName;
  /** Looks, and changes nothing. Called before the first change of any stage. */
  plan(context: StageContext): Promise<StagePlan>;
  /**
   * Sees to what must be so before it is applied, in every run that comes to it. What this did is told and kept, whatever becomes
   * of the stage then.
   * @param run.isFirst The run comes from elsewhere: nothing that an earlier one saw need be so any more.
   */
  before?(context: StageContext, run: { readonly isFirst: boolean }): Promise<StageResult>;
  /**
   * Does it. Called again after a kill, with what was kept: what is done already is seen and not done twice.
   * @throws Failure when it cannot go on: what was done stays recorded, to be gone on with or undone.
   */
  apply(context: StageContext, record: StageRecord<T>): Promise<StageResult>;
  /**
   * What it has still to write on disks of this machine; asked where one of them was full, so it writes nothing. Absent: too little to
   * count.
   */
  room?(context: StageContext): Promise<readonly RoomNeed[]>;
  /** Kinds of findings of the plan, and of other stages, that hold no longer once it is done. */
  readonly settles?: readonly string[];
  /** Whether Chatwoot waits for its undo. */
  readonly undoIs: UndoIs;
  /** As `before`, of the undo. */
  beforeUndo?(context: UndoContext): Promise<StageResult>;
  /**
   * Undoes it, as far as it came; called again after a kill, likewise. What was never begun is not called.
   * @throws Failure when it cannot be undone: of a stage that is spared that is told, with its hint, and keeps nobody waiting.
   */
  undo(context: UndoContext, record: StageRecord<T>): Promise<StageResult>;
  /** Forgets for good what it, or its undo, put aside outside of the restore's folder and the database. Called when nobody wants it back. */
  discard?(context: UndoContext, record: StageRecord<T>): Promise<StageResult>;
  /**
   * Looks what would keep {@link discard} from being done, and changes nothing: the databases of before may be dropped behind it.
   * @throws Failure that says what.
   */
  planDiscard?(context: UndoContext, record: Pick<StageRecord<T>, "kept">): Promise<void>;
  /**
   * Looks whether everything outside that the undo needs is there and answers. Changes nothing but for a small file that is tried out.
   * Absent: it needs nothing but this restore's folder, or what another stage has looked at.
   * @throws Failure as a blocker, or for a stage that is spared as a finding.
   */
  planUndo?(context: UndoContext, record: Pick<StageRecord<T>, "kept">): Promise<UndoPlan>;
}

export const NOTHING_DONE: StageResult = { lines: [], findings: [] };

/** What was done before something, and its own result behind it. Pure. */
export function behind(seen: Pick<StageResult, "lines" | "findings">, result: StageResult): StageResult {
  return { ...result, lines: [...seen.lines, ...result.lines], findings: [...seen.findings, ...result.findings] };
}

export const NOTHING_TO_DO: StagePlan = { lines: [], blockers: [], findings: [] };
export const NOTHING_TO_UNDO: UndoPlan = { blockers: [], findings: [] };
