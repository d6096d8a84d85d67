/**
 * Tablespaces that were made after the base. The log names the folder of each as it was on the database's own machine, and a server
 * that replays that takes the folder as it is: where the live server runs beside it, it would write into the live one's files. So
 * none is handed a log that names a folder of anybody else's: each gets one of ours, by a name that is as long.
 *
 * The name is relative, and a server looks it up from its data folder when it makes it and from `pg_tblspc` ever after. Links in both
 * places lead to the same folder:
 *
 *     <folder>/a → tablespaces/16385         data/a → ../tablespaces/16385          named ../a////
 */
import { chown, mkdir, open, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { Failure } from "../base/errors.ts";
import { type MadeTablespace, madeTablespaces, movedTablespace, pageBytesOf } from "../wal/made-tablespaces.ts";
import { LONG_HEADER_BYTES } from "../wal/page.ts";
import type { User } from "./scratch-place.ts";

/** So much of a segment is looked at at once. */
const PART_BYTES = 16 * 1024 * 1024;
/** No record that makes a tablespace reaches further, not even where pages have 1 KiB. */
const AROUND_PAGES = 3;

export interface OwnTablespacesOptions {
  /** Holds the data folder, and `tablespaces`. */
  readonly folder: string;
  readonly data: string;
  /** Whom the server runs as, where that is not us. */
  readonly user: User | undefined;
}

export class OwnTablespaces {
  readonly #o: OwnTablespacesOptions;
  /** By oids: one may be made, dropped and made again, and a segment asked for twice. */
  readonly #names = new Map<number, string>();

  constructor(options: OwnTablespacesOptions) {
    this.#o = options;
  }

  /** @throws Failure `recovery/failed` where a name cannot be changed. */
  async settle(segment: string): Promise<void> {
    await using file = await open(segment, "r+");
    const segmentBytes = (await file.stat()).size;
    const read = async (from: number, to: number) => {
      const bytes = new Uint8Array(to - from);
      await file.read(bytes, 0, bytes.length, from);
      return bytes;
    };
    const pageBytes = pageBytesOf(await read(0, Math.min(segmentBytes, LONG_HEADER_BYTES)));
    // What is no log the server refuses.
    if (pageBytes === undefined) return;
    for (let from = 0; from < segmentBytes; from += PART_BYTES) {
      const to = Math.min(from + PART_BYTES, segmentBytes);
      // A record may begin and end on other pages.
      const origin = Math.max(0, from - AROUND_PAGES * pageBytes);
      const bytes = await read(origin, Math.min(to + AROUND_PAGES * pageBytes, segmentBytes));
      const part = { bytes, origin, segmentBytes, pageBytes };
      const { whole, isCut } = madeTablespaces(part, { from, to });
      if (isCut) throw notMoved("at the end of a file of the log");
      for (const made of whole) {
        const record = movedTablespace(part, made, await this.#place(made));
        for (const [index, at] of made.places.entries()) await file.write(record, index, 1, at);
      }
    }
  }

  /** The name of a folder of ours. */
  async #place({ oid, location }: MadeTablespace): Promise<string> {
    const { folder, data, user } = this.#o;
    const own = this.#names.get(oid) ?? letters(this.#names.size);
    this.#names.set(oid, own);
    const name = location.length > 3 ? `../${own}` : own;
    if (name.length > location.length) throw notMoved(`in '${location.toString("utf8")}'`);
    const place = join(folder, "tablespaces", String(oid));
    await mkdir(place, { recursive: true, mode: 0o700 });
    if (user !== undefined) await chown(place, user.uid, user.gid);
    for (const from of [data, join(data, "pg_tblspc")]) {
      const link = join(from, name);
      await symlink(relative(join(link, ".."), place), link).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
    }
    return name.padEnd(location.length, "/");
  }
}

/** `a` to `z`, then `aa`: no name that anything has there. */
function letters(index: number): string {
  const last = String.fromCodePoint(0x61 + (index % 26));
  return index < 26 ? last : `${letters(Math.floor(index / 26) - 1)}${last}`;
}

function notMoved(where: string): Failure {
  return new Failure("recovery/failed", `a tablespace was made after the base, ${where}, and cannot be put elsewhere`, {
    hint: "A server that replays it could write into the live one's files. Take a moment that a newer base serves, or a restore point, which needs no tablespaces.",
  });
}
