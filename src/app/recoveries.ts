/** What bringing moments back took on this machine, kept beside what else is known of the installation. */
import { readFile } from "node:fs/promises";
import { formatMeasures, parseMeasures, type RecoveryMeasure, withMeasure } from "../job/recovery-pace.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { LoadedConfig } from "./config.ts";
import type { OpenedRepository } from "./session.ts";
import { findStateFolder, openStateFolder, recoveriesFile } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

/** The oldest first; none where nothing is configured, or none was made here. */
export async function readMeasures(
  loaded: Pick<LoadedConfig, "config" | "path"> | undefined,
  s: Surroundings,
): Promise<RecoveryMeasure[]> {
  if (loaded === undefined) return [];
  const file = recoveriesFile(await findStateFolder(loaded, s));
  return parseMeasures(await readFile(file, "utf8").catch(() => ""));
}

/** What lets nobody write it down keeps nobody from having what was brought back. */
export async function keepMeasure(
  { config, configPath: path }: Pick<OpenedRepository, "config" | "configPath">,
  measure: RecoveryMeasure,
  s: Surroundings,
): Promise<void> {
  if (config === undefined || path === undefined) return;
  try {
    const loaded = { config, path };
    const before = await readMeasures(loaded, s);
    const file = recoveriesFile(await openStateFolder(loaded, s));
    await replaceFile(file, formatMeasures(withMeasure(before, measure)), 0o600);
  } catch {
    s.progress.say("what the recovery took could not be written down");
  }
}
