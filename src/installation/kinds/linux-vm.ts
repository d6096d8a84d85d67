/** A Linux machine as cwctl sets it up: a git checkout, systemd units, nginx. */
import { basename, resolve } from "node:path";
import { type Machine } from "../places.ts";
import type { HealthCheck, ProcessControl, Processes } from "../processes.ts";
import { readUnits, type Units } from "../units.ts";
import type { InstallationSettings, Kind } from "./kind.ts";
import { isChatwoot, namedRoot, readOnDisk, requireChatwoot } from "./on-disk.ts";

/** cwctl's place. */
const USUAL_ROOT = "/home/chatwoot/chatwoot";

/** The port of `rails server`, where no unit says another. */
const WEB_PORT = "3000";

async function findRoot(settings: InstallationSettings, units: Units, machine: Machine): Promise<string | undefined> {
  const usual = machine.at(USUAL_ROOT);
  if (settings.root !== undefined) {
    const root = resolve(settings.root);
    const isOurs = settings.kind === "linux-vm" || root === usual || root === units.workingFolder;
    return isOurs ? await namedRoot(root) : undefined;
  }
  for (const candidate of [units.workingFolder, usual]) {
    if (candidate !== undefined && (await isChatwoot(candidate))) return candidate;
  }
  return undefined;
}

function controlOf(units: Units, process: "web" | "worker"): ProcessControl | undefined {
  const names = units.files
    .map((file) => basename(file))
    .filter((name) => name.startsWith(`chatwoot-${process}`) && name.endsWith(".service"));
  if (names.length === 0) return undefined;
  const systemctl = (verb: string) => [{ how: "program", program: "systemctl", args: [verb, ...names] } as const];
  return { stop: systemctl("stop"), start: systemctl("start") };
}

function processesOf(units: Units, environment: ReadonlyMap<string, string>): Processes {
  const web = controlOf(units, "web");
  const worker = controlOf(units, "worker");
  // A machine of workers alone has no web process to ask.
  const health: HealthCheck = { how: "http", url: `http://127.0.0.1:${environment.get("PORT") || WEB_PORT}` };
  return {
    ...(web === undefined ? {} : { web, health }),
    ...(worker === undefined ? {} : { worker }),
  };
}

export const LINUX_VM: Kind = {
  name: "linux-vm",
  async look(settings, world) {
    const { machine } = world;
    const units = await readUnits(machine);
    const root = await findRoot(settings, units, machine);
    const places = [units.workingFolder, machine.at(USUAL_ROOT)].filter((place) => place !== undefined);
    const lookedFor = `systemd units chatwoot*.service and Chatwoot in ${[...new Set(places)].join(", ")}`;
    const isNamed = settings.envFile !== undefined || settings.databaseUrl !== undefined;
    if (root === undefined && !(settings.kind === "linux-vm" && isNamed)) return { sightings: [], lookedFor };
    if (settings.root !== undefined && root !== undefined && !isNamed) await requireChatwoot(root);
    const disk = {
      kind: "linux-vm",
      root,
      units,
      processesOf: (env: ReadonlyMap<string, string>) => processesOf(units, env),
    } as const;
    return {
      sightings: [
        {
          what: `Chatwoot in ${root ?? "no folder that is known"}`,
          choice: `--root ${root ?? USUAL_ROOT}`,
          read: async () => await readOnDisk(disk, settings, world),
        },
      ],
      lookedFor,
    };
  },
};
