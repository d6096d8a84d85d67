/** The disks of this machine that matter: how much is free on each, and who fails when nothing is. */
import { stat, statfs } from "node:fs/promises";
import { resolve } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { LIMITS } from "../base/limits.ts";
import type { Installation } from "../installation/installation.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { findDataFolder } from "../postgres/target-space.ts";
import { reserveOf } from "../store/local-room.ts";

/** Something that lies in a folder. */
export interface DiskUser {
  /** For people: `repository 'primary'`. */
  what: string;
  path: string;
  /** A repository's, by name; `chatwoot` for what stops working when its disk is full. */
  role: { repository: string } | "chatwoot" | "own";
}

export interface Disk {
  /** Numbered by the system. */
  device: number;
  /** Another machine's: a share of a server, or something that a program makes look like a disk. */
  isElsewhere: boolean;
  freeBytes: number;
  sizeBytes: number;
  /** Files that it can still have, of all that it can; undefined where it does not count them. */
  filesFree: number | undefined;
  users: DiskUser[];
}

/** What Linux calls NFS, SMB (three of them), Ceph, 9P, AFS, Lustre and FUSE, through which sshfs and rclone come. */
const ELSEWHERE: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0xc36400, 0x1021997, 0x5346414f, 0xbd00bd0, 0x65735546,
]);

/** The disks on which these lie; what is not there, or may not be looked at, is on none. */
export async function readDisks(users: readonly DiskUser[]): Promise<Disk[]> {
  const disks = new Map<number, Disk>();
  for (const user of users) {
    const device = await stat(user.path).then(
      ({ dev }) => dev,
      () => undefined,
    );
    if (device === undefined) continue;
    const known = disks.get(device);
    if (known !== undefined) {
      if (!known.users.some(({ what }) => what === user.what)) known.users.push(user);
      continue;
    }
    const { type, bavail, bsize, blocks, files, ffree } = await statfs(user.path);
    disks.set(device, {
      device,
      isElsewhere: ELSEWHERE.has(type),
      freeBytes: bavail * bsize,
      sizeBytes: blocks * bsize,
      filesFree: files === 0 ? undefined : ffree / files,
      users: [user],
    });
  }
  return [...disks.values()];
}

/** What is known of a repository before it is opened. */
export interface PlacedRepository {
  name: string;
  location: string;
}

/** Local repositories: others lie on no disk of this machine. */
export function repositoryUsers(repositories: readonly PlacedRepository[]): DiskUser[] {
  return repositories.flatMap(({ name, location }) => {
    if (/^(s3|sftp|rest|azure|gs):/.test(location)) return [];
    const path = resolve(location.replace(/^local:/, ""));
    return [{ what: `repository '${name}'`, path, role: { repository: name } }];
  });
}

/** What Chatwoot keeps on this machine. The database's folder is asked for where discovery does not tell it. */
export async function chatwootUsers(
  { dataFolders = [], storage, root }: Pick<Installation, "dataFolders" | "storage" | "root">,
  address: () => ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<DiskUser[]> {
  const users = dataFolders.map(({ server, path }): DiskUser => ({ what: server, path, role: "chatwoot" }));
  if (!dataFolders.some(({ server }) => server === "PostgreSQL")) {
    const path = await databaseFolder(address, { signal });
    if (path !== undefined) users.unshift({ what: "PostgreSQL", path, role: "chatwoot" });
  }
  for (const service of storage) {
    if (service.kind !== "local") continue;
    for (const path of service.roots) users.push({ what: "Chatwoot's uploaded files", path, role: "chatwoot" });
  }
  if (root !== undefined) users.push({ what: "Chatwoot's code", path: root, role: "chatwoot" });
  return users;
}

/** Whoever connects next says why it could not be asked. */
async function databaseFolder(
  address: () => ServerAddress,
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  try {
    return await findDataFolder(address(), { isLive: false, signal });
  } catch (error) {
    if (!isFailure(error) || error.code === "internal/bug" || signal.aborted) throw error;
    return undefined;
  }
}

export function isLow({ freeBytes, sizeBytes, filesFree }: Disk): boolean {
  const isShort = freeBytes < Math.min(LIMITS.diskLowBytes, sizeBytes * LIMITS.diskLowShare);
  return isShort || (filesFree !== undefined && filesFree < LIMITS.diskLowShare / 2);
}

/** Disks that are nearly full: a warning, and an alarm from where a backup writes nothing more. */
export function lowDiskFindings(disks: readonly Disk[]): Finding[] {
  return disks.filter(isLow).map((disk): Finding => {
    const { freeBytes, sizeBytes, users } = disk;
    const isShort = freeBytes < reserveOf(sizeBytes);
    const names = users.map(({ what }) => what);
    const holdsChatwoot = users.some(({ role }) => role === "chatwoot");
    const repository = users.find(isRepository);
    return {
      kind: "disk-low",
      level: isShort ? "alarm" : "warning",
      // The numbers change every day.
      subject: `${isShort ? "full" : "low"}: ${names.join(", ")}`,
      message: `the disk of ${joinWords(names)} has ${free(disk)}`,
      hint: [
        isShort && repository !== undefined ? "A backup writes nothing more there." : "",
        holdsChatwoot ? "When it is full, PostgreSQL stops and Redis refuses writes, so Chatwoot fails." : "",
        repository === undefined
          ? "Make room on it, or move what is named to a larger disk."
          : "Make room on it, move the repository to another disk, or keep fewer restore points ('retention', 'chatkeep prune').",
      ]
        .filter((sentence) => sentence !== "")
        .join(" "),
    };
  });
}

function free({ freeBytes, sizeBytes, filesFree }: Disk): string {
  const room = `${formatBytes(freeBytes)} of ${formatBytes(sizeBytes)} free`;
  const isShort = freeBytes < Math.min(LIMITS.diskLowBytes, sizeBytes * LIMITS.diskLowShare);
  return isShort || filesFree === undefined ? room : `room for ${Math.round(filesFree * 100)} % of its files only`;
}

function joinWords(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1) ?? ""}`;
}

/**
 * Uploaded files hardly shrink when they are compressed: a first backup needs about as much room as they have, and one that has
 * none ends half-way.
 * @param empty names of repositories without a restore point.
 */
export function roomFindings(disks: readonly Disk[], empty: readonly string[], filesBytes: number): Finding[] {
  return disks.flatMap(({ users, freeBytes, sizeBytes }) =>
    users.flatMap(({ role }): Finding[] => {
      if (typeof role !== "object" || !empty.includes(role.repository)) return [];
      if (freeBytes - reserveOf(sizeBytes) >= filesBytes) return [];
      return [
        {
          kind: "repository-no-room",
          level: "warning",
          message: `the disk of repository '${role.repository}' has ${formatBytes(freeBytes)} free, and the uploaded files alone are ${formatBytes(filesBytes)}`,
          hint: "The first backup has no room there: make some, or choose a larger disk or another place.",
        },
      ];
    }),
  );
}

/**
 * Whether restore points would be lost together with what they were made of. A repository elsewhere is enough; without one it is
 * said how bad that is.
 */
export function placeFindings(repositories: readonly PlacedRepository[], disks: readonly Disk[]): Finding[] {
  const local = new Set(repositoryUsers(repositories).map(({ what }) => what));
  const away = disks.filter(({ isElsewhere }) => isElsewhere).flatMap(({ users }) => users.map(({ what }) => what));
  if (repositories.length === 0 || local.size < repositories.length || away.some((what) => local.has(what))) return [];
  const many = repositories.length > 1;
  const names = `${many ? "repositories" : "repository"} ${joinWords(repositories.map(({ name }) => `'${name}'`))}`;
  const apart = disks.some(({ users }) => users.some(isRepository) && !users.some(({ role }) => role === "chatwoot"));
  const shared = disks.find(({ users }) => users.some(isRepository) && users.some(({ role }) => role === "chatwoot"));
  const name = ["offsite", "elsewhere", "other-place"].find((one) => repositories.every((known) => known.name !== one));
  const add = `Add one elsewhere: 'chatkeep init --add ${name ?? "NAME"}', at S3, SFTP, Azure or Google, and every backup is copied to it.`;
  if (shared === undefined || apart) {
    return [
      {
        kind: "same-machine",
        level: "warning",
        subject: names,
        message: `every restore point lies on this machine, in ${names}`,
        hint: `If it burns, is stolen or is broken into, Chatwoot and its backups are gone together. ${add}`,
      },
    ];
  }
  const what = joinWords(shared.users.filter(({ role }) => role === "chatwoot").map(({ what }) => what));
  return [
    {
      kind: "same-disk",
      level: "warning",
      subject: names,
      message: `every restore point lies in ${names}, on the same disk as ${what}`,
      hint: `If that disk dies, Chatwoot and its backups are gone together. ${add}`,
    },
  ];
}

function isRepository({ role }: DiskUser): boolean {
  return typeof role === "object";
}

/** What `doctor` says of each disk. */
export function diskFacts(disks: readonly Disk[]): { name: string; value: string; from: string }[] {
  return disks.map(({ freeBytes, sizeBytes, users }) => {
    const [first = "", ...others] = users.map(({ what }) => what);
    return {
      name: `disk of ${first}`,
      value: `${formatBytes(freeBytes)} of ${formatBytes(sizeBytes)} free`,
      from: others.length === 0 ? "" : `and of ${joinWords(others)}`,
    };
  });
}

/**
 * For a backup: the disks that local repositories fill. Nobody is asked anything where they have room enough.
 * @param address may throw; whoever connects next says why.
 */
export async function backupDiskFindings(
  repositories: readonly PlacedRepository[],
  installation: Pick<Installation, "dataFolders" | "storage" | "root">,
  address: () => ServerAddress,
  options: { signal: AbortSignal },
): Promise<Finding[]> {
  const own = repositoryUsers(repositories);
  const low = (await readDisks(own)).filter(isLow);
  if (low.length === 0) return [];
  const all = await readDisks([...own, ...(await chatwootUsers(installation, address, options))]);
  return lowDiskFindings(all.filter(({ device }) => low.some((one) => one.device === device)));
}
