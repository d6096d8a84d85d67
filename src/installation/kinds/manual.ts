/** What the configuration names is what there is: for any way of installing Chatwoot that Chatkeep does not know. */
import type { ProcessControl, Processes, Step } from "../processes.ts";
import type { Units } from "../units.ts";
import type { InstallationSettings, Kind } from "./kind.ts";
import { namedRoot, readOnDisk, requireChatwoot } from "./on-disk.ts";

const NO_UNITS: Units = { files: [], environment: new Map(), workingFolder: undefined, environmentFiles: [] };

function steps(name: string, command: string | undefined): Step[] {
  return command === undefined ? [] : [{ how: "shell", name, command }];
}

function controlOf(settings: InstallationSettings, process: "web" | "worker"): ProcessControl | undefined {
  const [stop, start] = [settings.stop?.[process], settings.start?.[process]];
  if (stop === undefined && start === undefined) return undefined;
  return { stop: steps(`stop.${process}`, stop), start: steps(`start.${process}`, start) };
}

/** What the configuration says of the processes; of any kind it counts more than what was found. */
export function namedProcesses(settings: InstallationSettings): Processes {
  const [web, worker] = [controlOf(settings, "web"), controlOf(settings, "worker")];
  const { health, migrate } = settings;
  return {
    ...(web === undefined ? {} : { web }),
    ...(worker === undefined ? {} : { worker }),
    ...(migrate === undefined ? {} : { migrate: { how: "shell", command: migrate } }),
    ...(health === undefined
      ? {}
      : { health: /^https?:\/\//.test(health) ? { how: "http", url: health } : { how: "shell", command: health } }),
  };
}

export const MANUAL: Kind = {
  name: "manual",
  async look(settings, world) {
    const root = settings.root === undefined ? undefined : await namedRoot(settings.root);
    const isNamed = settings.envFile !== undefined || settings.databaseUrl !== undefined;
    const lookedFor = "what the configuration names";
    if (root === undefined && !isNamed) return { sightings: [], lookedFor };
    if (root !== undefined && !isNamed) await requireChatwoot(root);
    const disk = { kind: "manual", root, units: NO_UNITS, processesOf: () => ({}) } as const;
    return {
      sightings: [
        {
          what: `what the configuration names${root === undefined ? "" : ` in ${root}`}`,
          choice: "--root DIR, --env-file FILE or --database-url URL",
          read: async () => await readOnDisk(disk, settings, world),
        },
      ],
      lookedFor,
    };
  },
};
