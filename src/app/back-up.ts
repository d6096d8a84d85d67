/** A backup as it is asked for: into the repository that takes it, and from there into the others. */
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { BackupOptions } from "../job/backup.ts";
import { backupDiskFindings } from "../job/disks.ts";
import type { BackupSummary } from "../job/summaries.ts";
import { withoutTag } from "../point/layout.ts";
import { fallLimitsOf } from "./alarms.ts";
import { loadConfig } from "./config.ts";
import { openInstallation, standbyAddress } from "./installation.ts";
import { PROGRAM } from "./program.ts";
import { findingsOfRestores } from "./restore-home.ts";
import { isRefusing, openAnsweringRepository, type OpenedRepository, type PassedOver } from "./session.ts";
import { storageSettings } from "./storage.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface BackupFlags {
  full: boolean;
  /** Reads the configured standby; without one, the database must be a standby itself. */
  fromStandby?: boolean;
  tags: readonly string[];
  dryRun: boolean;
}

export async function runBackup(globals: Globals, flags: BackupFlags, s: Surroundings): Promise<BackupSummary> {
  for (const tag of flags.tags) {
    if (!/^[^,=\s]{1,64}$/.test(tag)) {
      throw new Failure("usage/invalid", `'${tag}' cannot be a tag`, {
        hint: "A tag has no comma, no '=', no white space and at most 64 characters.",
      });
    }
  }
  if (flags.dryRun) {
    const { options } = await prepareBackup(globals, flags, [], s);
    return await (await import("../job/plan-backup.ts")).planBackup(options);
  }
  const { summary, opened } = await backUpToNext(globals, flags, s);
  // A repository that is named is written to, and no other.
  if (globals.repository !== undefined) return summary;
  const away = new Set(opened.passedOver.map((passed) => passed.name));
  return await (await import("./copies.ts")).copyToOthers(summary, { written: opened, away }, globals, s);
}

/** Into the first repository; where that does not take it, before or during the run, all over again into the next. */
async function backUpToNext(globals: Globals, flags: BackupFlags, s: Surroundings) {
  const { backupRetained } = await import("./retention.ts");
  let refusing: PassedOver[] = [];
  for (;;) {
    const { options, opened } = await prepareBackup(globals, flags, refusing, s);
    try {
      return { summary: await backupRetained(options, s), opened };
    } catch (error) {
      const isLast = opened.config?.repositories.at(-1)?.name === opened.name;
      if (globals.repository !== undefined || s.signal.aborted || !isRefusing(error)) throw error;
      refusing = [...opened.passedOver, { name: opened.name, failure: error, isRefusing: true }];
      if (!isLast)
        s.progress.say(`repository '${opened.name}' cannot be written to (${error.message}): trying the next`);
    }
  }
}

/** @param refusing Repositories that were tried already. */
async function prepareBackup(
  globals: Globals,
  flags: BackupFlags,
  refusing: readonly PassedOver[],
  s: Surroundings,
): Promise<{ options: BackupOptions; opened: OpenedRepository & { passedOver: PassedOver[] } }> {
  const loaded = await loadConfig(globals, s);
  const { config, path } = loaded;
  // Deriving the key takes half a second of another thread: meanwhile the installation is looked at.
  const [found, standby, opened, settings] = await Promise.all([
    openInstallation(config.installation, s, config.database),
    flags.fromStandby === true ? standbyAddress(config.database, s) : undefined,
    openAnsweringRepository(globals, s, refusing),
    storageSettings(config, s),
  ]);
  const { installation, findings } = found;
  // What is half restored is saved all the same: while it waits for somebody, people may be writing.
  const restores = await findingsOfRestores(loaded, s);
  const disks = await backupDiskFindings(config.repositories, installation, () => found.address(), s);
  const { id, name } = config.installation;
  const options = {
    repository: opened.repository,
    repositoryName: opened.name,
    installation,
    identity: { id, name },
    address: standby ?? found.address(),
    fromStandby: flags.fromStandby === true,
    findings: [
      ...findings,
      ...restores,
      ...disks,
      ...opened.passedOver.map((passed) => writtenElsewhere(passed, opened.name)),
    ],
    tags: [...flags.tags, ...opened.passedOver.map((passed) => withoutTag(passed.name))],
    full: flags.full,
    ownConfig: path,
    storageSettings: settings,
    program: PROGRAM,
    workers: config.database?.jobs,
    maxRate: toBytes(config.database?.["max-rate"]),
    fallLimits: fallLimitsOf(config.alarms),
    // A repository that is named is written to, and no other is asked anything.
    others:
      globals.repository === undefined
        ? async () => await (await import("./copies.ts")).listOthers(opened, globals, s)
        : undefined,
    fullEveryMs: Number.parseInt(config.database?.["full-every"] ?? "7d", 10) * 24 * 3_600_000,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  };
  return { options, opened };
}

function toBytes(kibibytes: number | undefined): number | undefined {
  return kibibytes === undefined ? undefined : kibibytes * 1024;
}

function writtenElsewhere({ name, failure, isRefusing: wasOpened = false }: PassedOver, written: string): Finding {
  // To make a new one where a disk is not mounted would be the wrong advice.
  const isMissing = failure.code === "repo/missing";
  const why = isMissing ? "Is its disk mounted, and the location right?" : (failure.hint ?? "See why.");
  const copying = `'chatkeep copy --repository ${written} --to ${name}'`;
  const later = wasOpened
    ? `The next backup that can write to it brings it what it lacks, as ${copying} does; until then '--repository ${written}' has the new point.`
    : `The next backup that reaches it brings it what it lacks; ${copying} does now.`;
  return {
    kind: "repository-away",
    level: "alarm",
    message: `repository '${name}' ${wasOpened ? "cannot be written to" : "does not answer"}, so the restore point was made in '${written}': ${failure.message}`,
    hint: `${why} ${later}`,
  };
}
