/**
 * The index of a large repository as it was last read, kept on this machine: a million chunks are then there at once, instead
 * of after a second of taking index files apart. It says which index files it was made of. Those are not read again while all of them
 * are in the repository; whatever takes a chunk out of the index writes other ones.
 *
 * It is sealed with the repository's keys, in pieces that say where they belong, so it tells nobody anything and cannot be
 * altered unnoticed. It may be lost at any time: nothing that happens to it makes a call fail.
 */
import { randomBytes } from "node:crypto";
import { open, readdir, rename, rm } from "node:fs/promises";
import { endianness } from "node:os";
import { dirname, join } from "node:path";
import { type FileId, parseFileId, parsePackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { type Keys, seal, SEAL_OVERHEAD, unseal, unsealInto } from "../format/crypto.ts";
import { makeFolders } from "../system/folders.ts";
import { isLeftoverName, leftoverName, mayRemoveLeftover } from "../system/leftovers.ts";
import { ROW_WORDS } from "../format/index-scan.ts";
import { ChunkIndex } from "./index.ts";

/** Rows of another layout are another form. */
const FORM = `1-${ROW_WORDS}-${ChunkIndex.segmentBytes}`;
const TOKEN_BYTES = 16;
/** Before each piece's rows: the token of the whole, and the piece's number. */
const PIECE_HEAD_BYTES = TOKEN_BYTES + 4;

interface Head {
  form: string;
  endianness: string;
  /** Hex: the same in every piece. */
  token: string;
  files: string[];
  packs: string[];
  rows: number;
}

/**
 * The index that is kept, if all that it was made of is still there.
 * @param path of the file that {@link keepIndex} wrote.
 * @param listed The repository's index files now.
 * @returns undefined where there is none, or it is of no use.
 */
export async function readKeptIndex(
  path: string,
  keys: Keys,
  listed: ReadonlySet<FileId>,
): Promise<{ index: ChunkIndex; files: Set<FileId> } | undefined> {
  try {
    await using file = await open(path, "r");
    const next = async (length: number) => {
      const bytes = Buffer.allocUnsafeSlow(length);
      const { bytesRead } = await file.read(bytes, 0, length);
      if (bytesRead !== length) throw new Error("a kept index was cut short");
      return bytes;
    };
    const headBytes = (await next(4)).readUInt32LE(0);
    if (headBytes > (await file.stat()).size) return undefined;
    const head = JSON.parse(unseal(keys, await next(headBytes)).toString()) as Head;
    if (head.form !== FORM || head.endianness !== endianness()) return undefined;
    const files = new Set(head.files.map(parseFileId));
    if (!files.isSubsetOf(listed)) return undefined;
    const index = new ChunkIndex();
    const plain = Buffer.allocUnsafeSlow(PIECE_HEAD_BYTES + ChunkIndex.segmentBytes);
    const packs = head.packs.map(parsePackId);
    let piece = 0;
    for (const { bytes, fill } of index.fillFrom(packs, head.rows)) {
      const sealed = await next(PIECE_HEAD_BYTES + bytes + SEAL_OVERHEAD);
      unsealInto(keys, sealed, plain, 0);
      if (!plain.subarray(0, PIECE_HEAD_BYTES).equals(pieceHead(head.token, piece))) return undefined;
      fill(plain.subarray(PIECE_HEAD_BYTES, PIECE_HEAD_BYTES + bytes));
      piece += 1;
    }
    return { index, files };
  } catch {
    return undefined;
  }
}

function pieceHead(token: string, piece: number): Buffer {
  const head = Buffer.alloc(PIECE_HEAD_BYTES);
  head.write(token, "hex");
  head.writeUInt32LE(piece, TOKEN_BYTES);
  return head;
}

/** True when so many chunks are not among those that are kept that it is worth its while to keep all of them anew. */
export function isWorthKeeping(chunks: number, kept: number): boolean {
  return chunks >= LIMITS.keptIndexChunks && (chunks - kept) * LIMITS.keptIndexGrowth > chunks;
}

/** Keeps the index, which consists of these files and nothing else. Whether it can be kept or not, it comes back. */
export async function keepIndex(
  path: string,
  keys: Keys,
  { index, files }: { index: ChunkIndex; files: readonly FileId[] },
): Promise<void> {
  const folder = dirname(path);
  const beside = join(folder, leftoverName());
  try {
    await makeFolders(folder, 0o700);
    for (const name of await readdir(folder))
      if (isLeftoverName(name) && (await mayRemoveLeftover(folder, name))) await rm(join(folder, name));
    const token = randomBytes(TOKEN_BYTES).toString("hex");
    const made = { files: [...files], packs: [...index.packNames], rows: index.size };
    const head: Head = { form: FORM, endianness: endianness(), token, ...made };
    {
      await using file = await open(beside, "wx", 0o600);
      const sealed = seal(keys, Buffer.from(JSON.stringify(head)));
      const length = Buffer.alloc(4);
      length.writeUInt32LE(sealed.length);
      await file.write(length);
      await file.write(sealed);
      let piece = 0;
      for (const part of index.rowBytes()) {
        await file.write(seal(keys, Buffer.concat([pieceHead(token, piece), part])));
        piece += 1;
      }
    }
    await rename(beside, path);
  } catch {
    await rm(beside, { force: true }).catch(() => {});
  }
}
