/** Looking at an engine for the installations of one kind. */
import { Failure } from "../../base/errors.ts";
import { describeEngine, EngineApi, findEngineAddress, openEngine } from "../../system/engine-api.ts";
import type { InstallationKind } from "../installation.ts";
import type { InstallationSettings, Look, World } from "../kinds/kind.ts";
import { type Container, groupChatwoot, leaderOf, readContainers, serviceOf } from "./containers.ts";
import { machineThrough, ownAmong } from "./inside.ts";
import { readSite, type Site, type Ways } from "./site.ts";

/** An engine that does not run may be started: whoever waits for that need not ask sooner. */
const AWAY_MS = 500;

export interface EngineKind {
  name: InstallationKind;
  /** For people. @param where The engine. */
  lookedFor: (where: string) => string;
  /** Those of the engine's containers that can be of this kind, with all that is known of them. */
  choose(containers: readonly Container[], engine: EngineApi, options: { signal: AbortSignal }): Promise<Container[]>;
  /** For people. */
  whatOf(site: Site): string;
  waysOf(site: Site, world: World): Promise<Omit<Ways, "kind" | "what" | "choice">>;
}

export async function lookAtEngine(kind: EngineKind, settings: InstallationSettings, world: World): Promise<Look> {
  const address = await findEngineAddress(world.env, (path) => world.machine.at(path));
  const lookedFor = kind.lookedFor(`the Docker Engine ${describeEngine(address)}`);
  const engine = await openEngine(address, world);
  if (!(engine instanceof EngineApi)) {
    const isMeant = settings.kind === kind.name || settings.project !== undefined || settings.container !== undefined;
    if (isMeant) {
      const retryAfterMs = engine.isAway ? AWAY_MS : undefined;
      throw new Failure("source/unreadable", engine.why, { hint: engine.remedy, retryAfterMs });
    }
    return { sightings: [], lookedFor, ...(engine.isDenied ? { blocked: engine } : {}) };
  }
  const all = await readContainers(engine, world);
  const own = ownAmong(all, world);
  const containers = await kind.choose(all, engine, world);
  const sites = groupChatwoot(containers).flatMap((group): Site[] => {
    const leader = leaderOf(group);
    return leader === undefined ? [] : [{ engine, containers, group, leader, own }];
  });
  const meant = sites.filter((site) => isMeantBy(settings, site));
  const others = sites.filter((site) => !meant.includes(site)).map((site) => kind.whatOf(site));
  return {
    lookedFor,
    others,
    sightings: meant.map((site) => {
      const { project } = site.group;
      const choice = project === undefined ? { container: serviceOf(site.leader) } : { project };
      return {
        what: kind.whatOf(site),
        choice:
          project === undefined
            ? `'container: ${serviceOf(site.leader)}' under 'installation'`
            : `--project ${project}, in the configuration 'compose-project: ${project}'`,
        read: async () => {
          // Paths that the engine speaks of are those of its machine.
          const seen = own === undefined ? world : { ...world, machine: machineThrough(own, world.machine) };
          const ways = await kind.waysOf(site, seen);
          return await readSite(site, { kind: kind.name, what: kind.whatOf(site), choice, ...ways }, settings, seen);
        },
      };
    }),
  };
}

function isMeantBy({ project, container }: InstallationSettings, { group }: Site): boolean {
  if (project !== undefined && group.project !== project) return false;
  if (container === undefined) return true;
  return [...group.web, ...group.worker].some((one) => one.name === container || serviceOf(one) === container);
}
