/**
 * Whether what runs has the environment that the files have now. Chatwoot reads it once, when a process starts: after a
 * change of domain one that was not started again makes links with the old name (F14).
 */
import { basename } from "node:path";
import { listSome } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "./installation.ts";
import { lookAt, type Machine, readTextIfAllowed } from "./places.ts";
import { DECISIVE } from "./process-worries.ts";

/** @param who What runs with the old values, and of which `names`; @param from the files that have others. */
export function notInForce(
  who: readonly string[],
  names: readonly string[],
  { from, restart }: { from: string; restart: string },
): Finding {
  return {
    kind: "environment-not-in-force",
    level: "warning",
    message: `${listSome(who)} ${who.length === 1 ? "runs" : "run"} with another ${names.join(", ")} than ${from} ${from.includes(" and ") ? "have" : "has"}`,
    hint: `What was changed there counts once web and worker are started again, both: ${restart}. What is saved as the environment is in the restore point all the same.`,
  };
}

/** Services by the names of their units, with the processes that run now. */
async function processesOf(unit: string, machine: Machine): Promise<string[]> {
  // Version 2 of control groups, and version 1 as Ubuntu 20.04 has it.
  for (const group of ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd"]) {
    const text = await readTextIfAllowed(machine.at(`${group}/system.slice/${unit}/cgroup.procs`));
    if (text !== undefined) return text.split("\n").filter((pid) => /^\d+$/.test(pid));
  }
  return [];
}

/** What a process was started with; what it set itself afterwards is not there. Undefined where that may not be read. */
async function startedWith(pid: string, machine: Machine): Promise<Map<string, string> | undefined> {
  const text = await readTextIfAllowed(machine.at(`/proc/${pid}/environ`));
  if (text === undefined || text === "") return undefined;
  return new Map(
    text.split("\0").flatMap((entry) => {
      const at = entry.indexOf("=");
      return at < 1 ? [] : [[entry.slice(0, at), entry.slice(at + 1)] as const];
    }),
  );
}

/** Linux tells times of `/proc` in these, whatever the kernel's own clock does. */
const TICKS_A_SECOND = 100;

async function startedAtMs(pid: string, machine: Machine): Promise<number | undefined> {
  const [own, all] = [
    await readTextIfAllowed(machine.at(`/proc/${pid}/stat`)),
    await readTextIfAllowed(machine.at("/proc/stat")),
  ];
  // The name of the program stands in brackets and may hold anything; what is counted follows the last one.
  const ticks = Number(own?.slice(own.lastIndexOf(")") + 2).split(" ")[19]);
  const bootSeconds = Number(/^btime (\d+)$/m.exec(all ?? "")?.[1]);
  const startedMs = (bootSeconds + ticks / TICKS_A_SECOND) * 1000;
  return Number.isFinite(startedMs) ? startedMs : undefined;
}

const RESTART = "systemctl restart chatwoot.target";

/**
 * What the processes of Chatwoot's units run with, compared with what they would get if they were started now. The worker is
 * started through `dotenv`, so it shows its values. The web process reads the file itself and shows none: there
 * only the times tell.
 */
export async function unitFindings(
  unitFiles: readonly string[],
  { environment, envFile }: Pick<Installation, "environment" | "envFile">,
  machine: Machine,
): Promise<Finding[]> {
  const units = unitFiles.map((file) => basename(file)).filter((name) => /^chatwoot.*\.service$/.test(name));
  const differing = new Set<string>();
  const who: string[] = [];
  const older: string[] = [];
  const changedAtMs = envFile === undefined ? undefined : (await lookAt(envFile))?.changedAtMs;
  for (const unit of units) {
    const pids = (await processesOf(unit, machine)).slice(0, LIMITS.unitProcessesLookedAt);
    const given = (await Promise.all(pids.map((pid) => startedWith(pid, machine)))).filter((one) => one !== undefined);
    const names = DECISIVE.filter((name) =>
      given.some((one) => one.has(name) && one.get(name) !== (environment.get(name) ?? "")),
    );
    if (names.length > 0) who.push(unit);
    for (const name of names) differing.add(name);
    const starts = (await Promise.all(pids.map((pid) => startedAtMs(pid, machine)))).filter((at) => at !== undefined);
    const showsFile = given.some((one) => one.has("SECRET_KEY_BASE") || one.has("FRONTEND_URL"));
    if (!showsFile && changedAtMs !== undefined && starts.length > 0 && Math.min(...starts) < changedAtMs)
      older.push(unit);
  }
  const from = envFile ?? "its unit";
  return [
    ...(who.length === 0 ? [] : [notInForce(who, [...differing], { from, restart: RESTART })]),
    ...(older.length === 0 || envFile === undefined ? [] : [startedBefore(older, envFile)]),
  ];
}

function startedBefore(units: readonly string[], envFile: string): Finding {
  return {
    kind: "environment-file-newer",
    level: "note",
    message: `${envFile} was changed after ${listSome(units)} ${units.length === 1 ? "was" : "were"} started`,
    hint: `If something in it changed, it counts once web and worker are started again, both: ${RESTART}.`,
  };
}
