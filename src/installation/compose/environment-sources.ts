/** Where the environment of containers comes from, and how it is changed. */
import { listSome } from "../../base/bytes.ts";
import type { EnvironmentFile, EnvironmentSource, InstallationKind } from "../installation.ts";
import type { Machine } from "../places.ts";
import { type Container, serviceOf } from "./containers.ts";
import type { ComposeFiles } from "./files.ts";
import { appFolder, hostPath, mountAt } from "./mounts.ts";
import { composeCallOf, servicesOf, upCommand } from "./up-command.ts";

/** A `.env` that is mounted into Chatwoot's folder: the process reads it when it starts. */
function mountedFile(container: Container, machine: Machine): EnvironmentFile | undefined {
  const inside = `${appFolder(container)}/.env`;
  const mount = mountAt(container, inside);
  const path = mount === undefined ? undefined : hostPath(container, inside);
  if (mount === undefined || path === undefined) return undefined;
  return { path: machine.at(path), isMounted: mount.Destination === inside, isReadAtStart: true };
}

function isMountedInto(container: Container, path: string, machine: Machine): boolean {
  return (container.details.Mounts ?? []).some(({ Type, Source }) => Type === "bind" && machine.at(Source) === path);
}

function sourceOf(container: Container, { given, paths }: ComposeFiles, machine: Machine): EnvironmentSource {
  const { files, own } = given.get(container.name) ?? { files: [], own: new Set<string>() };
  // Of two that have a name the later one counts.
  const read = files.toReversed().map(({ path }) => ({
    path,
    isMounted: isMountedInto(container, path, machine),
    isReadAtStart: false,
  }));
  const mounted = mountedFile(container, machine);
  const others = mounted === undefined || read.some(({ path }) => path === mounted.path) ? [] : [mounted];
  const compose = paths.filter((path) => /\.ya?ml$/.test(path));
  // What the container has and no file gives it was set where it was made.
  const isUnknown = files.length === 0 && own.size === 0;
  const fixed = isUnknown ? new Set(container.env.keys()) : own;
  return {
    of: container.name,
    files: [...read, ...others],
    fixed: isUnknown && others.length === 0 ? "all" : fixed,
    where:
      compose.length === 0
        ? `what the container ${container.name} is made with`
        : `'environment' in ${listSome(compose)}, or the file that it is filled from`,
  };
}

function keyOf({ files, fixed, where }: EnvironmentSource): string {
  return JSON.stringify([files, fixed === "all" ? fixed : [...fixed].toSorted(), where]);
}

function isAlike(a: EnvironmentSource, b: EnvironmentSource): boolean {
  return keyOf(a) === keyOf(b);
}

/** Of web and worker; those that have the same are told as one. */
export function sourcesOf(
  members: readonly Container[],
  { kind, files, machine }: { kind: InstallationKind; files: ComposeFiles; machine: Machine },
): EnvironmentSource[] {
  if (kind === "swarm") {
    const services = [...new Set(members.map(serviceOf))];
    const where = `the ${services.length === 1 ? "service" : "services"} ${listSome(services)} (docker service update --env-add)`;
    return [{ of: listSome(services), files: [], fixed: "all", where }];
  }
  const all = members.map((container) => sourceOf(container, files, machine));
  const [first] = members;
  const call = first === undefined ? undefined : composeCallOf(first);
  const [remake, remakeAndStart] = [false, true].map((isStarted) =>
    call === undefined ? undefined : upCommand(call, servicesOf(members), { isStarted }),
  );
  const different = all.filter((one, at) => all.findIndex((other) => isAlike(one, other)) === at);
  return different.map((one) => ({
    ...one,
    of: listSome(all.filter((other) => isAlike(one, other)).map(({ of }) => of)),
    ...(remake === undefined ? {} : { remake }),
    ...(remakeAndStart === undefined ? {} : { remakeAndStart }),
  }));
}
