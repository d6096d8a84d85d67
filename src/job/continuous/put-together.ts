/**
 * Puts the files of an incremental base together while they come, so that what is stored is a whole base like any other: chunks
 * in which nothing changed are the earlier base's, and neither read nor sent; of the others the blocks that came are put into what
 * was there. Nothing of it needs the earlier base afterwards: its chunks stay for as long as any snapshot names them.
 */
import { createHash } from "node:crypto";
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import { type ManifestFile, manifestWith, parseManifest } from "../../postgres/base-manifest.ts";
import {
  type IncrementalFile,
  isVisibilityMap,
  pathOfWhole,
  readIncrementalFile,
  type RelationCut,
  wholeLabel,
} from "../../postgres/incremental-file.ts";
import type { BaseEntry as SentEntry } from "../../postgres/replication-base.ts";
import { type EarlierFile, type EarlierFiles, ID_BYTES } from "./earlier-base.ts";
import { ChunkIds, type Pieces } from "./pieces.ts";
import { type FilePlan, type MadeChunk, planFile } from "./plan-file.ts";
import type { BaseEntry } from "./save-base.ts";

type SentFile = Extract<SentEntry, { kind: "file" }>;
type Checksum = ManifestFile["checksum"];

const LABEL = "backup_label";

export class Together {
  readonly #earlier: EarlierFiles;
  readonly #cut: RelationCut;
  /** By the path under which it came: the SHA-256 of what came … */
  readonly #came = new Map<string, string>();
  /** … and what became of it. */
  readonly #files = new Map<string, ManifestFile>();

  /** @param cut the server's. */
  constructor(earlier: EarlierFiles, cut: RelationCut) {
    this.#earlier = earlier;
    this.#cut = cut;
  }

  /** @throws Failure `repo/damaged` where the earlier base lacks what is needed, `database/failed` for what is no file of blocks. */
  async *entries(sent: AsyncIterable<SentEntry>): AsyncGenerator<BaseEntry, void, void> {
    for await (const entry of sent) {
      if (entry.kind !== "file") yield entry;
      else if (entry.path === LABEL) yield await this.#label(entry);
      else {
        const path = pathOfWhole(entry.path);
        yield path === undefined ? entry : await this.#whole(entry, path);
      }
    }
  }

  async #label(entry: SentFile): Promise<BaseEntry> {
    const parts: Buffer[] = [];
    for await (const part of entry.bytes) parts.push(Buffer.from(part));
    const sent = Buffer.concat(parts);
    const label = Buffer.from(wholeLabel(sent.toString("utf8")), "utf8");
    this.#came.set(LABEL, sha256(sent));
    this.#files.set(LABEL, { path: LABEL, size: label.length, checksum: checksumOf(sha256(label)) });
    return { ...entry, size: label.length, bytes: [label] };
  }

  async #whole(entry: SentFile, path: string): Promise<BaseEntry> {
    const earlier = await this.#earlier.find(path);
    const sum = createHash("sha256");
    const bytes = hashing(entry.bytes, sum);
    const file = await readIncrementalFile({ path: entry.path, bytes }, this.#cut);
    const lengths = {
      earlierBytes: isVisibilityMap(path) ? 0 : earlier.size,
      blockBytes: this.#cut.blockBytes,
      chunkBytes: LIMITS.baseChunkBytes,
    };
    const plan = planFile(file, lengths);
    const store = async (pieces: Pieces) => {
      const { ids, checksum } = await this.#store(pieces, { path, earlier, file, plan });
      await file.end();
      this.#came.set(entry.path, sum.digest("hex"));
      this.#files.set(entry.path, { path, size: plan.sizeBytes, checksum });
      return ids;
    };
    return { ...entry, path, size: plan.sizeBytes, bytes: [], store };
  }

  async #store(
    pieces: Pieces,
    { path, earlier, file, plan }: { path: string; earlier: EarlierFile; file: IncrementalFile; plan: FilePlan },
  ): Promise<{ ids: ChunkIds; checksum: Checksum }> {
    const ids = new ChunkIds(plan.chunks);
    const kept = keptIds(earlier, plan);
    await this.#earlier.refuseMissing(path, Buffer.concat(kept.map(({ bytes }) => bytes)));
    for (const { at, bytes } of kept) ids.set(bytes, at);
    // What is not read has no checksum of its own; the chunks' names are theirs.
    const whole = plan.made.length === plan.chunks ? createHash("sha256") : undefined;
    for await (const [chunk, was] of this.#withEarlier(earlier, plan.made)) {
      const bytes = Buffer.alloc(chunk.length);
      if (was !== undefined && was.length < chunk.earlierBytes) throw cutOtherwise(path);
      if (was !== undefined) bytes.set(was.subarray(0, chunk.earlierBytes));
      for (const block of chunk.blocks) bytes.set(await file.next(), block * this.#cut.blockBytes);
      whole?.update(bytes);
      await pieces.addPiece(ids, chunk.at, bytes);
    }
    if (whole !== undefined) return { ids, checksum: checksumOf(whole.digest("hex")) };
    const isSame = plan.made.length === 0 && plan.sizeBytes === earlier.size;
    return { ids, checksum: isSame ? this.#earlier.manifest.get(path)?.checksum : undefined };
  }

  /** Chunks of a file that are made anew, each with what it was, where that is needed: some are read ahead. */
  async *#withEarlier(
    earlier: EarlierFile,
    made: readonly MadeChunk[],
  ): AsyncGenerator<[MadeChunk, Buffer | undefined], void, void> {
    const reads: Promise<Buffer | undefined>[] = [];
    for (const [number, chunk] of made.entries()) {
      for (const next of made.slice(number + reads.length, number + LIMITS.smallReads)) {
        const read = next.earlierBytes === 0 ? Promise.resolve(undefined) : this.#earlier.readChunk(earlier, next.at);
        // It is asked for below; until then its failure must not count as unhandled.
        read.catch(() => {});
        reads.push(read);
      }
      yield [chunk, await reads.shift()];
    }
  }

  /**
   * The manifest of the whole base. A file that was put together has the checksum that the earlier base's manifest says where it is
   * the same, its own where all of it was at hand, and else none: it is checked by its size and, as each chunk is read, by the chunks.
   * @param sent the server's, which names what came.
   * @throws Failure `database/failed` where that is not what came.
   */
  manifest(sent: Buffer): Buffer {
    for (const { path, checksum } of parseManifest(sent)) {
      const came = this.#came.get(path);
      if (came === undefined || checksum?.algorithm !== "SHA256" || checksum.hex === came) continue;
      throw new Failure("database/failed", `what came as '${path}' is not what the server sent, by its manifest`, {
        hint: "Something in between changed it; try again.",
      });
    }
    return manifestWith(sent, this.#files);
  }
}

function cutOtherwise(path: string): Failure {
  return new Failure("repo/damaged", `the base has '${path}' in other pieces than a base has`);
}

/** The ids that stay, each row of chunks in one piece. */
function keptIds({ ids }: EarlierFile, { made, chunks }: FilePlan): { at: number; bytes: Buffer }[] {
  const rows: { at: number; bytes: Buffer }[] = [];
  let from = 0;
  for (const at of [...made.map((chunk) => chunk.at), chunks]) {
    if (at > from) rows.push({ at: from, bytes: ids.subarray(from * ID_BYTES, at * ID_BYTES) });
    from = at + 1;
  }
  return rows;
}

async function* hashing(
  bytes: AsyncIterable<Buffer>,
  sum: ReturnType<typeof createHash>,
): AsyncGenerator<Buffer, void, void> {
  for await (const part of bytes) {
    sum.update(part);
    yield part;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function checksumOf(hex: string): Checksum {
  return { algorithm: "SHA256", hex };
}
