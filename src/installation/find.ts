/** Finds an installation: whichever kind is on this machine, or the one that the configuration names. */
import { Failure } from "../base/errors.ts";
import { ownContainerId, ownMountPoints } from "../system/own-container.ts";
import { DOCKER_COMPOSE } from "./kinds/docker-compose.ts";
import type { Found, InstallationSettings, Kind, Look, World } from "./kinds/kind.ts";
import { GIVEN_ENVIRONMENT } from "./kinds/given-environment.ts";
import { KUBERNETES } from "./kinds/kubernetes.ts";
import { LINUX_VM } from "./kinds/linux-vm.ts";
import { MANUAL, namedProcesses } from "./kinds/manual.ts";
import { SWARM } from "./kinds/swarm.ts";
import { machineAt } from "./places.ts";

export type { Found, InstallationSettings, ProcessCommands } from "./kinds/kind.ts";

export interface FindOptions {
  signal: AbortSignal;
  /** For `DOCKER_HOST`, `KUBECONFIG` and their kin; without it no engine is asked but the one in the usual place. */
  env?: Readonly<Record<string, string | undefined>>;
  /** A folder that stands for `/`, for tests. */
  filesystemRoot?: string;
  /** The number of the container that Chatkeep runs in, in place of the real one. */
  containerId?: string;
  /** Where something is mounted in that container, in place of the real ones. */
  mountPoints?: readonly string[];
}

const KINDS: readonly Kind[] = [LINUX_VM, DOCKER_COMPOSE, SWARM, KUBERNETES, GIVEN_ENVIRONMENT, MANUAL];

/** Those that may be meant; of what is named the first that has it is, of what is found there must be one. */
function kindsMeant(settings: InstallationSettings): { kinds: readonly Kind[]; isNamed: boolean } {
  const { kind, project, container, namespace, deployment, root, envFile, databaseUrl } = settings;
  if (kind !== undefined) return { kinds: KINDS.filter(({ name }) => name === kind), isNamed: false };
  if (project !== undefined || container !== undefined) return { kinds: [DOCKER_COMPOSE, SWARM], isNamed: false };
  if (namespace !== undefined || deployment !== undefined) return { kinds: [KUBERNETES], isNamed: false };
  if ([root, envFile, databaseUrl].some((value) => value !== undefined))
    return { kinds: [LINUX_VM, MANUAL], isNamed: true };
  return { kinds: [LINUX_VM, DOCKER_COMPOSE, SWARM, KUBERNETES], isNamed: false };
}

/** Nothing says which installation is meant. */
function isAnyMeant(settings: InstallationSettings): boolean {
  const { kind, project, container, namespace, deployment, root, envFile, databaseUrl } = settings;
  return [kind, project, container, namespace, deployment, root, envFile, databaseUrl].every(
    (value) => value === undefined,
  );
}

function notFound(looks: readonly Look[], { project, container, deployment }: InstallationSettings): Failure {
  const others = looks.flatMap((look) => look.others ?? []);
  if (others.length > 0) {
    const wanted =
      deployment !== undefined
        ? `Deployment or StatefulSet '${deployment}' there`
        : project === undefined
          ? `container or service '${container ?? ""}' of this machine`
          : `Compose project '${project}' of this machine`;
    return new Failure("installation/not-found", `no Chatwoot is in a ${wanted}`, {
      hint: `There ${others.length === 1 ? "is" : "are"} ${others.join("; ")}.`,
    });
  }
  const blocked = looks.flatMap((look) => look.blocked ?? []);
  const [first] = blocked;
  const lookedFor = looks.map((look) => look.lookedFor).join("; for ");
  return new Failure("installation/not-found", "no Chatwoot was found on this machine", {
    hint: `${first === undefined ? "" : `It may be in a container, but ${first.why}. ${first.remedy} `}Looked for ${lookedFor}. Name it in the configuration: 'root', or 'env-file' or 'database-url' and 'storage'.`,
  });
}

/**
 * Finds the installation that the settings describe, or whatever is on this machine.
 *
 * @throws Failure `installation/not-found` when there is none, or what is named does not exist; `installation/several`
 *   when there are two; `source/unreadable` when the environment file, Docker's socket or the
 *   cluster's objects may not be read, with `retryAfterMs` where the engine does not run;
 *   `installation/invalid` when its database settings make no sense.
 */
export async function findInstallation(settings: InstallationSettings, options: FindOptions): Promise<Found> {
  options.signal.throwIfAborted();
  const { env = {}, signal } = options;
  const containerId = options.containerId ?? ownContainerId();
  const mountPoints = options.mountPoints ?? ownMountPoints();
  const world: World = { machine: machineAt(options.filesystemRoot), env, containerId, mountPoints, signal };
  const { kinds, isNamed } = kindsMeant(settings);
  const looks: Look[] = [];
  for (const kind of kinds) {
    const look = await kind.look(settings, world);
    looks.push(look);
    if (isNamed && look.sightings.length > 0) break;
  }
  // What Chatkeep was given counts where nothing is to be seen: a container that may ask the engine knows more from that.
  if (isAnyMeant(settings) && looks.every((look) => look.sightings.length === 0)) {
    looks.push(await GIVEN_ENVIRONMENT.look(settings, world));
  }
  const sightings = looks.flatMap((look) => look.sightings);
  const [only] = sightings;
  if (only === undefined) throw notFound(looks, settings);
  if (sightings.length > 1) {
    throw new Failure(
      "installation/several",
      `${sightings.length} installations of Chatwoot were found: ${sightings.map(({ what }) => what).join("; ")}`,
      { hint: `Say which one is meant: ${sightings.map(({ choice }) => choice).join(", or ")}.` },
    );
  }
  const { installation, findings } = await only.read();
  return {
    installation: { ...installation, processes: { ...installation.processes, ...namedProcesses(settings) } },
    findings,
  };
}
