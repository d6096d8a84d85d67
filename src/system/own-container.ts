/** The container that this process runs in, as an engine knows it. */
import { readFileSync } from "node:fs";

/** Files that every engine mounts into a container from a folder of its own, which has the container's number in its name. */
const GIVEN = new Set(["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);

/**
 * The number of the container that a table of mounts belongs to; undefined outside of one.
 * @param mountinfo `/proc/self/mountinfo`: proc_pid_mountinfo(5), where field 4 is the place on the machine and 5 the one here.
 */
export function containerIdIn(mountinfo: string): string | undefined {
  for (const line of mountinfo.split("\n")) {
    const [, , , source = "", target = ""] = line.split(" ");
    const id = /\/containers\/([0-9a-f]{64})\//.exec(source)?.[1] ?? /\/([0-9a-f]{64})\/userdata\//.exec(source)?.[1];
    if (id !== undefined && GIVEN.has(target)) return id;
  }
  return undefined;
}

/** Of this process. The number alone does not say which engine it is of: ask it whether it knows that container. */
export function ownContainerId(): string | undefined {
  try {
    return containerIdIn(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return undefined; // No Linux, so no container of it.
  }
}

/** Where something is mounted in a table of mounts, as {@link containerIdIn} reads it: the field after the place on the machine. */
export function mountPointsIn(mountinfo: string): string[] {
  return mountinfo.split("\n").flatMap((line) => {
    const target = line.split(" ")[4];
    // Blanks and their like are written as \\040.
    return target === undefined
      ? []
      : [target.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)))];
  });
}

/** Of this process. */
export function ownMountPoints(): string[] {
  try {
    return mountPointsIn(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return [];
  }
}
