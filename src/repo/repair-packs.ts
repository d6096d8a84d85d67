/**
 * Makes damaged packs whole again: what is whole in them is copied as it is, what is not is taken from another pack, or
 * from another repository that has the same chunk.
 *
 * What nothing has any more goes out of the index with its pack: while the index names it, every backup takes it for
 * stored. The next one stores it again if the installation still has it, and another repository can bring it at any time.
 * Nothing of any snapshot is changed.
 */
import { plural } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import { shortId, type ChunkId, type FileId, type PackId, type SnapshotId } from "../base/ids.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import type { ChunkType } from "../format/chunk.ts";
import type { PackEntry } from "../format/pack.ts";
import { isDamage } from "./chunk.ts";
import { ChunkIndex } from "./index.ts";
import { readIndexFiles, recoverPacks } from "./load-index.ts";
import type { ExclusiveLock } from "./lock.ts";
import type { PackRecord } from "./pack-record.ts";
import { copyChunks, openRepacking } from "./repack.ts";
import { Repository } from "./repository.ts";
import { rewriteIndex } from "./rewrite-index.ts";
import type { Sealer } from "./sealer.ts";
import { checkPack } from "./verify-pack.ts";
import { checkTrees, findTouched, lostKey, type TreeProblem } from "./verify-trees.ts";

export interface RepairPacksOptions {
  /** Another repository that may have what is damaged here. */
  source: Repository | undefined;
  lock: ExclusiveLock;
  progress: Progress;
  signal: AbortSignal;
}

export interface LostChunk {
  readonly kind: TreeProblem["kind"] | "snapshot-damaged";
  readonly name: string;
  readonly message: string;
  readonly snapshots: readonly SnapshotId[];
}

export interface RepairPacksResult {
  readonly packs: number;
  readonly bytesRead: number;
  /** Each damaged pack, and whether all that was in it, and that anybody needs, is there now. */
  readonly damaged: readonly { readonly id: PackId; readonly reason: string; readonly isReplaced: boolean }[];
  /** Chunks that the other repository gave. */
  readonly fromSource: number;
  readonly written: number;
  /** What cannot be made whole. */
  readonly lost: readonly LostChunk[];
}

/** @throws Failure `repo/damaged` while an index file is damaged, `repo/locked`, or of either store. */
export async function repairPacks(repository: Repository, options: RepairPacksOptions): Promise<RepairPacksResult> {
  return await new PackRepair(repository, options).run();
}

interface BrokenPack {
  readonly record: PackRecord;
  readonly reason: string;
  readonly good: readonly PackEntry[];
  readonly bad: readonly PackEntry[];
  readonly isThere: boolean;
}

class PackRepair {
  readonly #repository: Repository;
  readonly #options: RepairPacksOptions;
  readonly #sizes = new Map<string, number>();
  readonly #broken = new Map<PackId, BrokenPack>();
  readonly #written: PackRecord[] = [];
  /** What can be read: whole packs, whole chunks of the others, new packs. */
  readonly #whole = new ChunkIndex();
  readonly #sealer: Sealer;
  #old: ChunkIndex = new ChunkIndex();
  #indexFiles: readonly FileId[] = [];
  /** Whole packs that no index file named. */
  #adopted: readonly PackRecord[] = [];
  #fromSource = 0;
  #bytesRead = 0;

  constructor(repository: Repository, options: RepairPacksOptions) {
    this.#repository = repository;
    this.#options = options;
    const { signal } = options;
    this.#sealer = openRepacking(repository, {
      signal,
      onPack: (record) => {
        this.#written.push(record);
        this.#whole.add(record);
      },
    });
  }

  async run(): Promise<RepairPacksResult> {
    const { signal, progress } = this.#options;
    try {
      const { snapshots, damaged } = await this.#repository.listSnapshots({ signal });
      await this.#readAll();
      const roots = new Map(snapshots.map(({ id, snapshot }) => [id, snapshot.tree]));
      progress.stage("mending");
      for (const { bad } of this.#broken.values()) {
        for (const { type, id } of bad) await this.#heal(type, id);
      }
      const problems = await this.#healTrees([...new Set(roots.values())]);
      const replaced = await this.#replace(problems);
      const lost = await this.#judge(problems, roots);
      return {
        packs: this.#sizes.size,
        bytesRead: this.#bytesRead,
        damaged: [...this.#broken.values()].map(({ record: { id }, reason }) => ({
          id,
          reason,
          isReplaced: replaced.has(id),
        })),
        fromSource: this.#fromSource,
        written: this.#written.length,
        lost: [
          ...damaged.map(({ id, reason }) => ({
            kind: "snapshot-damaged" as const,
            name: id,
            message: `snapshot ${shortId(id)} cannot be read: ${reason}`,
            snapshots: [],
          })),
          ...lost,
        ],
      };
    } finally {
      await this.#sealer.abort();
    }
  }

  /** Every pack that the index names, byte by byte. */
  async #readAll(): Promise<void> {
    const { signal, progress } = this.#options;
    const { index, files, damaged } = await readIndexFiles(this.#repository, { signal });
    for (const { id, reason } of damaged) {
      throw new Failure("repo/damaged", `index file ${shortId(id)} cannot be read: ${reason}`, {
        hint: "Run 'chatkeep repair index' first, which reads the packs themselves.",
      });
    }
    this.#old = index;
    this.#indexFiles = files;
    let total = 0;
    for await (const { name, sizeBytes } of this.#repository.store.list("data", { signal })) {
      this.#sizes.set(name, sizeBytes);
      total += sizeBytes;
    }
    progress.stage("reading packs", { total, unit: "bytes" });
    const listed = [...this.#sizes].map(([name, sizeBytes]) => ({ name, sizeBytes }));
    // Those that no index names may hold what is lacking, or be what a repair that was stopped did not come to remove.
    const { records } = await recoverPacks(this.#repository, index, { signal, listed });
    const all = (function* () {
      yield* index.packs();
      yield* records;
    })();
    await mapConcurrent(all, LIMITS.packsVerified, async (record) => await this.#readPack(record), { signal });
    this.#adopted = records.filter(({ id }) => !this.#broken.has(id));
  }

  async #readPack(record: PackRecord): Promise<void> {
    const { signal, progress } = this.#options;
    const { id } = record;
    const sizeBytes = this.#sizes.get(id);
    if (sizeBytes === undefined) {
      this.#broken.set(id, { record, reason: "it is gone", good: [], bad: record.entries, isThere: false });
      return;
    }
    const found = await checkPack(this.#repository, record, { signal, sizeBytes });
    this.#bytesRead += sizeBytes;
    progress.advance(sizeBytes);
    if (found.reason === undefined) return this.#whole.add(record);
    const { reason } = found;
    const { entries, bad } = await this.#askHeader(record, { sizeBytes, bad: found.bad });
    const lost = new Set(bad);
    const good = entries.filter((entry) => !lost.has(entry));
    this.#broken.set(id, {
      record,
      reason: `${reason} (${plural(bad.length, "chunk")} of ${entries.length} damaged)`,
      good,
      bad,
      isThere: true,
    });
    this.#whole.add({ id, entries: good });
  }

  /** The header of a pack may name whole chunks that the index does not: they must not go with it. */
  async #askHeader(
    { id, entries }: PackRecord,
    { sizeBytes, bad }: { sizeBytes: number; bad: readonly PackEntry[] },
  ): Promise<Pick<BrokenPack, "bad"> & { entries: readonly PackEntry[] }> {
    const { signal } = this.#options;
    const listed = [{ name: id, sizeBytes }];
    const [header] = (await recoverPacks(this.#repository, new ChunkIndex(), { signal, listed })).records;
    const isKnown = (one: PackEntry) =>
      entries.some(({ type, id, offset }) => type === one.type && id === one.id && offset === one.offset);
    const others = header?.entries.filter((entry) => !isKnown(entry)) ?? [];
    if (others.length === 0) return { entries, bad };
    const more = await checkPack(this.#repository, { id, entries: others, sizeBytes }, { signal, sizeBytes });
    const whole = others.filter((entry) => !more.bad.includes(entry));
    return { entries: [...entries, ...whole].toSorted((a, b) => a.offset - b.offset), bad };
  }

  /** True when the chunk can be read now, from wherever. */
  async #heal(type: ChunkType, id: ChunkId): Promise<boolean> {
    const { source, signal } = this.#options;
    if (this.#whole.has(type, id)) return true;
    if (source === undefined) return false;
    try {
      // Verified against its id by the reading.
      const bytes = await source.readChunk(type, id, { signal });
      if ((await this.#sealer.add(type, bytes)).isNew) this.#fromSource += 1;
      return true;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return false;
    }
  }

  /** Looks through all trees; a tree that was mended may show what else is missing. */
  async #healTrees(roots: readonly ChunkId[]): Promise<readonly TreeProblem[]> {
    const { signal } = this.#options;
    for (;;) {
      await this.#sealer.flush();
      const { problems } = await checkTrees(this.#view(), roots, { signal, index: this.#whole });
      let isBetter = false;
      for (const { kind, id } of problems) {
        if (kind === "tree-damaged") continue;
        if (await this.#heal(kind === "tree-missing" ? "tree" : "data", id)) isBetter = true;
      }
      if (!isBetter) return problems;
    }
  }

  #view(): Repository {
    const { store, keys, config, keyId } = this.#repository;
    return new Repository({ store, keys, config, keyId, index: this.#whole });
  }

  /**
   * Damaged packs give way to new ones, with all that is whole in them.
   * @returns those with which nothing is lost.
   */
  async #replace(problems: readonly TreeProblem[]): Promise<ReadonlySet<PackId>> {
    const { lock, progress, signal } = this.#options;
    const broken = [...this.#broken.values()];
    const index = this.#whole;
    const isElsewhere = ({ type, id }: PackEntry) => index.find(type, id).some(({ pack }) => !this.#broken.has(pack));
    const packs = broken.map(({ record, good }) => ({
      id: record.id,
      entries: good.filter((entry) => !isElsewhere(entry)),
    }));
    await copyChunks(this.#repository, { index, packs, sealer: this.#sealer, progress, signal });
    await this.#sealer.flush();
    const added = [...this.#adopted, ...this.#written];
    const mended = broken.filter(({ bad }) => !bad.some((entry) => this.#isLost(entry, problems)));
    if (broken.length + added.length > 0) {
      const records = withoutPacks(this.#old, { going: this.#broken, added });
      const damaged = broken.filter(({ isThere }) => isThere).map(({ record }) => record.id);
      await rewriteIndex(this.#repository, { records, old: this.#indexFiles, damaged, lock, signal });
    }
    return new Set(mended.map(({ record }) => record.id));
  }

  /** While a tree is lacking nobody knows what it needs: everything may be. */
  #isLost({ type, id }: PackEntry, problems: readonly TreeProblem[]): boolean {
    if (this.#whole.has(type, id)) return false;
    const kind = type === "tree" ? "tree-missing" : "chunk-missing";
    return problems.some((problem) => problem.kind !== "chunk-missing" || (problem.kind === kind && problem.id === id));
  }

  async #judge(problems: readonly TreeProblem[], roots: ReadonlyMap<SnapshotId, ChunkId>): Promise<LostChunk[]> {
    const keyed = problems.map(({ kind, id }, at) => {
      return [lostKey(kind === "chunk-missing" ? "data" : "tree", id), new Set([at])] as const;
    });
    const touched = await findTouched(this.#view(), roots, { signal: this.#options.signal, lost: new Map(keyed) });
    const lost = problems.map(({ kind, id, message }, at) => ({
      kind,
      name: id,
      message,
      snapshots: touched.get(at) ?? [],
    }));
    // Trees are read many at a time, so they are met in any order.
    return lost.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }
}

function* withoutPacks(
  index: ChunkIndex,
  { going, added }: { going: ReadonlyMap<PackId, unknown>; added: readonly PackRecord[] },
): Generator<PackRecord> {
  for (const record of index.packs()) if (!going.has(record.id)) yield record;
  yield* added;
}
