/** Summaries as the verbs give them, of an installation that does not exist. */
import type {
  BackupSummary,
  CopySummary,
  DatabaseExportSummary,
  DoctorSummary,
  DrillSummary,
  ExportSummary,
  ForgetLine,
  ForgetSummary,
  HoldSummary,
  ImportSummary,
  InitSummary,
  KeySummary,
  KitSummary,
  ListedEntry,
  ListSummary,
  PointLine,
  PruneSummary,
  RepairSummary,
  RestorePlan,
  RestoreSummary,
  ShowSummary,
  UnlockSummary,
  VerifySummary,
} from "../../src/job/summaries.ts";
import type { ScrubSummary } from "../../src/job/scrub-summary.ts";
import type { Manifest } from "../../src/point/manifest.ts";

const IMAGE = { name: "chatwoot/chatwoot:v4.15.1", id: "sha256:5d2e", digest: "chatwoot/chatwoot@sha256:9f8e" };
export const FIRST = "4f3a91c2".padEnd(64, "0");
export const SECOND = "b07d55e1".padEnd(64, "1");
export const INSTALLATION = { id: "6f1c0d5e-9a77-4d0e-8f2b-3f6f5b1c2d3e", name: "acme" };

export const BACKUP: BackupSummary = {
  type: "summary",
  verb: "backup",
  point: SECOND,
  parent: FIRST,
  seconds: 12.34,
  database: { tables: 90, rows: 20_134, ranges: 94, rangesRead: 52, rangesReused: 42, bytesRead: 88_080_384 },
  storage: { blobs: 302, bytes: 1_288_490_188, copied: 12, reused: 287, missing: 2, purged: 1 },
  added: { bytes: 12_897_484, packs: 2 },
  repository: "primary",
  copies: [],
  findings: [],
};

export const COPY: CopySummary = {
  type: "summary",
  verb: "copy",
  from: "primary",
  to: "offsite",
  copied: [{ point: FIRST, snapshot: SECOND, takenAt: "2026-11-22T02:30:00Z" }],
  holds: 1,
  skipped: 1,
  failed: [
    {
      point: SECOND,
      message: `restore point b07d55e1 of 2026-11-23T02:30:00Z cannot be copied: chunk 11111111 cannot be read: pack 22222222: sealed bytes do not match their checksum`,
    },
  ],
  added: { bytes: 12_897_484, packs: 2 },
  seconds: 3.2,
};

export const DOCTOR: DoctorSummary = {
  type: "summary",
  verb: "doctor",
  facts: [
    { name: "installation", value: "acme, Linux VM", from: "/etc/chatkeep/chatkeep.yaml" },
    { name: "database", value: "chatwoot_production on localhost:5432", from: "/home/chatwoot/chatwoot/.env" },
    { name: "repository", value: "/var/backups/chatwoot", from: "" },
    {
      name: "place of 'offsite'",
      value: "answers in 31 ms, takes 8.2 MiB/s, gives 21 MiB/s",
      from: "sftp:nas:/backups",
    },
  ],
  places: [
    {
      repository: "offsite",
      latencyMs: 31.2,
      writeBytesPerSecond: 8_598_323,
      readBytesPerSecond: 22_020_096,
      canDelete: false,
      putsOnce: true,
      clockAheadSeconds: -1,
      anybodyReads: false,
      anybodyLists: false,
      left: "chatkeep/probe/2026-11-23T16_18_50.000Z-5f0c7a11",
    },
  ],
  findings: [
    {
      kind: "code-dirty",
      level: "note",
      message: "the code has 1 uncommitted change",
      hint: "It is saved with each point.",
    },
    {
      kind: "database-empty",
      level: "alarm",
      message: "database 'chatwoot' is empty while 'chatwoot_production' is not",
      hint: "Chatwoot uses the other one: set POSTGRES_DATABASE, or name it with database-url.",
    },
  ],
};

const LINE: PointLine = {
  point: SECOND,
  takenAt: "2026-11-23T16:18:50.000Z",
  installation: INSTALLATION,
  chatwoot: "4.15.1",
  bytes: 1_376_570_572,
  rows: 20_134,
  blobs: 302,
  missing: 2,
  lost: 1,
  provenAt: null,
  recoverSeconds: null,
  failedDrill: false,
  notWhole: false,
  lacksRows: false,
  shrunk: null,
  findings: 1,
  tags: ["before-4.16"],
  holds: ["audit until 2027-01-01"],
};

export const LIST: ListSummary = {
  type: "summary",
  verb: "list",
  repository: "primary",
  points: [
    LINE,
    {
      ...LINE,
      point: FIRST,
      takenAt: "2026-11-22T16:18:50.000Z",
      provenAt: "2026-11-22T17:00:00Z",
      recoverSeconds: 14,
      findings: 0,
      tags: [],
      holds: [],
    },
    {
      ...LINE,
      point: "0c".padEnd(64, "2"),
      takenAt: "2026-11-20T02:30:00.000Z",
      failedDrill: true,
      tags: [],
      holds: [],
    },
    {
      ...LINE,
      point: "d1".padEnd(64, "3"),
      takenAt: "2026-11-19T02:30:00.000Z",
      installation: { id: "another", name: "acme-staging" },
      chatwoot: null,
      bytes: null,
      rows: null,
      blobs: null,
      missing: null,
      lost: null,
      tags: [],
      holds: [],
    },
  ],
  windows: [],
  otherSnapshots: 2,
  damaged: [],
};

export const DRILL: DrillSummary = {
  type: "summary",
  verb: "drill",
  repository: "primary",
  point: SECOND,
  proven: true,
  recorded: true,
  checks: [
    { name: "rows", ok: true, detail: "20,134 rows in 90 tables, the same tree" },
    { name: "schema", ok: true, detail: "the same text" },
    { name: "files", ok: true, detail: "300 files, 1.2 GiB, by their MD5" },
  ],
  lost: 2,
  seconds: 21.2,
  stages: { server: 1.1, load: 9.84, rows: 6.2, files: 3.9 },
  amounts: { rows: 20_134, bytes: 18_400_000, files: 300, fileBytes: 1_288_490_188 },
  recovery: { seconds: 13.7, database: 9.84, files: 3.9, compare: 6.2 },
  server: "PostgreSQL 15.14 from /usr/lib/postgresql/15/bin",
  findings: [],
};

const MANIFEST: Manifest = {
  schema: 1,
  program: "chatkeep 0.1.0",
  installation: { ...INSTALLATION, kind: "linux-vm" },
  startedAt: "2026-11-23T16:18:50.000Z",
  endedAt: "2026-11-23T16:19:02.340Z",
  parent: FIRST,
  cutter: 1,
  server: {
    version: "15.14",
    major: 15,
    systemIdentifier: "7412345678901234567",
    timeline: 1,
    postmasterStartedAt: "2026-11-01T00:00:00Z",
    database: "chatwoot_production",
    databaseOid: "16384",
    encoding: "UTF8",
    collate: "C.UTF-8",
    ctype: "C.UTF-8",
    lsn: "0/1A2B3C4",
    extensions: [{ name: "vector", version: "0.8.0", schema: "public" }],
    clientMajor: 15,
    clientIsNewer: false,
  },
  chatwoot: { version: "4.15.1", edition: "community", commit: "0123456789ab", image: IMAGE, migrations: [] },
  tables: [
    {
      schema: "public",
      name: "messages",
      key: { kind: "integer", columns: ["id"] },
      columns: ["id"],
      k: 14,
      j: 10,
      rows: 20_000,
      bytes: 80_000_000,
      ranges: 2,
    },
    {
      schema: "public",
      name: "accounts",
      key: { kind: "integer", columns: ["id"] },
      columns: ["id"],
      k: 20,
      j: 10,
      rows: 134,
      bytes: 80_384,
      ranges: 1,
    },
    {
      schema: "public",
      name: "notes",
      key: { kind: "integer", columns: ["id"] },
      columns: ["id"],
      k: 20,
      j: 10,
      rows: 0,
      bytes: 0,
      ranges: 0,
    },
  ],
  filledViews: [],
  sequences: [{ schema: "public", name: "messages_id_seq", lastValue: "20000", isCalled: true }],
  storage: [
    {
      name: "local",
      kind: "local",
      blobs: 302,
      bytes: 1_288_490_188,
      withoutChecksum: 1,
      missing: [
        {
          id: "17",
          key: "abcd",
          filename: "invoice.pdf",
          bytes: 20_480,
          reason: "missing",
          since: "2026-11-22T16:18:50.000Z",
        },
        {
          id: "18",
          key: "efgh",
          filename: "photo.jpg",
          bytes: 2_048_000,
          reason: "altered",
          since: "2026-11-23T16:18:50.000Z",
        },
      ],
    },
  ],
  secrets: [],
  keyProof: { encryption: true, secretKeyBase: null, checks: [] },
  config: { files: 3 },
  code: { kind: "git", head: "0123456789abcdef0123", branch: "master", isDirty: true, bundle: true, files: 4 },
  read: { rangesRead: 94, rangesReused: 0, blobsCopied: 12, blobsReused: 287, foldersReused: 0, purged: 1 },
  findings: [
    { kind: "files-missing", level: "alarm", message: "1 uploaded file is altered", hint: "'chatkeep show' names it." },
  ],
};

export const SHOW: ShowSummary = {
  type: "summary",
  verb: "show",
  line: LINE,
  manifest: MANIFEST,
  proof: {
    at: "2026-11-23T16:40:00Z",
    proven: true,
    checks: DRILL.checks,
    server: DRILL.server,
    recovery: DRILL.recovery,
  },
};

export const ENTRIES: ListedEntry[] = [
  { path: "config", type: "dir", bytes: 0, modifiedAt: "1970-01-01T00:00:00Z" },
  { path: "manifest.json", type: "file", bytes: 48_213, modifiedAt: "1970-01-01T00:00:00Z" },
  { path: "storage/local/0/0/abcd", type: "file", bytes: 20_480, modifiedAt: "2026-11-02T08:00:00Z" },
];

export const SCRUB: ScrubSummary = {
  type: "summary",
  verb: "scrub",
  all: false,
  seconds: 12.4,
  services: [
    { name: "amazon", files: 48_211, bytes: 30_000_000_000, filesRead: 499, bytesRead: 310_000_000, problems: 1 },
    { name: "local", files: 1_204, bytes: 700_000_000, filesRead: 500, bytesRead: 290_000_000, problems: 1 },
  ],
  point: FIRST,
  problems: [
    {
      service: "amazon",
      id: "48010",
      key: "d4v7u86scqh0cb3xlh1wtd6juynt",
      filename: "invoice.pdf",
      bytes: 18_204,
      reason: "missing",
      why: null,
      since: null,
      isNew: true,
      saved: "storage/amazon/0/46/d4v7u86scqh0cb3xlh1wtd6juynt",
    },
    {
      service: "local",
      id: "17",
      key: "0b3xlh1wtd6juyntd4v7u86scqhc",
      filename: "",
      bytes: 904,
      reason: "altered",
      why: null,
      since: "2026-10-02T02:30:00Z",
      isNew: false,
      saved: null,
    },
  ],
  findings: [],
};

export const VERIFY: VerifySummary = {
  type: "summary",
  verb: "verify",
  errors: 2,
  packs: 34,
  bytesRead: 570_425_344,
  points: 12,
  seconds: 3.4,
  problems: [
    {
      kind: "pack-damaged",
      name: "ab12",
      message: "pack ab12cd34 does not match its checksum",
      points: [FIRST, SECOND],
      continuous: ["the base of 2026-11-22T02:30:05.000000Z"],
    },
    { kind: "index-damaged", name: "cd34", message: "index cd34ef56 cannot be read", points: [], continuous: [] },
  ],
};

export const PLAN: RestorePlan = {
  type: "plan",
  verb: "restore",
  roles: { create: ["reporting", "support"], keep: ["chatwoot"] },
  point: SECOND,
  snapshot: SECOND,
  takenAt: "2026-11-23T16:18:50.000Z",
  installation: "acme",
  chatwoot: "4.15.1",
  isLive: false,
  steps: [
    { part: "database", what: "90 tables, 20,134 rows", target: "chatwoot_new on localhost:5432", bytes: 88_080_384 },
    { part: "storage", what: "300 uploaded files", target: "/srv/restored/storage", bytes: 1_288_490_188 },
    { part: "config", what: "3 files", target: "/srv/restored/config", bytes: 0 },
  ],
  estimate: { diskBytes: 160_432_128, freeBytes: 84_000_000_000, seconds: 95 },
  blockers: [],
  findings: [
    {
      kind: "point-misses-files",
      level: "note",
      message: "2 uploaded files were missing or damaged when the point was taken",
      hint: "'chatkeep show' names them; an older restore point may have them.",
    },
  ],
};

export const RESTORED: RestoreSummary = {
  type: "summary",
  verb: "restore",
  point: SECOND,
  database: { name: "chatwoot_new", previous: null, rows: 20_134 },
  storage: { blobs: 300, bytes: 1_288_490_188 },
  config: "/srv/restored/config",
  code: null,
  seconds: 31.4,
  findings: [],
  next: ["put the saved environment back", "start web, look at it, then start the worker"],
};

export const INIT: InitSummary = {
  type: "summary",
  verb: "init",
  config: "/etc/chatkeep/chatkeep.yaml",
  repository: "/var/backups/chatwoot",
  created: true,
  files: [
    "/etc/chatkeep/chatkeep.yaml",
    "/etc/chatkeep/primary.password",
    "/etc/chatkeep/chatkeep-recovery-kit.html",
    "/etc/chatkeep/chatkeep-recovery-kit.txt",
  ],
  kit: "/etc/chatkeep/chatkeep-recovery-kit.txt",
  kitPage: "/etc/chatkeep/chatkeep-recovery-kit.html",
  notes: [
    "the Compose project 'chatwoot' at /var/run/docker.sock, made by Compose 2.40.3",
    "storage 'local' is the folder /var/lib/docker/volumes/chatwoot_storage_data/_data",
  ],
  findings: [],
};

export const PRUNED: PruneSummary = {
  type: "summary",
  verb: "prune",
  dryRun: false,
  snapshots: 14,
  packs: { kept: 310, removed: 41, repacked: 7, unindexed: 1, written: 3 },
  bytes: { before: 6_012_954_214, freed: 734_003_200, copied: 41_943_040, unused: 104_857_600 },
  repository: "primary",
  seconds: 4.2,
};

const KEY = {
  key: FIRST,
  user: "root",
  host: "web1",
  created: "2026-11-20T17:00:00Z",
  current: true,
  fingerprint: "0d9c11aa-4f3a91c2",
};

export const KEYS: KeySummary = {
  type: "summary",
  verb: "key",
  action: "list",
  repository: "primary",
  repositoryId: "0d9c11aa".padEnd(64, "0"),
  keys: [KEY, { ...KEY, key: SECOND, user: "maria", host: "", current: false, fingerprint: "0d9c11aa-b07d55e1" }],
  damaged: [{ name: "12345678".padEnd(64, "0"), message: "the key file is not JSON" }],
  added: null,
  removed: null,
  staleKit: null,
  renewedKits: [],
  files: [],
  findings: [],
};

export const KIT: KitSummary = {
  type: "summary",
  verb: "kit",
  text: "/etc/chatkeep/chatkeep-recovery-kit.txt",
  page: "/etc/chatkeep/chatkeep-recovery-kit.html",
  withPassword: true,
  repositories: [
    { name: "primary", location: "/var/backups/chatkeep", fingerprint: "0d9c11aa-4f3a91c2" },
    { name: "offsite", location: "s3:https://s3.example.com/acme", fingerprint: null },
  ],
  findings: [],
};

export const REPAIRED: RepairSummary = {
  type: "summary",
  verb: "repair",
  what: "packs",
  repository: "primary",
  packs: 310,
  damaged: [
    { name: "b1".padEnd(64, "0"), message: "pack b1000000: it is gone", mended: true },
    {
      name: "c2".padEnd(64, "0"),
      message: "pack c2000000: it does not match its checksum (1 chunk of 9 damaged)",
      mended: false,
    },
  ],
  fromOther: 12,
  lost: [
    {
      kind: "chunk-missing",
      name: "d3".padEnd(64, "0"),
      message: "chunk d3000000 of 'invoice.pdf' in tree e4000000 is in no pack",
      points: [SECOND],
    },
  ],
  seconds: 61.5,
};

const FORGET_LINE: ForgetLine = {
  point: SECOND,
  snapshot: SECOND,
  takenAt: "2026-11-23T16:18:50.000Z",
  installation: INSTALLATION,
  tags: [],
  reasons: ["last 1 of 7", "daily 1 of 14"],
};

export const FORGET: ForgetSummary = {
  type: "summary",
  verb: "forget",
  repository: "primary",
  dryRun: false,
  kept: [
    FORGET_LINE,
    { ...FORGET_LINE, point: FIRST, takenAt: "2026-11-20T16:18:50.000Z", reasons: ["the newest proven"] },
    {
      ...FORGET_LINE,
      point: "0c".padEnd(64, "2"),
      takenAt: "2025-11-20T02:30:00.000Z",
      reasons: ["the oldest, yearly 2 of 3", "held: audit until 2027-01-01"],
    },
  ],
  forgotten: [{ ...FORGET_LINE, point: "d1".padEnd(64, "3"), takenAt: "2026-08-19T02:30:00.000Z", reasons: [] }],
  records: 1,
  seconds: 0.8,
  findings: [],
};

export const HOLDS: HoldSummary = {
  type: "summary",
  verb: "hold",
  action: "listed",
  repository: "primary",
  repositories: ["primary"],
  findings: [],
  changed: false,
  holds: [
    {
      point: SECOND,
      takenAt: "2026-11-23T16:18:50.000Z",
      name: "audit",
      reason: "for the auditors",
      until: "2027-01-01",
      inForce: true,
      at: "2026-11-23T16:30:00Z",
      by: "root@desk-1",
    },
    {
      point: FIRST,
      takenAt: null,
      name: "upgrade",
      reason: null,
      until: "2026-11-01",
      inForce: false,
      at: "2026-10-23T16:30:00Z",
      by: null,
    },
  ],
};

export const UNLOCK: UnlockSummary = {
  type: "summary",
  verb: "unlock",
  repository: "primary",
  removed: [
    {
      lock: "ab12".padEnd(64, "0"),
      host: "desk-1",
      user: "root",
      pid: 4711,
      since: "2026-11-23T14:00:00Z",
      exclusive: false,
      stale: true,
      damage: null,
    },
  ],
  left: [
    {
      lock: "cd34".padEnd(64, "0"),
      host: "desk-2",
      user: "",
      pid: 12,
      since: "2026-11-23T16:59:00Z",
      exclusive: true,
      stale: false,
      damage: null,
    },
    {
      lock: "ef56".padEnd(64, "0"),
      host: null,
      user: null,
      pid: null,
      since: null,
      exclusive: null,
      stale: false,
      damage: "locks/ef560000 does not match its checksum",
    },
  ],
};

export const EXPORTED: ExportSummary = {
  type: "summary",
  verb: "export",
  point: FIRST,
  takenAt: "2026-11-23T02:30:00Z",
  installation: "acme",
  repository: "primary",
  file: "/mnt/stick/acme.tar",
  bytes: 1_312_489_472,
  sha256: "9c1185a5c5e9fc54612808977ee8f548b2258d31".padEnd(64, "7"),
  folder: "chatkeep-4f3a91c2",
  packs: 81,
  wasBegun: false,
  passwordFile: "/root/acme.password",
  seconds: 41.2,
};

export const DATABASE_EXPORTED: DatabaseExportSummary = {
  type: "summary",
  verb: "export",
  point: FIRST,
  takenAt: "2026-11-23T02:30:00Z",
  installation: "acme",
  repository: "primary",
  format: "custom",
  file: "/mnt/stick/chatwoot.dump",
  bytes: 12_489_472,
  tables: 90,
  rows: 20_134,
  major: 15,
  seconds: 4.2,
  findings: [],
};

export const IMPORTED: ImportSummary = {
  type: "summary",
  verb: "import",
  file: "/mnt/stick/acme.tar",
  to: "primary",
  imported: [{ point: FIRST, snapshot: SECOND, takenAt: "2026-11-23T02:30:00Z" }],
  skipped: 0,
  failed: [],
  others: 1,
  added: { bytes: 1_312_400_000, packs: 81 },
  seconds: 30.4,
};
