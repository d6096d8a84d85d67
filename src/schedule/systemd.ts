/** Putting units in their place, and asking systemd about them. */
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseZonedInstant } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import { makeFolders } from "../system/folders.ts";
import { runProgram } from "../system/process.ts";
import { replaceFile } from "../system/replace-file.ts";
import { type JobKind, markerOf } from "./job.ts";
import type { Scope, ServiceUnit, Units } from "./units.ts";

export interface Systemd {
  readonly scope: Scope;
  /** Where its units lie. */
  readonly folder: string;
}

interface Tools {
  signal: AbortSignal;
}

/** systemd's own test of whether it runs: sd_booted(3). */
const BOOTED = "/run/systemd/system";

/** In place of a unit of ours. */
export const ELSE_WATCH =
  "Use 'chatkeep watch --print compose' for a container, or keep 'chatkeep watch' running with what starts services here.";

const ELSE =
  "Use 'chatkeep schedule install --crontab' where cron runs, or 'chatkeep schedule --print compose' for a container.";

/** @throws Failure `schedule/unsuitable` where no systemd runs, or none for this user. */
export async function requireSystemd({ scope }: Systemd, { signal }: Tools, otherwise: string = ELSE): Promise<void> {
  const isBooted = await stat(BOOTED).then(
    () => true,
    () => false,
  );
  if (!isBooted) throw new Failure("schedule/unsuitable", "no systemd runs on this machine", { hint: otherwise });
  if (scope === "system") return;
  try {
    await systemctl(scope, ["show-environment"], { signal });
  } catch (cause) {
    if (!isFailure(cause, "schedule/unsuitable")) throw cause;
    throw new Failure("schedule/unsuitable", "systemd does not run for this user here", {
      hint: `Log in as that user (not with su or sudo), or run the command as root. ${otherwise}`,
      cause,
    });
  }
}

/** @throws Failure `schedule/unsuitable` with what systemctl said. */
export async function systemctl(scope: Scope, args: readonly string[], { signal }: Tools): Promise<string> {
  const own = scope === "user" ? ["--user"] : [];
  try {
    // Times as everybody writes them, in UTC.
    const { stdout } = await runProgram("systemctl", [...own, ...args], { signal, env: { TZ: "UTC", LC_ALL: "C" } });
    return stdout.toString("utf8");
  } catch (cause) {
    if (!isFailure(cause, "program/failed") && !isFailure(cause, "program/missing")) throw cause;
    throw new Failure("schedule/unsuitable", `systemd refused '${args[0] ?? ""}': ${cause.hint ?? cause.message}`, {
      hint: ELSE,
      cause,
    });
  }
}

/**
 * Writes the units and starts the timer; what an earlier installation called otherwise goes.
 * @returns the files that were written.
 * @throws Failure `schedule/unsuitable` when a unit of that name is somebody else's, or systemd refuses it.
 */
export async function installUnits(
  systemd: Systemd,
  { name, service, timer }: Units,
  installationId: string,
  tools: Tools,
): Promise<string[]> {
  const files = [
    { name: `${name}.service`, text: service },
    { name: `${name}.timer`, text: timer },
  ];
  return await install(systemd, files, { kind: "daily", installationId, started: `${name}.timer` }, tools);
}

/** Writes the service that runs for good and starts it; one that runs is ended cleanly and started anew. @throws as {@link installUnits}. */
export async function installService(
  systemd: Systemd,
  { name, service }: ServiceUnit,
  installationId: string,
  tools: Tools,
): Promise<string[]> {
  const file = `${name}.service`;
  return await install(
    systemd,
    [{ name: file, text: service }],
    { kind: "watch", installationId, started: file },
    tools,
  );
}

interface Whose {
  kind: JobKind;
  installationId: string;
}

async function install(
  { scope, folder }: Systemd,
  units: readonly { name: string; text: string }[],
  { kind, installationId, started }: Whose & { started: string },
  tools: Tools,
): Promise<string[]> {
  const files = units.map(({ name, text }) => ({ path: join(folder, name), text }));
  for (const { path } of files) await refuseForeign(path, { kind, installationId });
  const there = await ownUnits(folder, installationId, kind);
  const others = there.filter((path) => !files.some((file) => file.path === path));
  await takeAway({ scope, folder }, others, kind, tools);
  try {
    await makeFolders(folder);
    for (const { path, text } of files) await replaceFile(path, text, 0o644);
  } catch (cause) {
    throw new Failure("schedule/unsuitable", `the units cannot be written: ${messageOf(cause)}`, {
      hint: `Run it as a user that may write to '${folder}'.`,
      cause,
    });
  }
  await systemctl(scope, ["daemon-reload"], tools);
  await systemctl(scope, ["enable", started], tools);
  // One that was there already goes by what is new only when it is started again.
  await systemctl(scope, ["restart", started], tools);
  return files.map(({ path }) => path);
}

async function refuseForeign(path: string, whose: Whose): Promise<void> {
  const there = await readFile(path, "utf8").catch(() => undefined);
  if (there === undefined || isOwn(there, whose)) return;
  throw new Failure("schedule/unsuitable", `'${path}' is there already, and is not this installation's`, {
    hint: "Look at it; move it away, or give the installation another name.",
  });
}

/** The marker is the first line: what somebody copied it into, further down, is his. */
function isOwn(unit: string, { installationId, kind }: Whose): boolean {
  return unit.split("\n", 1)[0] === markerOf(installationId, kind);
}

/** The files of this installation's units. */
export async function ownUnits(folder: string, installationId: string, kind: JobKind = "daily"): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    if (!/^chatkeep-.*\.(service|timer)$/.test(name)) continue;
    const path = join(folder, name);
    const unit = await readFile(path, "utf8").catch(() => "");
    if (isOwn(unit, { installationId, kind })) found.push(path);
  }
  return found.toSorted();
}

/**
 * Stops the timer and removes what is this installation's; a daily run that is under way goes on to its end. What runs for good is
 * ended: it stores what came by then.
 */
export async function removeUnits(
  systemd: Systemd,
  installationId: string,
  tools: Tools,
  kind: JobKind = "daily",
): Promise<string[]> {
  const files = await ownUnits(systemd.folder, installationId, kind);
  await takeAway(systemd, files, kind, tools);
  return files;
}

async function takeAway({ scope }: Systemd, files: readonly string[], kind: JobKind, tools: Tools): Promise<void> {
  if (files.length === 0) return;
  const stopped = kind === "daily" ? ".timer" : ".service";
  for (const path of files.filter((file) => file.endsWith(stopped))) {
    // Where no systemd runs any more the files go all the same.
    await systemctl(scope, ["disable", "--now", nameOf(path)], tools).catch(ignoreUnsuitable);
  }
  for (const path of files) await rm(path, { force: true });
  await systemctl(scope, ["daemon-reload"], tools).catch(ignoreUnsuitable);
  const names = files.map(nameOf);
  await systemctl(scope, ["reset-failed", ...names], tools).catch(ignoreUnsuitable);
}

function ignoreUnsuitable(error: unknown): string {
  if (!isFailure(error, "schedule/unsuitable")) throw error;
  return "";
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export interface TimerTimes {
  isEnabled: boolean;
  /** Milliseconds since 1970. */
  nextMs: number | undefined;
  lastMs: number | undefined;
}

/** What systemd says of a timer. */
export async function readTimer({ scope }: Systemd, name: string, tools: Tools): Promise<TimerTimes> {
  const properties = "--property=UnitFileState,ActiveState,NextElapseUSecRealtime,LastTriggerUSec";
  const shown = await systemctl(scope, ["show", `${name}.timer`, properties], tools);
  const values = new Map(
    shown.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const isEnabled = values.get("UnitFileState") === "enabled" && values.get("ActiveState") === "active";
  return {
    isEnabled,
    nextMs: parseUtc(values.get("NextElapseUSecRealtime")),
    lastMs: parseUtc(values.get("LastTriggerUSec")),
  };
}

/** `Sun 2026-11-29 02:30:00 UTC`; anything else is no time. */
function parseUtc(shown: string | undefined): number | undefined {
  const [, date, time] = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$/.exec(shown ?? "") ?? [];
  return parseZonedInstant(`${date ?? ""}T${time ?? ""}Z`);
}

/** Whether a user's timers run while nobody is logged in: loginctl's `Linger`. */
export async function isLingering(user: string): Promise<boolean> {
  return await stat(join("/var/lib/systemd/linger", user)).then(
    () => true,
    () => false,
  );
}

/** Whether a service is enabled, and runs: `active`, `activating`, `failed` … */
export async function readService(
  { scope }: Systemd,
  name: string,
  tools: Tools,
): Promise<{ isEnabled: boolean; state: string }> {
  const shown = await systemctl(scope, ["show", `${name}.service`, "--property=UnitFileState,ActiveState"], tools);
  const [, state = "unknown"] = /^ActiveState=(.*)$/m.exec(shown) ?? [];
  return { isEnabled: /^UnitFileState=enabled$/m.test(shown), state };
}
