/** The verbs that keep a repository tidy: retention, locks. */
import { Failure } from "../base/errors.ts";
import type { ForgetOptions, ForgetRequest } from "../job/forget.ts";
import type { ForgetSummary, LockLine, UnlockSummary } from "../job/summaries.ts";
import { DEFAULT_WINDOW, parseWindow } from "../policy/keep-window.ts";
import { isEmptyPolicy, type RetentionPolicy } from "../policy/retention.ts";
import type { Config, RetentionConfig } from "./config.ts";
import { PROGRAM } from "./program.ts";
import { openChosenRepository, type OpenedRepository } from "./session.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface ForgetFlags {
  /** Words for points; none means that the policy chooses. */
  points: readonly string[];
  /** Each rule that is given takes the place of the configured one. */
  keep: RetentionPolicy;
  /** How long any moment of whoever is meant can be brought back, in place of what is configured: `7d`. */
  window: string | undefined;
  /** Another installation's name or id. */
  installation: string | undefined;
  all: boolean;
}

/** Shows what would be forgotten and why the rest stays; changes nothing. */
export async function planForget(globals: Globals, flags: ForgetFlags, s: Surroundings): Promise<ForgetSummary> {
  const options = await forgetOptions(globals, flags, s);
  return await (await import("../job/forget.ts")).planForget(options);
}

export async function runForget(globals: Globals, flags: ForgetFlags, s: Surroundings): Promise<ForgetSummary> {
  const options = await forgetOptions(globals, flags, s);
  return await (await import("../job/forget.ts")).forget(options);
}

async function forgetOptions(globals: Globals, flags: ForgetFlags, s: Surroundings): Promise<ForgetOptions> {
  const opened = await openChosenRepository(globals, s);
  const request = toRequest(flags, opened);
  const { repository, name } = opened;
  return {
    repository,
    repositoryName: name,
    request,
    program: PROGRAM,
    clock: s.clock,
    progress: s.progress,
    signal: s.signal,
  };
}

function toRequest(flags: ForgetFlags, { config }: OpenedRepository): ForgetRequest {
  if (flags.points.length > 0) {
    return { by: "name", words: flags.points, installationId: config?.installation.id };
  }
  const policy = { ...policyOf(config?.retention), ...withoutUnset(flags.keep) };
  if (isEmptyPolicy(policy)) {
    throw new Failure("usage/invalid", "nothing says which restore points to keep", {
      hint: "Write 'retention: { daily: 14, weekly: 8, monthly: 12 }' into the configuration, or give --keep-daily 14 and the like.",
    });
  }
  const windowUs = parseWindow(flags.window ?? config?.retention?.window ?? DEFAULT_WINDOW);
  // How long another installation's is kept stands in its own configuration.
  const known = flags.window === undefined ? { windowOf: config?.installation.id ?? null } : {};
  const timeZone = timeZoneOf(config);
  return { by: "policy", policy, windowUs, ...known, timeZone, installation: whose(flags, config) };
}

function whose({ installation, all }: ForgetFlags, config: Config | undefined) {
  if (all) return "all";
  if (installation !== undefined) return { called: installation };
  if (config !== undefined) return { id: config.installation.id };
  throw new Failure("usage/invalid", "without a configuration it is not clear whose restore points are to go", {
    hint: "Name the installation with --installation NAME, or say --all.",
  });
}

function policyOf(config: RetentionConfig | undefined): RetentionPolicy {
  if (config === undefined) return {};
  const { last, hourly, daily, weekly, monthly, yearly, within, tags } = config;
  return {
    last,
    hourly,
    daily,
    weekly,
    monthly,
    yearly,
    within,
    tags,
    withinHourly: config["within-hourly"],
    withinDaily: config["within-daily"],
    withinWeekly: config["within-weekly"],
    withinMonthly: config["within-monthly"],
    withinYearly: config["within-yearly"],
  };
}

function withoutUnset(policy: RetentionPolicy): RetentionPolicy {
  return Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined));
}

/** The configured zone, else the machine's own. */
export function timeZoneOf(config: Config | undefined): string {
  return config?.schedule?.timezone ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Whose the locks are; changes nothing. */
export async function listLocks(globals: Globals, s: Surroundings): Promise<LockLine[]> {
  const { repository } = await openChosenRepository(globals, s);
  return await (await import("../job/unlock.ts")).listLocks(repository, s);
}

/** Removes stale locks, or exactly those that are named. */
export async function runUnlock(
  globals: Globals,
  flags: { which: "stale" | readonly string[] },
  s: Surroundings,
): Promise<UnlockSummary> {
  const { repository, name } = await openChosenRepository(globals, s);
  const which = flags.which === "stale" ? "stale" : new Set(flags.which);
  const options = { repository, repositoryName: name, which, clock: s.clock, signal: s.signal } as const;
  return await (await import("../job/unlock.ts")).unlock(options);
}
