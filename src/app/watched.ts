/** What a watch of the configured installation left on this machine. */
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { parse as parsePath, resolve } from "node:path";
import type { WatchStatus } from "../job/watch-book.ts";
import type { WatchFacts } from "../job/watch-findings.ts";
import { DEFAULT_WINDOW, parseWindow } from "../policy/keep-window.ts";
import { isAlive } from "../system/alive.ts";
import type { Config, LoadedConfig } from "./config.ts";
import { findStateFolder, watchFile } from "./state-folder.ts";
import type { Surroundings } from "./surroundings.ts";

export async function readWatch(loaded: Pick<LoadedConfig, "config" | "path">, s: Surroundings): Promise<WatchFacts> {
  const file = watchFile(await findStateFolder(loaded, s));
  const report = parse(await readFile(file, "utf8").catch(() => ""));
  return {
    report,
    // Numbers of processes are each machine's, and each container's, own.
    isAlive: report?.host === hostname() ? isAlive(report.pid) : undefined,
    isConfigured: loaded.config.watch !== undefined,
  };
}

/** Undefined for what no watch of this version wrote. */
function parse(text: string): WatchStatus | undefined {
  try {
    const value = JSON.parse(text) as Partial<WatchStatus>;
    const isWhole = value.schema === 1 && Array.isArray(value.repositories) && Array.isArray(value.findings);
    return isWhole && typeof value.at === "string" && typeof value.pid === "number"
      ? (value as WatchStatus)
      : undefined;
  } catch {
    return undefined;
  }
}

/** `retention.window` in milliseconds. */
export function windowMsOf(config: Config | undefined): number {
  return Number(parseWindow(config?.retention?.window ?? DEFAULT_WINDOW) / 1000n);
}

/**
 * Beside the metrics of the daily run, which are written as a whole once a day: `chatkeep.prom` → `chatkeep-watch.prom`. Undefined where
 * none are asked for.
 */
export function watchMetricsFile(config: Config, { cwd }: Pick<Surroundings, "cwd">): string | undefined {
  const path = config["metrics-file"];
  if (path === undefined) return undefined;
  const { dir, name, ext } = parsePath(path);
  return resolve(cwd, dir, `${name}-watch${ext}`);
}
