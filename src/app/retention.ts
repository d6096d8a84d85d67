/** Backups and copies into repositories that are to be immutable: what is used stays locked. */
import { isFailure } from "../base/errors.ts";
import { type Finding, sortFindings } from "../base/findings.ts";
import { backup, type BackupOptions } from "../job/backup.ts";
import { assertRetention, extendRetention, retentionFinding } from "../job/retention.ts";
import type { BackupSummary, RetentionOutcome } from "../job/summaries.ts";
import type { Repository } from "../repo/repository.ts";
import type { Surroundings } from "./surroundings.ts";

/** A backup, after which the files of its repository are kept locked. */
export async function backupRetained(options: BackupOptions, s: Surroundings): Promise<BackupSummary> {
  await assertRetention(options.repository, s);
  const summary = await backup(options);
  const { outcome, findings } = await keepLocked(options.repository, options.repositoryName, s);
  return {
    ...summary,
    ...(outcome === undefined ? {} : { retention: outcome }),
    findings: sortFindings([...summary.findings, ...findings]),
  };
}

/** What goes wrong is a finding: what was written before is there. */
export async function keepLocked(
  repository: Repository,
  name: string,
  s: Surroundings,
): Promise<{ outcome?: RetentionOutcome | undefined; findings: Finding[] }> {
  try {
    return { outcome: await extendRetention(repository, s), findings: [] };
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || s.signal.aborted) throw error;
    return { findings: [retentionFinding(name, error)] };
  }
}
