/** From index files, or from the packs' own headers where those are gone, to the index in memory. */
import { releaseUnpacked } from "../base/bytes.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { messageOf } from "../base/errors.ts";
import { parseFileId, parsePackId, type FileId, type PackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { decodeIndex } from "../format/index-file.ts";
import { scanIndex } from "../format/index-scan.ts";
import { decodePackHeader, packTailBytes, type PackEntry } from "../format/pack.ts";
import { openUnpacked, utf8 } from "../format/unpacked.ts";
import type { ListedFile } from "../store/store.ts";
import { isDamage } from "./chunk.ts";
import { ChunkIndex } from "./index.ts";
import { isWorthKeeping, keepIndex, readKeptIndex } from "./kept-index.ts";
import type { PackRecord } from "./pack-record.ts";
import type { Repository } from "./repository.ts";

/** A file of the repository that cannot be used, and why. */
export interface DamagedFile {
  readonly id: FileId;
  readonly reason: string;
}

/** What a chunk takes of a compressed index file, or a little more: most of it is its id, which nothing makes smaller. */
const LISTED_CHUNK_BYTES = 44;

/**
 * Reads every index file, a few at a time; what is damaged is named, not thrown. `files` names all, those too.
 * @param options.kept The file of this machine that has what was read before: those index files are not read again.
 */
export async function readIndexFiles(
  repository: Repository,
  { kept, signal }: { kept?: string | undefined; signal: AbortSignal },
): Promise<{ index: ChunkIndex; files: FileId[]; damaged: DamagedFile[] }> {
  const damaged: DamagedFile[] = [];
  const listed = await Array.fromAsync(repository.store.list("index", { signal }));
  const there = new Set(listed.map(({ name }) => parseFileId(name)));
  const before = kept === undefined ? undefined : await readKeptIndex(kept, repository.keys, there);
  const index = before?.index ?? new ChunkIndex();
  const known = index.size;
  if (before === undefined)
    index.reserve(Math.floor(listed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) / LISTED_CHUNK_BYTES));
  const files = await mapConcurrent(
    there,
    LIMITS.smallReads,
    async (id) => {
      if (before?.files.has(id) === true) return id;
      try {
        const json = openUnpacked(repository.keys, await repository.getNamed("index", id, { signal }));
        // What was added before the other way of reading it began is added once all the same.
        if (!scanIndex(json, (pack) => index.addScanned(pack))) decodeIndex(utf8(json), (pack) => index.add(pack));
        releaseUnpacked(json);
      } catch (error) {
        if (!isDamage(error)) throw error;
        damaged.push({ id, reason: messageOf(error) });
      }
      return id;
    },
    { signal },
  );
  const isWhole = damaged.length === 0;
  if (kept !== undefined && isWhole && isWorthKeeping(index.size, known))
    await keepIndex(kept, repository.keys, { index, files });
  return { index, files, damaged };
}

/** How much of a pack's end is read at first: enough for most headers. */
const TAIL_BYTES = 64 * 1024;

/** What lies in a pack, from its header. @throws Failure `repo/damaged`, `store/not-found`. */
async function readPackHeader(
  repository: Repository,
  { id, sizeBytes }: { id: PackId; sizeBytes: number },
  { signal }: { signal: AbortSignal },
): Promise<PackEntry[]> {
  const ref = { kind: "data", name: id } as const;
  const first = Math.min(TAIL_BYTES, sizeBytes);
  let tail = await repository.store.get(ref, { signal, offset: sizeBytes - first, length: first });
  const needed = packTailBytes(tail, sizeBytes);
  if (needed > tail.length) {
    tail = await repository.store.get(ref, { signal, offset: sizeBytes - needed, length: needed });
  }
  return decodePackHeader(repository.keys, tail, sizeBytes);
}

/**
 * Reads the headers of packs that no index file names: an interrupted run left them, or their index file is gone.
 * Those that cannot be read hold nothing that anybody could use.
 * @param options `listed`: the packs in the store, when the caller has them.
 */
export async function recoverPacks(
  repository: Repository,
  index: ChunkIndex,
  { signal, listed }: { signal: AbortSignal; listed?: Iterable<ListedFile> },
): Promise<{ records: PackRecord[]; unusable: DamagedFile[] }> {
  const records: PackRecord[] = [];
  const unusable: DamagedFile[] = [];
  await mapConcurrent(
    listed ?? repository.store.list("data", { signal }),
    LIMITS.smallReads,
    async ({ name, sizeBytes }) => {
      const id = parsePackId(name);
      if (index.hasPack(id)) return;
      try {
        records.push({ id, entries: await readPackHeader(repository, { id, sizeBytes }, { signal }), sizeBytes });
      } catch (error) {
        if (!isDamage(error)) throw error;
        unusable.push({ id, reason: messageOf(error) });
      }
    },
    { signal },
  );
  return { records, unusable };
}
