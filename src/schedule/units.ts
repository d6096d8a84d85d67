/** The systemd units of the daily run, by systemd.service(5), systemd.exec(5) and systemd.timer(5). */
import { dirname, join } from "node:path";
import { DELAY_MINUTES, type DailyJob, type Job, markerOf, MEMORY, NICE, unitName, type WatchJob } from "./job.ts";
import { toOnCalendar } from "./on-calendar.ts";

export interface Units {
  /** Without `.service` and `.timer`. */
  name: string;
  service: string;
  timer: string;
}

/** For the machine, run by root; or for one user, whose manager cannot restrict as much. */
export type Scope = "system" | "user";

/** Seconds. */
const TIME_TO_END = 120;

export function formatUnits(job: DailyJob, scope: Scope): Units {
  return { name: unitName(job), service: formatService(job, scope), timer: formatTimer(job) };
}

function formatService(job: DailyJob, scope: Scope): string {
  const { installation, command, config } = job;
  const call = [...command, "--config", config, "--json", "--quiet", "run"].map(quoteArgument).join(" ");
  return text([
    markerOf(installation.id),
    "[Unit]",
    `Description=Chatkeep: daily backup of ${plain(installation.name)}`,
    ...afterNetwork(scope),
    "",
    "[Service]",
    "Type=oneshot",
    `ExecStart=${call}`,
    "# 3: done, with findings that somebody must look at.",
    "SuccessExitStatus=3",
    "# A first backup may take days.",
    "TimeoutStartSec=infinity",
    ...surroundings(config, scope),
    "# Chatwoot comes first.",
    `Nice=${NICE}`,
    "IOSchedulingClass=idle",
    "CPUWeight=20",
    "",
    "NoNewPrivileges=yes",
    ...(scope === "system" ? restrictions(job) : []),
  ]);
}

/** A name, and the whole of the unit. */
export interface ServiceUnit {
  name: string;
  service: string;
}

/** What runs for good: it is started anew whatever ended it, and ends cleanly when it is told to. */
export function formatWatchUnit(job: WatchJob, scope: Scope): ServiceUnit {
  const { installation, command, config, options } = job;
  const call = [...command, "--config", config, ...options.program, "--json", "--quiet", "watch", ...options.watch];
  const service = text([
    markerOf(installation.id, "watch"),
    "[Unit]",
    `Description=Chatkeep: continuous protection of ${plain(installation.name)}`,
    ...afterNetwork(scope),
    "# However often it ends: a database that is away for a night comes back.",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "Type=exec",
    `ExecStart=${call.map(quoteArgument).join(" ")}`,
    "Restart=always",
    "RestartSec=10",
    "# 130: told to end, and ended cleanly.",
    "SuccessExitStatus=130",
    "# What came by then is stored first.",
    `TimeoutStopSec=${TIME_TO_END}`,
    ...surroundings(config, scope),
    "# Chatwoot comes first. Not idle: a disk that is busy for an hour would hold the log up for an hour.",
    `Nice=${NICE}`,
    "IOSchedulingClass=best-effort",
    "IOSchedulingPriority=7",
    "CPUWeight=20",
    "",
    "NoNewPrivileges=yes",
    ...(scope === "system" ? restrictions(job) : []),
    "",
    "[Install]",
    `WantedBy=${scope === "system" ? "multi-user.target" : "default.target"}`,
  ]);
  return { name: unitName(job, "watch"), service };
}

function afterNetwork(scope: Scope): string[] {
  return scope === "system" ? ["Wants=network-online.target", "After=network-online.target"] : [];
}

function surroundings(config: string, scope: Scope): string[] {
  const cache = scope === "system" ? "/var/cache" : "%C";
  return [
    "# For ${NAME} in the configuration; it need not be there.",
    `EnvironmentFile=-${escapePercent(join(dirname(config), "environment"))}`,
    `Environment=XDG_CACHE_HOME=${cache} NODE_COMPILE_CACHE=${cache}/chatkeep/compiled`,
    "# Not /tmp: a drill in a container shares its folder with the engine, and a large one needs room.",
    `Environment=TMPDIR=${cache}/chatkeep/tmp`,
    "# glibc's: what was let go of is used by any thread, or given back.",
    `Environment=${Object.entries(MEMORY)
      .map(([name, value]) => `${name}=${value}`)
      .join(" ")}`,
    "CacheDirectory=chatkeep chatkeep/tmp",
    "UMask=0077",
    "",
  ];
}

/** It reads everything that root may, and writes only what the configuration names. */
function restrictions({ writes }: Job): string[] {
  return [
    "PrivateTmp=yes",
    "ProtectSystem=strict",
    // Not among what that protects; Chatwoot itself lies there.
    "ProtectHome=read-only",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    // With '-' one that is not there (a disk that is not mounted) keeps nothing from starting.
    ...writes.map((path) => `ReadWritePaths=${quotePath(`-${path}`)}`),
  ];
}

function formatTimer(job: DailyJob): string {
  return text([
    markerOf(job.installation.id),
    "[Unit]",
    `Description=Chatkeep: when the daily backup of ${plain(job.installation.name)} runs`,
    "",
    "[Timer]",
    ...toOnCalendar(job.times).map((when) => `OnCalendar=${when}`),
    `RandomizedDelaySec=${DELAY_MINUTES}m`,
    "# At once after the machine was off at its time.",
    "Persistent=true",
    "",
    "[Install]",
    "WantedBy=timers.target",
  ]);
}

function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

/** Names of installations have neither, but what is edited by hand may. */
function plain(name: string): string {
  return escapePercent(name.replaceAll(/\s+/g, " "));
}

function escapePercent(value: string): string {
  return value.replaceAll("%", "%%");
}

/** In double quotes, so that blanks are no ends; `%` and `$` mean something to systemd. */
function quoteArgument(value: string): string {
  return quotePath(value).replaceAll("$", "$$$$");
}

function quotePath(value: string): string {
  return `"${escapePercent(value.replaceAll("\\", "\\\\").replaceAll('"', '\\"'))}"`;
}
