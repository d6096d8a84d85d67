/**
 * Notices that could not be delivered, in a folder, one file each, until a later run delivers them or they are too old to
 * be of use.
 */
import { randomUUID } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { formatInstant } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import { replaceFile } from "../system/replace-file.ts";
import { makeFolders } from "../system/folders.ts";
import { type Notice, OUTCOMES } from "./notice.ts";

export interface KeptNotice {
  path: string;
  /** The channel's name. */
  channel: string;
  /** When it was to be told, milliseconds since 1970. */
  atMs: number;
  notice: Notice;
}

interface Stored {
  schema: 1;
  channel: string;
  atMs: number;
  notice: Notice;
}

const NAME = /^[\d-]+T[\dZ.-]+-[0-9a-f-]{36}\.json$/;

/** @param atMs when it was to be told. */
export async function keepNotice(folder: string, channel: string, notice: Notice, atMs: number): Promise<void> {
  await makeFolders(folder, 0o700);
  const name = `${formatInstant(atMs).replaceAll(":", "-")}-${randomUUID()}.json`;
  const stored: Stored = { schema: 1, channel, atMs, notice };
  await replaceFile(join(folder, name), `${JSON.stringify(stored, null, 1)}\n`, 0o600);
}

/** The oldest first; what cannot be read is removed. */
export async function readKept(folder: string): Promise<KeptNotice[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => NAME.test(name)).toSorted();
  const kept: KeptNotice[] = [];
  // So many that somebody must have looked away for weeks: the newest say enough.
  for (const name of names.slice(0, -LIMITS.noticesKept)) await rm(join(folder, name), { force: true });
  for (const name of names.slice(-LIMITS.noticesKept)) {
    const path = join(folder, name);
    const stored = parse(await readFile(path, "utf8").catch(() => ""));
    if (stored === undefined) await rm(path, { force: true });
    else kept.push({ path, channel: stored.channel, atMs: stored.atMs, notice: stored.notice });
  }
  return kept;
}

export async function dropKept({ path }: KeptNotice): Promise<void> {
  await rm(path, { force: true });
}

function parse(text: string): Stored | undefined {
  try {
    const value = JSON.parse(text) as Partial<Stored>;
    const { notice } = value;
    const isWhole =
      value.schema === 1 &&
      typeof value.channel === "string" &&
      typeof value.atMs === "number" &&
      typeof notice?.title === "string" &&
      typeof notice.text === "string" &&
      OUTCOMES.includes(notice.outcome);
    return isWhole ? (value as Stored) : undefined;
  } catch {
    return undefined;
  }
}
