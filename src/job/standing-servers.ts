/**
 * What a machine remembers of the servers that were left running: a file for each, written before its folder is made, so that what
 * a command or a machine that went down left behind is found and removed.
 */
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { Failure } from "../base/errors.ts";
import { endStanding, isStandingOver, isStandingSeen, type StandingProcess } from "../postgres/standing.ts";
import { makeFolders } from "../system/folders.ts";
import { isProcessOver, isProcessSeen, type KnownProcess, knownProcess } from "../system/known-process.ts";
import { replaceFile } from "../system/replace-file.ts";
import type { RecoveredServer } from "./server-summary.ts";

export interface ServerRecord {
  readonly schema: 1;
  readonly server: RecoveredServer;
  /** The command that recovers it, while it does. */
  readonly recovering: KnownProcess | null;
  readonly standing: StandingProcess | null;
}

const ID = /^[0-9a-f]{6}$/;
const PREFIX = "chatkeep-recovered-";

/** Whether a server can ever have been called so. */
export function isServerId(name: string): boolean {
  return ID.test(name);
}

export function newServerId(): string {
  return randomBytes(3).toString("hex");
}

/** Nothing that sweeps temporary folders takes it for one. */
export function folderName(id: string): string {
  return `${PREFIX}${id}`;
}

/** @param home the folder of an installation's records. */
export async function writeServer(home: string, record: ServerRecord): Promise<void> {
  await makeFolders(home, 0o700);
  await replaceFile(fileOf(home, record), `${JSON.stringify(record)}\n`, 0o600);
}

function fileOf(home: string, { server }: ServerRecord): string {
  return join(home, `${server.id}.json`);
}

/** Those that are there, the oldest first; one whose file cannot be read is none. */
async function readServers(home: string): Promise<ServerRecord[]> {
  const found: ServerRecord[] = [];
  for (const name of await readdir(home).catch(() => [])) {
    if (!name.endsWith(".json")) continue;
    try {
      const record = JSON.parse(await readFile(join(home, name), "utf8")) as ServerRecord;
      // What is removed by it must be ours.
      const { id, folder } = record.server;
      if (record.schema === 1 && ID.test(id) && basename(folder) === folderName(id)) found.push(record);
    } catch {
      // It was being written, or removed.
    }
  }
  return found.toSorted((a, b) => (a.server.since < b.server.since ? -1 : 1));
}

/** Those that run or are being recovered. What others left is removed: of a server that was killed, of a machine that was restarted. */
export async function runningServers(home: string, { signal }: { signal: AbortSignal }): Promise<ServerRecord[]> {
  const { running, over } = await lookAtServers(home, { signal });
  for (const record of over) {
    // One whose command ended before it could say how it is reached is of no use.
    if (record.standing !== null && record.recovering !== null) await endStanding(record.standing);
    await forgetServer(home, record);
  }
  return running;
}

/** Changes nothing. */
export async function lookAtServers(
  home: string,
  { signal }: { signal: AbortSignal },
): Promise<{ running: ServerRecord[]; over: ServerRecord[] }> {
  const found: { running: ServerRecord[]; over: ServerRecord[] } = { running: [], over: [] };
  for (const record of await readServers(home)) {
    if (await isOver(record, { signal })) found.over.push(record);
    else found.running.push(isSeen(record) ? record : { ...record, server: { ...record.server, state: "unseen" } });
  }
  return found;
}

/** The folder of the records may be shared with other machines and containers. */
function isSeen({ recovering, standing }: ServerRecord): boolean {
  if (recovering !== null) return isProcessSeen(recovering);
  return standing === null || isStandingSeen(standing);
}

/** While a command is at it, that decides: what it has started so far may have ended, and another be coming. */
async function isOver({ recovering, standing }: ServerRecord, { signal }: { signal: AbortSignal }): Promise<boolean> {
  if (recovering !== null) return isProcessOver(recovering);
  return standing === null || (await isStandingOver(standing, { signal })) === true;
}

/**
 * Its folder first: while the file is there, somebody finds what is left of it. A server whose start came to nobody's knowledge ends by
 * itself when its folder is gone: PostgreSQL looks for its lock file every minute.
 */
async function forgetServer(home: string, record: ServerRecord): Promise<void> {
  await rm(record.server.folder, { recursive: true, force: true });
  await rm(fileOf(home, record), { force: true });
}

/**
 * Ends it and removes all of it.
 * @throws Failure `program/failed` where it is another user's; `target/unsuitable` where it cannot be seen from here. Nothing goes then.
 */
export async function stopServer(home: string, record: ServerRecord): Promise<void> {
  const { server } = record;
  if (server.state === "unseen") {
    throw new Failure("target/unsuitable", `server ${server.id} cannot be seen from here, and so not be ended`, {
      hint: `It was started on another machine, or in another container: say it there. Where that is gone, so is the server: remove '${fileOf(home, record)}', and '${server.folder}' there.`,
    });
  }
  if (record.standing !== null) await endStanding(record.standing);
  await forgetServer(home, record);
}

/** This command is at it. */
export function beingRecovered(server: RecoveredServer): ServerRecord {
  return { schema: 1, server, recovering: knownProcess(process.pid), standing: null };
}
