/** Chatkeep in a container of the engine that it asks: what it sees of the machine, and what it would have to see. */
import { join } from "node:path";
import type { Finding } from "../../base/findings.ts";
import type { Machine } from "../places.ts";
import { type Container, serviceOf } from "./containers.ts";
import { appFolder, mountAt, type StoragePlace } from "./mounts.ts";

/** Where nothing can ever be. */
const UNSEEN = "/dev/null";

/** `path` with one folder in place of another; undefined where it does not lie in that. */
function moved(path: string, from: string, to: string): string | undefined {
  const base = from.replace(/\/$/, "");
  return path === base || path.startsWith(`${base}/`) ? to.replace(/\/$/, "") + path.slice(base.length) : undefined;
}

/** The innermost comes first: what is mounted there hides what is around it. */
function mountsOf({ details }: Container): { source: string; target: string }[] {
  return (details.Mounts ?? [])
    .filter(({ Source, Type }) => Source !== "" && Type !== "tmpfs")
    .map(({ Source, Destination }) => ({ source: Source, target: Destination }))
    .toSorted((a, b) => b.source.length - a.source.length);
}

/**
 * The container that we are in. One that shares another's network has the names of that one, and is told by what is mounted: then all
 * that is of it is here, and of those that fit the one with most.
 */
export function ownAmong(
  containers: readonly Container[],
  { containerId, mountPoints = [] }: { containerId?: string | undefined; mountPoints?: readonly string[] | undefined },
): Container | undefined {
  const named = containers.find(({ details }) => details.Id === containerId);
  if (named === undefined) return undefined;
  const sharing = containers.filter(({ details: { HostConfig, State } }) => {
    const [, lender] = /^container:(.+)$/.exec(HostConfig?.NetworkMode ?? "") ?? [];
    return State.Running && (lender === named.details.Id || lender === named.name);
  });
  const here = new Set(mountPoints);
  // Where nothing tells them apart, it is the one whose names they are.
  return [named, ...sharing].toSorted((a, b) => fit(b, here) - fit(a, here))[0];
}

/** How much of what is mounted into a container is here; −1 where something is not. */
function fit(container: Container, here: ReadonlySet<string>): number {
  const targets = mountsOf(container).map(({ target }) => target);
  return targets.every((target) => here.has(target)) ? targets.length : -1;
}

/** Where a place of the machine is in a container that it is mounted into; undefined where it is not. */
export function seenFrom(own: Container, path: string): string | undefined {
  return mountsOf(own)
    .map(({ source, target }) => moved(path, source, target))
    .find((place) => place !== undefined);
}

/** The machine, as far as it is mounted into our own container: nothing is at any other path of it. */
export function machineThrough(own: Container, inside: Machine): Machine {
  return {
    root: inside.root,
    at: (path) => inside.at(seenFrom(own, path) ?? join(UNSEEN, path)),
    nameOf: (place) => {
      const named = inside.nameOf(place);
      const names = mountsOf(own).map(({ source, target }) => moved(named, target, source));
      return names.find((name) => name !== undefined) ?? named;
    },
  };
}

/** Whether a place of uploaded files is mounted into our own container. */
export function isSeen(own: Container, { path }: StoragePlace): boolean {
  return path !== undefined && seenFrom(own, path) !== undefined;
}

/** As a Compose file names it. */
function sourceOf(container: Container, folder: string): string {
  const mount = mountAt(container, folder);
  return mount?.Type === "volume" ? (mount.Name ?? mount.Source) : (mount?.Source ?? folder);
}

/** What Chatwoot has on the machine and is not mounted into our own container. */
export function unseenFindings(own: Container, places: readonly StoragePlace[]): Finding[] {
  const unseen = places.filter((place) => place.kind !== "none" && !isSeen(own, place));
  const [first] = unseen;
  if (first === undefined) return [];
  const folder = `${appFolder(first.container)}/storage`;
  const sources = [...new Set(unseen.map(({ container }) => sourceOf(container, folder)))];
  return [
    {
      kind: "storage-not-mounted",
      level: "alarm",
      message: `uploaded files lie in ${sources.join(" and ")}, which Chatkeep's own container ${own.name} does not see: none of them is saved`,
      hint: `Mount it there, too, to be read only: in the Compose file, the service ${serviceOf(own)} needs under 'volumes' what ${serviceOf(first.container)} has for ${folder}, with :ro behind it.`,
    },
  ];
}
