/** `schedule`: the daily run, written down where this machine runs things by itself. */
import { resolve } from "node:path";
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { ScheduleSummary } from "../job/schedule-summary.ts";
import { nextTime, parseCron } from "../schedule/cron.ts";
import { formatCronJob } from "../schedule/cron-job.ts";
import { findJob, formatCrontab, readCrontab, withJob, withoutJob, writeCrontab } from "../schedule/crontab.ts";
import { type DailyJob, unitName } from "../schedule/job.ts";
import { formatCompose } from "../schedule/manifests.ts";
import { toOnCalendar } from "../schedule/on-calendar.ts";
import { installUnits, ownUnits, readTimer, removeUnits, requireSystemd, type Systemd } from "../schedule/systemd.ts";
import { formatUnits } from "../schedule/units.ts";
import { loadConfig, type LoadedConfig } from "./config.ts";
import { timesOf } from "./due.ts";
import { VERSION } from "./program.ts";
import {
  composeOptions,
  lingerFindings,
  localPlaces,
  makePlaces,
  ownJob,
  systemdHere,
  variableFindings,
} from "./service-here.ts";
import { findStateFolder, readStatus, SYSTEM_STATE } from "./state-folder.ts";
import { timeZoneOf } from "./tidy.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

export interface ScheduleFlags {
  action: "show" | "install" | "remove";
  crontab: boolean;
  print: "cronjob" | "compose" | undefined;
  image: string | undefined;
}

interface Here {
  loaded: LoadedConfig;
  job: DailyJob;
  systemd: Systemd;
  s: Surroundings;
}

export async function runSchedule(globals: Globals, flags: ScheduleFlags, s: Surroundings): Promise<ScheduleSummary> {
  const loaded = await loadConfig(globals, s);
  const here: Here = { loaded, job: await jobOf(loaded, s), systemd: systemdHere(s), s };
  if (flags.print !== undefined) return await print(here, flags.print, flags.image);
  if (flags.action === "install") return await (flags.crontab ? installCrontab(here) : installTimer(here));
  if (flags.action === "remove") return await remove(here);
  return await show(here);
}

async function jobOf(loaded: LoadedConfig, s: Surroundings): Promise<DailyJob> {
  const { config } = loaded;
  return { ...(await ownJob(loaded, s)), times: parseCron(timesOf(config), timeZoneOf(config)) };
}

async function summaryOf({ loaded, job, s }: Here, action: ScheduleSummary["action"]): Promise<ScheduleSummary> {
  const status = await readStatus(await findStateFolder(loaded, s));
  const { text, timeZone } = job.times;
  const last = status?.lastRun;
  return {
    type: "summary",
    verb: "schedule",
    action,
    by: null,
    times: text,
    timeZone,
    calendar: toOnCalendar(job.times),
    installed: [],
    removed: [],
    manifest: null,
    next: null,
    lastRun:
      last === undefined
        ? null
        : { startedAt: last.startedAt, endedAt: last.endedAt, outcome: last.outcome, exit: last.exit },
    lastSuccess: status?.lastSuccess ?? null,
    findings: [],
  };
}

async function print(here: Here, kind: "cronjob" | "compose", image = `chatkeep:${VERSION}`): Promise<ScheduleSummary> {
  const { loaded, job, s } = here;
  if (kind === "cronjob") {
    // Of the pod, whatever this machine has.
    const stateDir = resolve(s.cwd, loaded.config["state-dir"] ?? SYSTEM_STATE);
    const local = localPlaces(loaded.config, s);
    const manifest = formatCronJob(job, { image, stateDir, local });
    return { ...(await summaryOf(here, "print")), manifest, findings: local.map(notInPod) };
  }
  const manifest = formatCompose(job, { image, ...(await composeOptions(loaded, s)) });
  return { ...(await summaryOf(here, "print")), manifest };
}

/** A repository that a pod would not have. */
export function notInPod({ name, path }: { name: string; path: string }): Finding {
  return {
    kind: "repository-not-in-pod",
    level: "warning",
    subject: name,
    message: `the repository '${name}' lies in '${path}', a folder of this machine that a pod does not have`,
    hint: "Mount a claim there, under 'volumes' and 'volumeMounts' of what is printed, or name another place in the configuration.",
  };
}

async function installTimer(here: Here): Promise<ScheduleSummary> {
  const { job, systemd, s } = here;
  const { id } = job.installation;
  await requireSystemd(systemd, s);
  await makePlaces(here);
  const installed = await installUnits(systemd, formatUnits(job, systemd.scope), id, s);
  // Both would run it twice.
  const removed = await dropCrontab(id, s);
  const { nextMs } = await readTimer(systemd, unitName(job), s);
  return {
    ...(await summaryOf(here, "install")),
    by: systemd.scope === "system" ? "systemd" : "systemd user",
    installed,
    removed,
    next: nextMs === undefined ? null : formatInstant(nextMs),
    findings: [...(await lingerFindings(systemd, "timer")), ...variableFindings(here)],
  };
}

async function installCrontab(here: Here): Promise<ScheduleSummary> {
  const { job, systemd, s } = here;
  const removed = await removeUnits(systemd, job.installation.id, s);
  await writeCrontab(withJob(await crontabOf(s), job), s);
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const isOther = job.times.timeZone !== own;
  return {
    ...(await summaryOf(here, "install")),
    by: "crontab",
    installed: formatCrontab(job).slice(1),
    removed,
    next: formatInstant(nextTime({ ...job.times, timeZone: own }, s.clock.now())),
    findings: [...(isOther ? [zoneFinding(own, job)] : []), ...variableFindings(here)],
  };
}

function zoneFinding(own: string, { times }: DailyJob): Finding {
  return {
    kind: "crontab-zone",
    level: "warning",
    message: `cron goes by this machine's time zone (${own}), and schedule.timezone is ${times.timeZone}`,
    hint: "It runs at those hours of this machine. Change schedule.backup, or install a systemd timer, which knows zones.",
  };
}

/** @throws Failure `program/missing` with what else there is. */
async function crontabOf(s: Surroundings): Promise<string> {
  try {
    return await readCrontab(s);
  } catch (cause) {
    if (!isFailure(cause, "program/missing")) throw cause;
    throw new Failure("schedule/unsuitable", "cron is not installed on this machine", {
      hint: "Install it (Debian: apt-get install cron), or use 'chatkeep schedule install' where systemd runs, or --print for a container.",
      cause,
    });
  }
}

/** The line that was taken out of the crontab, if there was one; where there is no cron there is none. */
async function dropCrontab(installationId: string, s: Surroundings): Promise<string[]> {
  const table = await readCrontab(s).catch((error: unknown) => {
    if (isFailure(error)) return "";
    throw error;
  });
  const line = findJob(table, installationId);
  if (line === undefined) return [];
  await writeCrontab(withoutJob(table, installationId), s);
  return [line];
}

async function remove(here: Here): Promise<ScheduleSummary> {
  const { job, systemd, s } = here;
  const { id } = job.installation;
  const removed = [...(await removeUnits(systemd, id, s)), ...(await dropCrontab(id, s))];
  return { ...(await summaryOf(here, "remove")), removed };
}

async function show(here: Here): Promise<ScheduleSummary> {
  const { job, systemd, s } = here;
  const { id } = job.installation;
  const summary = await summaryOf(here, "show");
  const units = await ownUnits(systemd.folder, id);
  if (units.length > 0) return { ...summary, ...(await showTimer(here, units)) };
  const line = await readCrontab(s).then(
    (table) => findJob(table, id),
    () => undefined,
  );
  if (line !== undefined) {
    const timeZone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
    const next = formatInstant(nextTime({ ...job.times, timeZone }, s.clock.now()));
    return { ...summary, by: "crontab", installed: [line], next, findings: staleLine(line, job) };
  }
  return { ...summary, findings: [NOT_INSTALLED] };
}

const NOT_INSTALLED: Finding = {
  kind: "not-scheduled",
  level: "warning",
  message: "no daily run of this installation is installed for this user",
  hint: "Run 'chatkeep schedule install'. A CronJob, a Compose service or another user's timer is not seen from here.",
};

async function showTimer({ job, systemd, s }: Here, units: string[]): Promise<Partial<ScheduleSummary>> {
  const by = systemd.scope === "system" ? "systemd" : "systemd user";
  const { name, service, timer } = formatUnits(job, systemd.scope);
  const { isEnabled, nextMs } = await readTimer(systemd, name, s);
  const findings: Finding[] = [];
  if (!isEnabled) {
    findings.push({
      kind: "timer-off",
      level: "alarm",
      message: `the timer '${name}.timer' is there and is not started: nothing runs by itself`,
      hint: "Run 'chatkeep schedule install' again; 'systemctl status' says more.",
    });
  }
  if (!(await isSame(units, [service, timer]))) findings.push(STALE);
  return { by, installed: units, next: nextMs === undefined ? null : formatInstant(nextMs), findings };
}

const STALE: Finding = {
  kind: "schedule-stale",
  level: "warning",
  message: "what is installed is not what the configuration, or this Chatkeep, would install now",
  hint: "Run 'chatkeep schedule install' again.",
};

async function isSame(paths: readonly string[], texts: readonly string[]): Promise<boolean> {
  const { readFile } = await import("node:fs/promises");
  const there = await Promise.all(paths.map(async (path) => await readFile(path, "utf8").catch(() => "")));
  return there.toSorted().join("\0") === texts.toSorted().join("\0");
}

function staleLine(line: string, job: DailyJob): Finding[] {
  return formatCrontab(job).includes(line) ? [] : [STALE];
}
