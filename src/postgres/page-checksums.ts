/**
 * Whether every page of a cluster's files has the checksum that it carries, as pg_checksums does, which asks for a server that is
 * stopped. Ours may run: nobody changes anything in a recovered cluster, and after a checkpoint all of it is in its files.
 *
 * The checksum (PostgreSQL's checksum_impl.h): 32 sums of FNV-1a kind run side by side over the page's 32-bit words, and are
 * folded by exclusive or; the page's number is mixed in, so that one page cannot stand for another.
 */
import { open, readdir } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import type { Connection } from "./connect.ts";

const PAGE = 8192;
const LANES = 32;
const PRIME = 16_777_619;
const CHECKSUM_AT = 8;
const UPPER_AT = 14;
const READ_PAGES = 128;
/** `N_SUMS` offsets of checksum_impl.h: without them, lanes of equal words would be equal. */
const OFFSETS = Int32Array.of(
  0x5b1f36e9,
  0xb8525960,
  0x02ab50aa,
  0x1de66d2a,
  0x79ff467a,
  0x9bb9f8a3,
  0x217e7cd2,
  0x83e13d2c,
  0xf8d4474f,
  0xe39eb970,
  0x42c6ae16,
  0x993216fa,
  0x7b093b5d,
  0x98daff3c,
  0xf718902a,
  0x0b1c9cdb,
  0xe58f764b,
  0x187636bc,
  0x5d7b3bb1,
  0xe73de7de,
  0x92bec979,
  0xcca6c0b2,
  0x304a0979,
  0x85aa43d4,
  0x783125bb,
  0x6ca8eaa2,
  0xe407eac6,
  0x4b5cfc3e,
  0x9fbf8c76,
  0x15ca20be,
  0xf2ca9fd3,
  0x959bd756,
);

/** @param page 8 KiB. @param block its number in its relation's fork. */
export function pageChecksum(page: Buffer, block: number): number {
  const sums = OFFSETS.slice();
  const words = new Int32Array(PAGE / 4);
  for (let at = 0; at < words.length; at += 1) words[at] = page.readInt32LE(at * 4);
  // The checksum itself counts as zero.
  words[CHECKSUM_AT / 4] = (words[CHECKSUM_AT / 4] ?? 0) & ~0xffff;
  for (let at = 0; at < words.length; at += LANES) {
    for (let lane = 0; lane < LANES; lane += 1) mix(sums, lane, words[at + lane] ?? 0);
  }
  for (let round = 0; round < 2; round += 1) for (let lane = 0; lane < LANES; lane += 1) mix(sums, lane, 0);
  const folded = (sums.reduce((all, sum) => all ^ sum, 0) ^ block) >>> 0;
  return (folded % 65_535) + 1;
}

function mix(sums: Int32Array, lane: number, word: number): void {
  const mixed = (sums[lane] ?? 0) ^ word;
  sums[lane] = Math.imul(mixed, PRIME) ^ (mixed >>> 17);
}

export interface PageCheck {
  readonly pages: number;
  /** The first of many: a file below the cluster's folder, and the page's number in it. */
  readonly wrong: readonly { readonly file: string; readonly page: number }[];
}

const WRONG_NAMED = 20;
/** Of relations: their oid or filenode, with the fork and the number of the file. */
const RELATION = /^t?\d*_?\d+(?:_(?:fsm|vm|init))?(?:\.(\d+))?$/;

/**
 * @param data the cluster's folder, whose server nobody else changes anything on.
 * @returns undefined for a cluster that has no checksums, or pages of another size.
 * @throws Failure of the database; what reading a file throws.
 */
export async function checkPages(
  connection: Connection,
  data: string,
  { signal }: { signal: AbortSignal },
): Promise<PageCheck | undefined> {
  const [row] = await connection.query<{ sums: string; page: string; segment: string }>(
    `select pg_catalog.current_setting('data_checksums') as sums, pg_catalog.current_setting('block_size') as page,
            pg_catalog.pg_size_bytes(pg_catalog.current_setting('segment_size'))::text as segment`,
  );
  if (row?.sums !== "on" || row.page !== String(PAGE)) return undefined;
  await connection.query("checkpoint");
  const perFile = Number(row.segment) / PAGE;
  const wrong: { file: string; page: number }[] = [];
  let pages = 0;
  for (const folder of ["base", "global", "pg_tblspc"]) {
    for await (const file of relationFiles(join(data, folder))) {
      const first = Number(RELATION.exec(basename(file))?.[1] ?? "0") * perFile;
      for await (const { page, at } of readPages(file)) {
        signal.throwIfAborted();
        pages += 1;
        // One that was added and never filled has nothing at all.
        if (page.readUInt16LE(UPPER_AT) === 0) continue;
        if (page.readUInt16LE(CHECKSUM_AT) !== pageChecksum(page, first + at) && wrong.length < WRONG_NAMED)
          wrong.push({ file: relative(data, file), page: at });
      }
    }
  }
  return { pages, wrong };
}

/** Tablespaces are links, which a walk through folders passes over. */
async function* relationFiles(folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() || entry.isSymbolicLink()) yield* relationFiles(path);
    else if (RELATION.test(entry.name)) yield path;
  }
}

async function* readPages(file: string): AsyncGenerator<{ page: Buffer; at: number }> {
  await using handle = await open(file);
  const buffer = Buffer.alloc(PAGE * READ_PAGES);
  for (let at = 0; ;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at * PAGE);
    const whole = Math.floor(bytesRead / PAGE);
    for (let page = 0; page < whole; page += 1)
      yield { page: buffer.subarray(page * PAGE, (page + 1) * PAGE), at: at + page };
    at += whole;
    if (whole < READ_PAGES) return;
  }
}
