/** A Linux machine as cwctl sets it up: a git checkout, systemd units, nginx. */
import { basename, dirname, resolve } from "node:path";
import type { Finding } from "../../base/findings.ts";
import { activeStorageService, railsEnvOf } from "../../chatwoot/environment.ts";
import type { Installation } from "../installation.ts";
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
  const files = units.files.filter(
    (file) => basename(file).startsWith(`chatwoot-${process}`) && file.endsWith(".service"),
  );
  if (files.length === 0) return undefined;
  const steps = (action: "stop" | "start") =>
    files.map((file) => ({ how: "unit", unit: basename(file), action, folder: dirname(file) }) as const);
  return { stop: steps("stop"), start: steps("start") };
}

/** The one process that this machine is for, as `cwctl --convert` leaves it; undefined where it runs both, or none is known. */
function onlyProcess(units: Units): "web" | "worker" | undefined {
  const processes = ["web", "worker"] as const;
  const names = new Set(units.files.map((file) => basename(file)));
  // Services may be left over from before; then the target tells what is started.
  const byTarget = names.has("chatwoot.target") ? [] : processes.filter((one) => names.has(`chatwoot-${one}.target`));
  const found = byTarget.length > 0 ? byTarget : processes.filter((one) => controlOf(units, one) !== undefined);
  return found.length === 1 ? found[0] : undefined;
}

/** Trap: web and worker on two machines, with uploaded files on the disk of each. */
function splitFindings(units: Units, { environment, storage }: Installation): Finding[] {
  const here = onlyProcess(units);
  const local = storage.find((service) => service.kind === "local");
  if (here === undefined || local?.kind !== "local" || activeStorageService(environment) !== "local") return [];
  const other = here === "web" ? "worker" : "web process";
  const [folder] = local.roots;
  return [
    {
      kind: "storage-split",
      level: "warning",
      subject: here,
      message: `this machine runs the ${here === "web" ? "web process" : "worker"} alone, and uploaded files go to its disk (${folder}): those of the ${other}, on another machine, are in no restore point unless both have one folder`,
      hint: "Files that customers send by e-mail or a messenger are the worker's, those of agents and of the widget the web process's, and neither sees the other's. Keep them in a bucket (ACTIVE_STORAGE_SERVICE), or in one folder that both machines mount there, with the files of both copied into it. Until then run Chatkeep on the other machine, too, with a repository of its own. If both have one folder already: chatkeep ack storage-split.",
    },
  ];
}

function processesOf(units: Units, environment: ReadonlyMap<string, string>, root: string | undefined): Processes {
  const web = controlOf(units, "web");
  const worker = controlOf(units, "worker");
  // A machine of workers alone has no web process to ask.
  const health: HealthCheck = { how: "http", url: `http://127.0.0.1:${environment.get("PORT") || WEB_PORT}` };
  return {
    ...(web === undefined ? {} : { web, health }),
    ...(worker === undefined ? {} : { worker }),
    ...(root === undefined ? {} : { migrate: { how: "login", folder: root, railsEnv: railsEnvOf(environment) } }),
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
      processesOf: (env: ReadonlyMap<string, string>) => processesOf(units, env, root),
    } as const;
    return {
      sightings: [
        {
          what: `Chatwoot in ${root ?? "no folder that is known"}`,
          choice: `--root ${root ?? USUAL_ROOT}`,
          read: async () => {
            const { installation, findings } = await readOnDisk(disk, settings, world);
            return { installation, findings: [...findings, ...splitFindings(units, installation)] };
          },
        },
      ],
      lookedFor,
    };
  },
};
