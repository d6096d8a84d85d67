/**
 * What each verb answers: the last line of `--json`, and what the terminal prints. Scripts rely on the names; fields
 * may be added, never renamed.
 */
import type { FixLine } from "./fix-summary.ts";
import type { Finding } from "../base/findings.ts";
import type { Manifest } from "../point/manifest.ts";
import type { ToldMoment } from "./moment-position.ts";
import type { ProofCheck, Recovery } from "../point/proof.ts";
import type { WindowLine, WindowReport } from "./window-summary.ts";

export type { DiffSummary } from "./diff-summary.ts";

export interface BackupSummary {
  type: "summary";
  verb: "backup";
  /** Null for a dry run. */
  point: string | null;
  parent: string | null;
  seconds: number;
  database: {
    tables: number;
    rows: number;
    ranges: number;
    rangesRead: number;
    rangesReused: number;
    bytesRead: number;
    /** How long the snapshot was held; not of a dry run. */
    snapshotSeconds?: number;
    /** A standby was read, so far behind its primary; null when it did not tell. */
    standby?: { lagSeconds: number | null };
  };
  storage: { blobs: number; bytes: number; copied: number; reused: number; missing: number; purged: number };
  added: { bytes: number; packs: number };
  repository: string;
  /** For a repository that is to be immutable. */
  retention?: RetentionOutcome;
  /** The other repositories, after it. */
  copies: CopyOutcome[];
  findings: Finding[];
}

/** What a backup copied into one of the other repositories. */
export interface CopyOutcome {
  repository: string;
  /** How many points it got. */
  points: number;
  bytes: number;
  /** How many it gave to the one that was written, which had not answered when they were made. */
  brought: number;
  ok: boolean;
  /** Why not. */
  message?: string;
}

/** What is locked in an immutable repository. */
export interface RetentionOutcome {
  files: number;
  /** Of them, those whose retention would have ended within half its time. */
  extended: number;
  /** The earliest end, RFC 3339. */
  until: string | null;
}

export interface CopySummary {
  type: "summary";
  verb: "copy";
  from: string;
  to: string;
  /** Oldest first. */
  copied: { point: string; snapshot: string; takenAt: string }[];
  /** Holds that went along. */
  holds: number;
  /** Bases, spans of the log and followed files that came; left out where there are none. */
  continuous?: number;
  /** Points that the other repository had already. */
  skipped: number;
  /** Points that are damaged in the source, and of which nothing was made visible. */
  failed: { point: string; message: string }[];
  added: { bytes: number; packs: number };
  seconds: number;
}

export interface ExportSummary {
  type: "summary";
  verb: "export";
  point: string;
  takenAt: string;
  /** The installation's name. */
  installation: string;
  /** Where the point was read. */
  repository: string;
  file: string;
  bytes: number;
  /** Of the whole file, to compare after it was sent. */
  sha256: string;
  /** What `tar x` makes. */
  folder: string;
  packs: number;
  /** True when an export that was stopped went on. */
  wasBegun: boolean;
  /** Where a password that was made is kept. */
  passwordFile: string | null;
  seconds: number;
}

/** A point's database as a file, or a folder, of pg_dump's. */
export interface DatabaseExportSummary {
  type: "summary";
  verb: "export";
  point: string;
  takenAt: string;
  installation: string;
  repository: string;
  format: DumpFormat;
  /** The file, or the folder. */
  file: string;
  bytes: number;
  tables: number;
  rows: number;
  /** Major version of the PostgreSQL whose programs read it, they or newer ones. */
  major: number;
  seconds: number;
  findings: Finding[];
}

export const DUMP_FORMATS = ["custom", "plain", "directory"] as const;
export type DumpFormat = (typeof DUMP_FORMATS)[number];

export interface ImportSummary {
  type: "summary";
  verb: "import";
  file: string;
  to: string;
  /** Oldest first. */
  imported: { point: string; snapshot: string; takenAt: string }[];
  /** Points that the repository had already. */
  skipped: number;
  /** Points that are damaged in the file, and of which nothing was made visible. */
  failed: { point: string; message: string }[];
  /** Points, new or not, of another installation than the configured one. */
  others: number;
  added: { bytes: number; packs: number };
  seconds: number;
}

/** Its findings are of the moment that the point was made of; none of any other point. */
export interface DrillSummary extends Pick<RestoreSummary, "findings"> {
  type: "summary";
  verb: "drill";
  point: string;
  /** The repository that was read, and that the proof counts for. */
  repository: string;
  proven: boolean;
  /** Whether the outcome is kept in the repository: not where it was read as of a moment. */
  recorded: boolean;
  checks: ProofCheck[];
  /** Uploaded files that were missing or unreadable when the point was taken: it is proven without them. */
  lost: number;
  seconds: number;
  stages: Record<string, number>;
  /** What was loaded, compared and read; null where nothing was. */
  amounts: DrillAmounts | null;
  /** How long bringing the point back takes; null where it was not proven. */
  recovery: Recovery | null;
  /** Where the scratch server came from. */
  server: string;
}

export interface DrillAmounts {
  rows: number;
  /** Of rows, as text. */
  bytes: number;
  /** Uploaded files that were read. */
  files: number;
  fileBytes: number;
}

export interface RestoreSummary {
  type: "summary";
  verb: "restore";
  point: string;
  database: { name: string; previous: string | null; rows: number } | null;
  storage: { blobs: number; bytes: number } | null;
  /** Where configuration and code lie now; null when not asked for. */
  config: string | null;
  code: string | null;
  seconds: number;
  findings: Finding[];
  /** What is left for a person to do, in order. */
  next: string[];
}

/** What a restore will do, before it does it. */
export interface RestorePlan {
  type: "plan";
  verb: "restore";
  point: string;
  /** The snapshot that is restored: another one may have the same name. */
  snapshot: string;
  takenAt: string;
  /** Of a point that was made of one. */
  moment?: ToldMoment;
  installation: string;
  chatwoot: string | null;
  /** The restored database takes the place of the one that Chatwoot uses. */
  isLive: boolean;
  steps: { part: "database" | "storage" | "config" | "code"; what: string; target: string; bytes: number }[];
  /** Those that would be made and those that are there and stay as they are; null where they are not asked for. */
  roles: { create: string[]; keep: string[] } | null;
  /** Of the database: bytes on the server's disk, those free there (null: not known), and seconds by the last drill. */
  estimate: { diskBytes: number; freeBytes: number | null; seconds: number | null } | null;
  /** What stands in the way; a restore with any of these does not begin. */
  blockers: Finding[];
  findings: Finding[];
}

/** What a rollback will do, before it does it. */
export interface RollbackPlan {
  type: "plan";
  verb: "rollback";
  /** The name that Chatwoot uses. */
  live: string;
  /** The database that gets it back. */
  back: string;
  kind: "before" | "rolledback" | "restoring";
  /** RFC 3339: when it was put aside. */
  at: string;
  bytes: number;
  /** The restore point that took its place. */
  point: string;
  /** What stands in the way; a rollback with any of these does not begin. */
  blockers: Finding[];
  findings: Finding[];
}

export interface RollbackSummary {
  type: "summary";
  verb: "rollback";
  database: { name: string; previous: string };
  /** What the database that is live again was called. */
  back: string;
  seconds: number;
  findings: Finding[];
}

export interface VerifySummary {
  type: "summary";
  verb: "verify";
  errors: number;
  packs: number;
  bytesRead: number;
  points: number;
  seconds: number;
  /** `continuous`: the bases, stretches of the log and followed files that it touches, by what they are. */
  problems: { kind: string; name: string; message: string; points: string[]; continuous: string[] }[];
}

export interface PointLine {
  point: string;
  takenAt: string;
  installation: { id: string; name: string };
  chatwoot: string | null;
  /** Everything in the point, unpacked; null when the point's manifest cannot be read. */
  bytes: number | null;
  rows: number | null;
  blobs: number | null;
  missing: number | null;
  /** Of the missing ones, those of which the point has nothing. */
  lost: number | null;
  /** When it was last proven in this repository, or null. */
  provenAt: string | null;
  /** Seconds that bringing it back took in that drill, as far as it could tell. */
  recoverSeconds: number | null;
  /** True when the last drill of it failed. */
  failedDrill: boolean;
  /** True when `repair packs` found something lacking in it that has not come back since. */
  notWhole: boolean;
  /** True when the server could not read all rows when it was made. */
  lacksRows: boolean;
  /** Set where accounts had shrunk in it: whether somebody has acknowledged it. */
  shrunk: "awaiting" | "acknowledged" | null;
  findings: number;
  tags: string[];
  /** Holds in force, as `audit until 2027-01-01`. */
  holds: string[];
}

export interface ListSummary {
  type: "summary";
  verb: "list";
  repository: string;
  points: PointLine[];
  /** Of each installation that is protected continuously: from when to when any moment can be had. */
  windows: WindowReport[];
  /** Others of the configuration, which were not asked and may have more. */
  otherRepositories?: string[];
  /** Snapshots in the repository that are not restore points, and files that cannot be read. */
  otherSnapshots: number;
  damaged: { name: string; message: string }[];
}

export interface ShowSummary {
  type: "summary";
  verb: "show";
  line: PointLine;
  manifest: Manifest;
  /** Of a point that was made of one. */
  moment?: ToldMoment;
  proof: { at: string; proven: boolean; checks: ProofCheck[]; server: string; recovery: Recovery | null } | null;
}

export interface ListedEntry {
  path: string;
  type: "file" | "dir" | "symlink" | "other";
  bytes: number;
  modifiedAt: string;
}

/** What trying a repository's place has shown; null for what could not be tried. */
export interface TriedPlace {
  repository: string;
  /** Of a small request. */
  latencyMs: number;
  writeBytesPerSecond: number | null;
  readBytesPerSecond: number | null;
  canDelete: boolean | null;
  /** Whether the place itself keeps the first of two files of one name. */
  putsOnce: boolean | null;
  /** The place's clock less this machine's. */
  clockAheadSeconds: number | null;
  /** What anybody can do there without credentials. */
  anybodyReads: boolean | null;
  anybodyLists: boolean | null;
  /** The file that could not be removed again. */
  left: string | null;
}

export interface DoctorSummary {
  type: "summary";
  verb: "doctor";
  /** What was found and from where, in order. */
  facts: { name: string; value: string; from: string }[];
  /** How the repositories' places work, of those that could be tried. */
  places: TriedPlace[];
  /** Of `--fix`. */
  fixes?: FixLine[];
  findings: Finding[];
}

export interface InitSummary {
  type: "summary";
  verb: "init";
  config: string;
  repository: string;
  created: boolean;
  /** Files that were written, in order. */
  files: string[];
  /** The recovery kit as text, and as a page to print; empty where none was written. */
  kit: string;
  kitPage: string;
  /** Chatkeep runs in a container, where nothing can be scheduled. */
  inContainer?: boolean;
  /** What was found of the installation, and from where; empty where nothing was looked for. */
  notes: string[];
  findings: Finding[];
}

export interface PruneSummary {
  type: "summary";
  verb: "prune";
  dryRun: boolean;
  /** Of everybody: the points and all else. */
  snapshots: number;
  packs: { kept: number; removed: number; repacked: number; unindexed: number; written: number };
  /** `unused`: what nobody needs and stays. */
  bytes: { before: number; freed: number; copied: number; unused: number };
  /** Of what goes, that which the place keeps as old versions until its retention has ended. */
  retained?: { packs: number; bytes: number; until: string };
  repository: string;
  /** The configuration's other repositories, where none was named: nothing of them was looked at. */
  others?: string[];
  seconds: number;
}

export interface KeyLine {
  key: string;
  user: string;
  host: string;
  /** RFC 3339. */
  created: string;
  /** True for the key whose password opens the repository now. */
  current: boolean;
  /** What a recovery kit with this key has printed on it. */
  fingerprint: string;
}

export interface KeySummary {
  type: "summary";
  verb: "key";
  action: "list" | "add" | "remove" | "passwd";
  repository: string;
  repositoryId: string;
  /** As they are now, the oldest first. */
  keys: KeyLine[];
  /** Key files that cannot be read. */
  damaged: { name: string; message: string }[];
  added: string | null;
  removed: string | null;
  /** The fingerprint on recovery kits that are of no use any more. */
  staleKit: string | null;
  /** Files of recovery kits that had that fingerprint, and were written anew. */
  renewedKits: string[];
  /** Files that were written: never the password itself. */
  files: string[];
  findings: Finding[];
}

export interface KitSummary {
  type: "summary";
  verb: "kit";
  /** Plain text, and the page to print. */
  text: string;
  page: string;
  withPassword: boolean;
  repositories: { name: string; location: string; fingerprint: string | null }[];
  findings: Finding[];
}

export interface RepairSummary {
  type: "summary";
  verb: "repair";
  what: "index" | "packs";
  repository: string;
  packs: number;
  /** What was not as it should be, one line each, and whether it is now. */
  damaged: { name: string; message: string; mended: boolean }[];
  /** Chunks that came from the other repository. */
  fromOther: number;
  /** What nothing has any more, and the points that are not whole because of it. */
  lost: { kind: string; name: string; message: string; points: string[] }[];
  seconds: number;
}

export interface ForgetLine {
  point: string;
  /** The snapshot file that holds it: another one may have the same name. */
  snapshot: string;
  takenAt: string;
  installation: { id: string; name: string };
  tags: string[];
  /** Why it stays; empty when it goes. */
  reasons: string[];
}

export interface ForgetSummary {
  /** A plan is what would be done; a summary what was, but for a dry run. */
  type: "plan" | "summary";
  verb: "forget";
  repository: string;
  dryRun: boolean;
  /** Newest first. With named points, empty: the others are not looked at. */
  kept: ForgetLine[];
  /** Oldest first. */
  forgotten: ForgetLine[];
  /** Proofs and holds that went with their points. */
  records: number;
  /** Of each installation that is protected continuously; not with named points. */
  continuous?: WindowLine[];
  /** With `--prune`: what that freed. */
  prune?: PruneSummary;
  seconds: number;
  findings: Finding[];
}

export interface HoldLine {
  point: string;
  /** Null when the point is not in this repository. */
  takenAt: string | null;
  name: string;
  /** Null when none was given, or when the record cannot be read. */
  reason: string | null;
  until: string | null;
  inForce: boolean;
  at: string;
  by: string | null;
}

export interface HoldSummary {
  type: "summary";
  verb: "hold";
  action: "held" | "released" | "listed";
  repository: string;
  /** Where the point is held, or no longer: every configured repository that was reached and has it. */
  repositories: string[];
  /** False when the very same hold was there already. */
  changed: boolean;
  holds: HoldLine[];
  findings: Finding[];
}

export interface LockLine {
  lock: string;
  /** These are null when the lock cannot be read; `damage` says why. */
  host: string | null;
  user: string | null;
  pid: number | null;
  since: string | null;
  exclusive: boolean | null;
  stale: boolean;
  damage: string | null;
}

export interface UnlockSummary {
  type: "summary";
  verb: "unlock";
  repository: string;
  removed: LockLine[];
  left: LockLine[];
}
