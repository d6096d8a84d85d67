/** Where a scratch server's folder can lie: its user must get there, and its disk must hold the data. */
import { access, constants, readFile, realpath, stat, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";

/** Whom the server runs as. */
export interface User {
  uid: number;
  gid: number;
}

/** PostgreSQL refuses to run as root: then as `postgres`, which its packages bring, or as `nobody`. */
export async function serverUser(): Promise<User | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  const user = users.find(([name]) => name === "postgres") ?? users.find(([name]) => name === "nobody");
  if (user !== undefined) return { uid: Number(user[2]), gid: Number(user[3]) };
  throw new Failure("program/failed", "a scratch server may not run as root, and there is no user postgres or nobody", {
    hint: "Run Chatkeep as a user that is not root, or make one named postgres.",
  });
}

/** The system's temporary folder, or another one that the user can get to where it cannot get there. */
export async function chooseParent(user: User | undefined): Promise<string> {
  const usual = tmpdir();
  if (user === undefined) return usual;
  for (const path of [usual, "/var/tmp", "/tmp"]) if (await canEnter(path, user)) return path;
  return usual;
}

/** Whether the user can get to a folder that we can write to; groups besides its own are not counted. */
async function canEnter(path: string, user: User): Promise<boolean> {
  try {
    await access(path, constants.W_OK | constants.X_OK);
  } catch {
    return false;
  }
  return await canReach(path, user);
}

/** Whether the modes of a program or folder and of all above it let the user through. */
export async function canReach(path: string, { uid, gid }: User): Promise<boolean> {
  try {
    for (let at = await realpath(path); ; at = dirname(at)) {
      const { mode, uid: owner, gid: group } = await stat(at);
      const needed = uid === owner ? 0o100 : gid === group ? 0o010 : 0o001;
      if ((mode & needed) === 0) return false;
      if (at === dirname(at)) return true;
    }
  } catch {
    return false;
  }
}

/** A scratch server keeps about so much of its log: `max_wal_size` in scratch-process.ts. */
const LOG_BYTES = 2 * 1024 ** 3;

/**
 * @param dataBytes of tables and indexes; their log comes on top.
 * @throws Failure `store/full`.
 */
export async function refuseWithoutSpace(parent: string, dataBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(parent);
  const [free, needed] = [bavail * bsize, dataBytes + Math.min(dataBytes, LOG_BYTES)];
  if (free >= needed) return;
  throw new Failure(
    "store/full",
    `${parent} has ${formatBytes(free)} free, the scratch server needs ${formatBytes(needed)}`,
    {
      hint: "Free some space, or set TMPDIR to a folder on a larger disk.",
    },
  );
}

/** The same for a server that is made on this machine, before anything is begun. @throws Failure `store/full`. */
export async function refuseHereWithoutSpace(dataBytes: number): Promise<void> {
  await refuseWithoutSpace(await chooseParent(await serverUser()), dataBytes);
}
