/** What lies where: a path in a container, and the place of it on this machine. */
import type { ContainerMount } from "../../system/container-details.ts";
import type { Container } from "./containers.ts";

/** The mount that a path in a container lies in; of several the innermost. */
export function mountAt({ details }: Container, path: string): ContainerMount | undefined {
  return (details.Mounts ?? [])
    .filter(({ Destination }) => path === Destination || path.startsWith(`${Destination.replace(/\/$/, "")}/`))
    .toSorted((a, b) => b.Destination.length - a.Destination.length)[0];
}

/** Where a path in a container is on the engine's machine; undefined where it is only in the container. */
export function hostPath(container: Container, path: string): string | undefined {
  const mount = mountAt(container, path);
  if (mount === undefined || mount.Source === "" || mount.Type === "tmpfs") return undefined;
  return mount.Source.replace(/\/$/, "") + path.slice(mount.Destination.replace(/\/$/, "").length);
}

/** A volume that nobody named: it belongs to one container, and goes with it. */
export function isAnonymous(mount: ContainerMount): boolean {
  return mount.Type === "volume" && /^[0-9a-f]{64}$/.test(mount.Name ?? "");
}

/** Chatwoot's folder in its container. */
export function appFolder({ details }: Container): string {
  const folder = details.Config.WorkingDir ?? "";
  return folder === "" || folder === "/" ? "/app" : folder.replace(/\/$/, "");
}

/** Where a container keeps uploaded files. */
export interface StoragePlace {
  container: Container;
  /** On the engine's machine; undefined for a container that keeps them in itself, and does not run or cannot be looked into. */
  path: string | undefined;
  /** `none`: in the container itself, which goes when it is made again. */
  kind: "named" | "anonymous" | "bind" | "none";
}

/** @param seesProcesses Processes of containers have the same numbers here: not so in a container of our own. */
export function storagePlace(container: Container, { seesProcesses }: { seesProcesses: boolean }): StoragePlace {
  const folder = `${appFolder(container)}/storage`;
  const path = hostPath(container, folder);
  const mount = mountAt(container, folder);
  if (path !== undefined && mount !== undefined) {
    const kind = mount.Type === "bind" ? "bind" : isAnonymous(mount) ? "anonymous" : "named";
    return { container, path, kind };
  }
  const { Running, Pid } = container.details.State;
  // What a running container has in itself is seen through its process, until it is gone.
  const isShown = seesProcesses && Running && Pid !== undefined && Pid > 0;
  const inside = isShown ? `/proc/${Pid}/root${folder}` : undefined;
  return { container, path: inside, kind: "none" };
}
