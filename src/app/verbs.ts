/**
 * The verbs as the doors call them: configuration in, summary out. Each loads what it needs when it is called, so that
 * looking at a list does not wait for all that a backup needs.
 */
import { resolve } from "node:path";
import { Failure } from "../base/errors.ts";
import { type PointList, resolvePoint } from "../job/points.ts";
import type { CloneChoice, Part, RestoreOptions } from "../job/restore.ts";
import { parseDatabaseUrl, type ServerAddress } from "../postgres/address.ts";
import type {
  BackupSummary,
  CopySummary,
  DatabaseExportSummary,
  DoctorSummary,
  DrillSummary,
  DumpFormat,
  ExportSummary,
  ImportSummary,
  InitSummary,
  KeySummary,
  KitSummary,
  ListedEntry,
  ListSummary,
  RestorePlan,
  RestoreSummary,
  RollbackPlan,
  RollbackSummary,
  ShowSummary,
  VerifySummary,
} from "../job/summaries.ts";
import type { DumpImportSummary, PlainExportSummary } from "../job/plain-summaries.ts";
import type { RunSummary } from "../job/run-summary.ts";
import type { NotifySummary, ScheduleSummary } from "../job/schedule-summary.ts";
import type { MomentsSummary } from "../job/commits-summary.ts";
import type { StatsSummary } from "../job/stats-summary.ts";
import type { StatusSummary } from "../job/status-summary.ts";
import type { ScrubSummary } from "../job/scrub-summary.ts";
import { findConfig, loadConfig } from "./config.ts";
import type { BackupFlags } from "./back-up.ts";
import type { CopyFlags } from "./copies.ts";
import type { DrillFlags } from "./drills.ts";
import type { DumpImportFlags } from "./import-dump.ts";
import type { MomentsFlags } from "./find-moments.ts";
import type { InitFlags } from "./init.ts";
import type { ExportFlags, ImportFlags } from "./portable.ts";
import type { KeyFlags } from "./keys.ts";
import type { KitFlags } from "./kit.ts";
import { openInstallation, withOwnPassword } from "./installation.ts";
import type { ScheduleFlags } from "./schedule.ts";
import { rowChoice } from "./row-flags.ts";
import {
  type ChosenPlan,
  type ChosenPoint,
  findSnapshot,
  chosenPlan,
  openPoint,
  readingPoint,
  settleWord,
  whereChosen,
} from "./opened-point.ts";
import { ofChoice } from "./repository-findings.ts";
import { openFor } from "./repository-for.ts";
import { openChosenRepository, openToRead } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";
import type { DoctorFlags } from "./doctor.ts";
import type { WatchFlags } from "./watch.ts";
import type { WatchServiceFlags } from "./watch-install.ts";
import type { WatchServiceSummary } from "../job/watch-service-summary.ts";

export async function runInit(globals: Globals, flags: InitFlags, s: Surroundings): Promise<InitSummary> {
  if (flags.add !== undefined) return await (await import("./init-add.ts")).addRepository(globals, flags.add, flags, s);
  return await (await import("./init.ts")).runInit(globals, flags, s);
}

export async function runKey(
  globals: Globals,
  action: KeySummary["action"],
  flags: KeyFlags,
  s: Surroundings,
): Promise<KeySummary> {
  return await (await import("./keys.ts")).runKey(globals, action, flags, s);
}

export async function runKit(globals: Globals, flags: KitFlags, s: Surroundings): Promise<KitSummary> {
  return await (await import("./kit.ts")).runKit(globals, flags, s);
}

export async function runStats(globals: Globals, flags: { all: boolean }, s: Surroundings): Promise<StatsSummary> {
  const { repository, name, config } = await openToRead(globals, s);
  return await (
    await import("../job/stats.ts")
  ).stats({
    repository,
    repositoryName: name,
    installationId: flags.all ? undefined : config?.installation.id,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  });
}

export async function runBackup(globals: Globals, flags: BackupFlags, s: Surroundings): Promise<BackupSummary> {
  return await (await import("./back-up.ts")).runBackup(globals, flags, s);
}

export async function runDay(globals: Globals, s: Surroundings): Promise<RunSummary> {
  return await (await import("./run.ts")).runDay(globals, s);
}

export async function runSchedule(globals: Globals, flags: ScheduleFlags, s: Surroundings): Promise<ScheduleSummary> {
  return await (await import("./schedule.ts")).runSchedule(globals, flags, s);
}

export async function runNotify(globals: Globals, flags: { test: boolean }, s: Surroundings): Promise<NotifySummary> {
  return await (await import("./notices.ts")).runNotify(globals, flags, s);
}

export async function runCopy(globals: Globals, flags: CopyFlags, s: Surroundings): Promise<CopySummary> {
  return await (await import("./copies.ts")).runCopy(globals, flags, s);
}

export async function runExport(globals: Globals, flags: ExportFlags, s: Surroundings): Promise<ExportSummary> {
  return await (await import("./portable.ts")).runExport(globals, flags, s);
}

export async function runDatabaseExport(
  globals: Globals,
  flags: { point: string; file: string; format: DumpFormat },
  s: Surroundings,
): Promise<DatabaseExportSummary> {
  return await (await import("./portable.ts")).runDatabaseExport(globals, flags, s);
}

export async function runPlainExport(
  globals: Globals,
  flags: { point: string; folder: string },
  s: Surroundings,
): Promise<PlainExportSummary> {
  return await (await import("./portable.ts")).runPlainExport(globals, flags, s);
}

export async function runImport(globals: Globals, flags: ImportFlags, s: Surroundings): Promise<ImportSummary> {
  return await (await import("./portable.ts")).runImport(globals, flags, s);
}

export async function runDumpImport(
  globals: Globals,
  flags: DumpImportFlags,
  s: Surroundings,
): Promise<DumpImportSummary> {
  return await (await import("./import-dump.ts")).runDumpImport(globals, flags, s);
}

export async function runList(globals: Globals, flags: { all: boolean }, s: Surroundings): Promise<ListSummary> {
  const { repository, name, config, configPath: path } = await openToRead(globals, s);
  await repository.loadIndex({ signal: s.signal });
  const { listVerb } = await import("../job/look.ts");
  const { readMeasures } = await import("./recoveries.ts");
  const measures = await readMeasures(config === undefined || path === undefined ? undefined : { config, path }, s);
  const installationId = flags.all ? undefined : config?.installation.id;
  const summary = await listVerb(repository, name, installationId, { clock: s.clock, signal: s.signal, measures });
  const others = globals.repository === undefined ? (config?.repositories ?? []) : [];
  const otherRepositories = others.map((one) => one.name).filter((one) => one !== name);
  return otherRepositories.length === 0 ? summary : { ...summary, otherRepositories };
}

export async function runStatus(globals: Globals, s: Surroundings): Promise<StatusSummary> {
  return await (await import("./status.ts")).runStatus(globals, s);
}

export async function runShow(globals: Globals, point: string, s: Surroundings): Promise<ShowSummary> {
  const opened = await openPoint(globals, point, s);
  const { showVerb } = await import("../job/look.ts");
  return await readingPoint(opened, s, async () => {
    return await showVerb(opened.reader, { clock: s.clock, signal: s.signal });
  });
}

export async function runLs(
  globals: Globals,
  point: string,
  path: string | undefined,
  s: Surroundings,
): Promise<ListedEntry[]> {
  const opened = await openPoint(globals, point, s);
  const { lsVerb } = await import("../job/look.ts");
  return await readingPoint(opened, s, async () => await lsVerb(opened.reader, path ?? ""));
}

export async function runDump(
  globals: Globals,
  point: string,
  path: string,
  write: (bytes: Uint8Array) => Promise<void>,
  s: Surroundings,
): Promise<void> {
  const opened = await openPoint(globals, point, s);
  const { dumpVerb } = await import("../job/look.ts");
  await readingPoint(opened, s, async () => await dumpVerb(opened.reader, path, write));
}

export async function runVerify(
  globals: Globals,
  flags: { readData?: string | undefined },
  s: Surroundings,
): Promise<VerifySummary> {
  // What the place has is to be judged, not what was kept of it.
  const { repository } = await openChosenRepository(globals, { ...s, isCached: false });
  return await (
    await import("../job/verify.ts")
  ).verify({ repository, readData: flags.readData, clock: s.clock, progress: s.progress, signal: s.signal });
}

export interface RestoreFlags {
  to?: string | undefined;
  databaseUrl?: string | undefined;
  only?: readonly string[] | undefined;
  withRoles?: boolean;
  /** Tables whose rows are restored, and no others. */
  tables?: readonly string[] | undefined;
  /** No rows at all. */
  schemaOnly?: boolean | undefined;
  clone?: CloneChoice | undefined;
}

async function restoreOptions(globals: Globals, flags: RestoreFlags, s: Surroundings): Promise<RestoreOptions> {
  const parts = parseParts(flags);
  const rows = rowChoice(flags, parts);
  // Alone: with anything that goes elsewhere, a forgotten --database-url must not reach for the live database.
  const isLive = flags.databaseUrl === undefined && flags.to === undefined && flags.only?.join() === "database";
  if (flags.databaseUrl !== undefined) s.hide([flags.databaseUrl]);
  const named = await namedDatabase(globals, flags.databaseUrl, s);
  const address = isLive ? await liveAddress(globals, s) : named;
  if (address?.password !== undefined) s.hide([address.password]);
  if (address === undefined && flags.only?.includes("database") === true) {
    throw new Failure("usage/invalid", "restoring the database needs --database-url", {
      hint: "Name a new or empty database: --database-url postgresql://user@host/chatwoot_restored. '--only database' alone puts it in the place of Chatwoot's own.",
    });
  }
  const homeless = flags.only === undefined ? undefined : parts.find((part) => part !== "database");
  if (homeless !== undefined && flags.to === undefined) {
    throw new Failure("usage/invalid", `restoring ${homeless} needs --to`, {
      hint: "Name a new or empty folder: --to /srv/restored.",
    });
  }
  if (flags.to === undefined && address === undefined) {
    throw new Failure(
      "usage/invalid",
      "say where to restore to: --to DIR for files, --database-url URL for the database",
      {
        hint: "Both must be new or empty. '--only database' alone puts the database in the place of Chatwoot's own, which is kept.",
      },
    );
  }
  return {
    database: address,
    isLive,
    rows,
    to: flags.to === undefined ? undefined : resolve(s.cwd, flags.to),
    parts,
    isNamed: flags.only !== undefined,
    withRoles: flags.withRoles === true,
    clone: flags.clone,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  };
}

async function namedDatabase(
  globals: Globals,
  url: string | undefined,
  s: Surroundings,
): Promise<ServerAddress | undefined> {
  if (url === undefined) return undefined;
  return await withOwnPassword(parseDatabaseUrl(url), (await findConfig(globals, s))?.config, s);
}

/** The database that the configured installation's application uses. */
async function liveAddress(globals: Globals, s: Surroundings): Promise<ServerAddress> {
  const { config } = await loadConfig(globals, s);
  return (await openInstallation(config.installation, s, config.database)).address();
}

export async function planRollback(globals: Globals, name: string | undefined, s: Surroundings): Promise<RollbackPlan> {
  const { planRollback: plan } = await import("../job/rollback.ts");
  return await plan(await liveAddress(globals, s), name, s);
}

export async function runRollback(globals: Globals, plan: RollbackPlan, s: Surroundings): Promise<RollbackSummary> {
  const { rollback } = await import("../job/rollback.ts");
  return await rollback(await liveAddress(globals, s), plan, s);
}

const PARTS: readonly Part[] = ["database", "storage", "config", "code"];

function parseParts(flags: RestoreFlags): Part[] {
  if (flags.only === undefined)
    return PARTS.filter((part) => (part === "database" ? flags.databaseUrl !== undefined : flags.to !== undefined));
  return flags.only.map((word) => {
    const part = PARTS.find((known) => known === word);
    if (part !== undefined) return part;
    throw new Failure("usage/invalid", `'${word}' is no part of a restore point`, {
      hint: `The parts are ${PARTS.join(", ")}.`,
    });
  });
}

export async function planRestore(
  globals: Globals,
  point: string,
  flags: RestoreFlags,
  s: Surroundings,
): Promise<ChosenPlan<RestorePlan>> {
  const options = await restoreOptions(globals, flags, s);
  if (options.isLive) await (await import("./restore-whole.ts")).refuseBesideUnfinished(globals, s);
  const opened = await openPoint(globals, point, s);
  const restoring = await import("../job/restore.ts");
  const known = opened.findings ?? [];
  const plan = await readingPoint(
    opened,
    s,
    async () => await restoring.planRestore(opened.reader, { ...options, known }),
  );
  return chosenPlan(plan, opened);
}

/** @param point A word, or the very snapshot that was shown and confirmed. */
export async function runRestore(
  globals: Globals,
  point: string | ChosenPoint,
  flags: RestoreFlags,
  s: Surroundings,
): Promise<RestoreSummary> {
  const options = await restoreOptions(globals, flags, s);
  const opened =
    typeof point === "string" ? await openFor(globals, [point], s) : await openToRead(whereChosen(globals, point), s);
  const { repository, config } = opened;
  const word = typeof point === "string" ? await settleWord(opened, point, s) : undefined;
  const choose = (list: PointList) =>
    typeof point === "string"
      ? resolvePoint(list, word ?? point, config?.installation.id)
      : findSnapshot(list, point.snapshot);
  const known = typeof point === "string" ? opened.findings : ofChoice(point.findings ?? []);
  const isConfigured = config !== undefined;
  const { restore } = await import("../job/restore.ts");
  return await restore({ repository, choose }, { ...options, known: known ?? [], isConfigured });
}

export async function runDrill(
  globals: Globals,
  point: string | undefined,
  flags: DrillFlags,
  s: Surroundings,
): Promise<DrillSummary> {
  return await (await import("./drills.ts")).runDrill(globals, point, flags, s);
}

/** Until it is ended. */
export async function runWatch(globals: Globals, flags: WatchFlags, s: Surroundings): Promise<void> {
  await (await import("./watch.ts")).runWatch(globals, flags, s);
}

/** Installs, removes or prints what keeps {@link runWatch} going. */
export async function runWatchService(
  globals: Globals,
  flags: WatchServiceFlags,
  s: Surroundings,
): Promise<WatchServiceSummary> {
  return await (await import("./watch-install.ts")).runWatchService(globals, flags, s);
}

export async function runScrub(globals: Globals, flags: { all: boolean }, s: Surroundings): Promise<ScrubSummary> {
  return await (await import("./scrub.ts")).runScrub(globals, flags, s);
}

export async function runDoctor(globals: Globals, flags: DoctorFlags, s: Surroundings): Promise<DoctorSummary> {
  return await (await import("./doctor.ts")).runDoctor(globals, s, flags);
}

export async function runMoments(globals: Globals, flags: MomentsFlags, s: Surroundings): Promise<MomentsSummary> {
  return await (await import("./find-moments.ts")).findMoments(globals, flags, s);
}
