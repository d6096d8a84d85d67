/** Room on this machine's disks for what is about to be written: what shares a disk must fit on it together. */
import { formatBytes } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { nearestFolder } from "../system/folders.ts";
import { type Disk, readDisks } from "./disks.ts";

/** Something that will be written into a folder of this machine, which need not be there yet. */
export interface RoomNeed {
  /** For people: `the database`. */
  readonly what: string;
  readonly path: string;
  /** Bytes that it will have, at most where that is an estimate … */
  readonly bytes: number;
  /** … and then these at the least. */
  readonly leastBytes: number;
  /** What is told where it has no room by itself, in other words than all others. */
  readonly alone?: Finding | undefined;
}

export interface RoomOnDisk {
  readonly freeBytes: number;
  /** All that will lie on it. */
  readonly needs: readonly RoomNeed[];
}

/** What a restore writes down of itself, with what it keeps of small files. */
const RECORDS_BYTES = 1024 * 1024;

/** @param folder of the restore. */
export function recordsNeed(folder: string): RoomNeed {
  return knownNeed("the restore's own records", folder, RECORDS_BYTES);
}

export function knownNeed(what: string, path: string, bytes: number): RoomNeed {
  return { what, path, bytes, leastBytes: bytes };
}

/** The disks on which these will lie, with all that will lie on each. Whatever needs nothing is on none. */
export async function lookForRoom(needs: readonly RoomNeed[]): Promise<RoomOnDisk[]> {
  const meant = sameSummed(needs.filter(({ bytes }) => bytes > 0));
  const users = await Promise.all(
    meant.map(async (need) => ({ what: nameOf(need), path: await nearestFolder(need.path), role: "own" as const })),
  );
  const onDisk = ({ users: own }: Disk) => meant.filter((need) => own.some(({ what }) => what === nameOf(need)));
  return (await readDisks(users)).map((disk) => ({ freeBytes: disk.freeBytes, needs: onDisk(disk) }));
}

/** Two services may lie in one folder. */
function sameSummed(needs: readonly RoomNeed[]): RoomNeed[] {
  return [...Map.groupBy(needs, nameOf).values()].flatMap((same) =>
    same.slice(0, 1).map((first) => ({ ...first, bytes: sumOf(same, "bytes"), leastBytes: sumOf(same, "leastBytes") })),
  );
}

function nameOf({ what, path }: RoomNeed): string {
  return `${what} in '${path}'`;
}

function sumOf(needs: readonly RoomNeed[], of: "bytes" | "leastBytes"): number {
  return needs.reduce((sum, need) => sum + need[of], 0);
}

/** `'/srv' has 1.0 MiB free, and the uploaded files take 3.0 MiB: 2.0 MiB are lacking`. Undefined where all fits. Pure. */
export function lackingOf({ freeBytes, needs }: RoomOnDisk): string | undefined {
  const lacking = sumOf(needs, "bytes") - freeBytes;
  if (lacking <= 0) return undefined;
  const end = `${formatBytes(lacking)} ${sumOf(needs, "leastBytes") > freeBytes ? "are" : "may be"} lacking`;
  const sizes = needs.map(({ bytes, leastBytes }) => `${leastBytes < bytes ? "about " : ""}${formatBytes(bytes)}`);
  const [first] = needs;
  if (needs.length === 1 && first !== undefined)
    return `'${first.path}' has ${formatBytes(freeBytes)} free, and ${first.what} will take ${sizes[0] ?? ""}: ${end}`;
  const each = needs.map((need, at) => `${nameOf(need)} (${sizes[at] ?? ""})`);
  return `one disk has ${formatBytes(freeBytes)} free, and will take ${each.slice(0, -1).join(", ")} and ${each.at(-1) ?? ""}: ${end}`;
}

/**
 * A warning for each disk on which there may be no room for all that will lie on it; it stands in the way where there is none even
 * for the least. Pure.
 * @param hint What makes room, or takes less.
 */
export function roomFindings(disks: readonly RoomOnDisk[], hint: string): Finding[] {
  return disks.flatMap((disk): Finding[] => {
    const message = lackingOf(disk);
    if (message === undefined) return [];
    const [first] = disk.needs;
    if (disk.needs.length === 1 && first?.alone !== undefined) return [first.alone];
    const level = sumOf(disk.needs, "leastBytes") > disk.freeBytes ? "alarm" : "warning";
    return [{ kind: "disk-too-small", level, message, hint, subject: disk.needs.map(nameOf).join(", ") }];
  });
}

/** Those of the two kinds, apart. */
export function apart(findings: readonly Finding[]): { blockers: Finding[]; findings: Finding[] } {
  return {
    blockers: findings.filter(({ level }) => level === "alarm"),
    findings: findings.filter(({ level }) => level !== "alarm"),
  };
}
