/**
 * Makes a restore point of a dump that pg_dump wrote, whenever that was. The dump is read to its end, loaded into a scratch
 * server by a role that may do nothing there, and backed up from there as an installation's own database would be: so
 * everything that a backup checks, it checks of the dump and of the files that came with it.
 */
import { basename } from "node:path";
import { type Clock, formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { shortId } from "../base/ids.ts";
import type { Progress } from "../base/progress.ts";
import { chooseDumped, lackingRows } from "../chatwoot/dumped.ts";
import { formatGoTime } from "../format/go-time.ts";
import type { Installation } from "../installation/installation.ts";
import type { ImportedEntry } from "../point/manifest.ts";
import { connect } from "../postgres/connect.ts";
import { type DumpFile, openDumpFile } from "../postgres/dump-file.ts";
import { majorOf } from "../postgres/dump-head.ts";
import { type LeftOut, loadDump } from "../postgres/dump-load.ts";
import { openDumpServer } from "../postgres/dump-server.ts";
import { type DumpedDatabase, type DumpSurvey, surveyDump } from "../postgres/dump-survey.ts";
import type { ScratchPlaces } from "../postgres/scratch.ts";
import { Repository } from "../repo/repository.ts";
import type { BackupOptions } from "./backup.ts";
import { lockToRead } from "./lock.ts";
import { PointReader } from "./point-reader.ts";
import { isImported, listPoints, type Point } from "./points.ts";
import type { DumpImportSummary } from "./plain-summaries.ts";
import type { BackupSummary } from "./summaries.ts";

export interface ImportDumpOptions {
  /** Absolute: a file, or a folder in pg_dump's directory format. */
  dump: string;
  /** Milliseconds since 1970: counts more than what the dump says. */
  madeAtMs: number | undefined;
  /** Where a scratch server may come from; only those that are thrown away are used. */
  scratch: ScratchPlaces;
  installation: Installation;
  /** What is worth telling of what came with the dump. */
  findings: readonly Finding[];
  hasStorage: boolean;
  hasEnvironment: boolean;
  /** Where the point goes. */
  repository: Repository;
  /** Makes the point of the database at an address. */
  backup: (made: Pick<BackupOptions, "address" | "imported" | "findings">) => Promise<BackupSummary>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** A database of this name is nobody's. */
const USUAL_NAME = "chatwoot_production";
/** Those of the server itself are there already. */
const TAKEN = new Set(["postgres", "template0", "template1"]);
/** What PostgreSQL's images, and most machines, order text by. */
const USUAL_LOCALE = { collate: "en_US.utf8", ctype: "en_US.utf8" };
/** Tables and their indexes take about so much more than their rows as text. */
const GROWTH = 2;

/**
 * @throws Failure `dump/unsuitable`, `dump/damaged`, `source/unreadable`, `program/missing` where no server fits; and as a
 * backup. Nothing that counts is in the repository then.
 */
export async function importDump(options: ImportDumpOptions): Promise<DumpImportSummary> {
  const { clock, progress, signal } = options;
  const startedMs = clock.monotonic();
  progress.stage("looking at the dump", { unit: "bytes" });
  const dump = await openDumpFile(options.dump, { signal });
  const onBytes = (bytes: number) => progress.advance(bytes);
  const survey = await surveyDump(dump.read({ signal }), { onBytes });
  const chosen = chooseDumped(survey.databases, options.dump);
  const imported = describe(dump, survey, chosen, options);
  progress.stage("making a scratch server");
  await using scratch = await openDumpServer({
    ...options.scratch,
    major: chosen.major ?? majorOf(dump.head?.serverVersion ?? survey.serverVersion),
    extensions: [...chosen.extensions],
    encoding: chosen.encoding ?? "UTF8",
    neededBytes: survey.bytes * GROWTH,
    database: nameOf(imported.database),
    signal,
  });
  progress.stage("loading the dump", { total: survey.bytes, unit: "bytes" });
  const leftOut = await load(dump, chosen.name, scratch, { onBytes, signal });
  const findings = [
    ...options.findings,
    ...lackingRows(chosen),
    ...leftOutFindings(leftOut),
    ...localeFindings(chosen),
  ];
  const made = await options.backup({ address: scratch.owner, imported, findings: sortFindings(findings) });
  const twin = made.point === null ? undefined : await twinOf(made.point, options);
  return {
    type: "summary",
    verb: "import",
    point: made.point ?? "",
    takenAt: imported.madeAt,
    to: made.repository,
    imported,
    others: survey.databases.filter((one) => one !== chosen && one.tables.size > 0).map(({ name }) => name ?? ""),
    server: scratch.server.where,
    database: { tables: made.database.tables, rows: made.database.rows },
    storage: { blobs: made.storage.blobs, bytes: made.storage.bytes, missing: made.storage.missing },
    added: made.added,
    copies: made.copies,
    seconds: (clock.monotonic() - startedMs) / 1000,
    findings: twin === undefined ? made.findings : [...made.findings, importedBefore(twin)],
  };
}

/** What of a point is the same whenever the same dump, files and environment are imported. */
const SAME = ["database/data", "database/schema.sql", "database/sequences.sql", "storage", "config"] as const;

/** An earlier import that holds just what this one holds. */
async function twinOf(made: string, options: ImportDumpOptions): Promise<Point | undefined> {
  // As it is now: what was written meanwhile is known to no index that was loaded before.
  const repository = new Repository(options.repository);
  await using lock = await lockToRead(repository, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  await repository.loadIndex({ signal });
  const { points } = await listPoints(repository, { signal });
  const own = points.find(({ id }) => id === made);
  if (own === undefined) return undefined;
  const contentOf = async (point: Point) => {
    const reader = new PointReader(repository, point, { signal });
    const nodes = await Promise.all(SAME.map(async (path) => await reader.find(path)));
    return JSON.stringify(nodes.map((node) => node?.subtree ?? node?.content ?? null));
  };
  const content = await contentOf(own);
  for (const point of points) {
    if (point === own || !isImported(point) || point.installationId !== own.installationId) continue;
    if ((await contentOf(point)) === content) return point;
  }
  return undefined;
}

function importedBefore({ id, takenAtMs }: Point): Finding {
  return {
    kind: "dump-imported-before",
    level: "note",
    message: `all that was imported is in restore point ${shortId(id)} of ${formatInstant(takenAtMs)} too, which was imported before`,
    hint: `Nothing of it is stored twice. One of the two is enough: 'chatkeep forget ${shortId(id)}' removes that one.`,
  };
}

async function load(
  dump: DumpFile,
  database: string | undefined,
  { owner, admin }: { owner: BackupOptions["address"]; admin: BackupOptions["address"] },
  { onBytes, signal }: { onBytes: (bytes: number) => void; signal: AbortSignal },
): Promise<LeftOut[]> {
  await using superuser = await connect(admin, { signal });
  await using session = await connect(owner, { signal });
  return await loadDump(dump.read({ signal }), { session, admin: superuser, database, onBytes });
}

function nameOf(database: string | null): string {
  return database === null || TAKEN.has(database) ? USUAL_NAME : database;
}

function describe(
  dump: DumpFile,
  survey: DumpSurvey,
  chosen: DumpedDatabase,
  options: ImportDumpOptions,
): ImportedEntry {
  const { head } = dump;
  const { ms, from } = timeOf(dump, survey, options);
  return {
    file: basename(dump.path),
    format: dump.format,
    packing: dump.packing ?? null,
    database: chosen.name ?? head?.database ?? null,
    serverVersion: head?.serverVersion ?? survey.serverVersion ?? null,
    clientVersion: head?.programVersion ?? survey.programVersion ?? null,
    madeAt: formatGoTime(BigInt(ms) * 1_000_000n),
    madeAtFrom: from,
    locale: chosen.locale ?? USUAL_LOCALE,
    hasStorage: options.hasStorage,
    hasEnvironment: options.hasEnvironment,
  };
}

/** Never later than now: a dump's own time may be of another zone. */
function timeOf(
  { head, writtenMs }: DumpFile,
  survey: DumpSurvey,
  { madeAtMs, clock }: ImportDumpOptions,
): { ms: number; from: ImportedEntry["madeAtFrom"] } {
  const now = clock.now();
  if (madeAtMs !== undefined) {
    if (madeAtMs <= now) return { ms: madeAtMs, from: "option" };
    throw new Failure("usage/invalid", "--made-at is in the future", {
      hint: "Name the time at which the dump was made.",
    });
  }
  const own = head?.madeAtMs ?? survey.madeAtMs;
  return own === undefined ? { ms: Math.min(writtenMs, now), from: "file" } : { ms: Math.min(own, now), from: "dump" };
}

function leftOutFindings(leftOut: readonly LeftOut[]): Finding[] {
  const [first] = leftOut;
  if (first === undefined) return [];
  const more = leftOut.length > 1 ? `; and ${leftOut.length - 1} more` : "";
  return [
    {
      kind: "dump-left-out",
      level: "warning",
      message: `the dump holds what only a superuser may make, which was left out: ${first.what} (${first.why})${more}`,
      hint: "A dump is loaded by a role that may do nothing else. Chatwoot has nothing of that kind: look at what it is, and make it by hand after a restore.",
    },
  ];
}

function localeFindings({ locale }: DumpedDatabase): Finding[] {
  if (locale !== undefined) return [];
  return [
    {
      kind: "dump-without-locale",
      level: "note",
      message: `the dump does not say how its database ordered text; ${USUAL_LOCALE.collate} is taken for it`,
      hint: "Nothing to do, unless names are to be ordered otherwise: then make the database before a restore, with the locale that it had.",
    },
  ];
}
