/**
 * Checks a repository as `restic check` does, and never stops at the first problem: every file that the format knows
 * is looked at, every tree of every snapshot is read once, and on request every byte of every pack is opened.
 *
 * Each problem names the file that is broken and the snapshots that lose something by it. A pack that nobody needs, or
 * a chunk that another pack holds too, costs no snapshot anything.
 */
import { hash, randomInt } from "node:crypto";
import { EarlyWork, mapConcurrent } from "../base/concurrent.ts";
import { parseSnapshotId, shortId, type PackId, type SnapshotId } from "../base/ids.ts";
import { plural } from "../base/bytes.ts";
import type { Progress } from "../base/progress.ts";
import type { PackEntry } from "../format/pack.ts";
import type { ChunkIndex } from "./index.ts";
import { readIndexFiles, recoverPacks } from "./load-index.ts";
import type { PackRecord } from "./pack-record.ts";
import { Repository } from "./repository.ts";
import { openWorkPool, type WorkPool, workerCount } from "./pool.ts";
import { makePackChecker, type PackTask, type PackVerdict } from "./verify-pack.ts";
import type { VerifyWorkerInit } from "./verify-worker.ts";
import { checkTrees, findTouched, lostKey, type LostChunks } from "./verify-trees.ts";

/**
 * Which packs are read: all, the n-th of t parts (counted from 1), or, chosen by chance, about so many of a hundred or
 * about so many bytes.
 */
export type ReadDataSubset = "all" | { part: number; of: number } | { percent: number } | { bytes: number };

export type VerifyProblemKind =
  | "key-damaged"
  | "snapshot-damaged"
  | "index-damaged"
  | "pack-missing"
  | "pack-damaged"
  | "pack-not-indexed"
  | "tree-missing"
  | "tree-damaged"
  | "chunk-missing";

export interface VerifyProblem {
  readonly kind: VerifyProblemKind;
  /** Of the file or chunk: its whole id. */
  readonly name: string;
  /** Lower case, no full stop, names the thing. */
  readonly message: string;
  /** Those that cannot be restored in full because of it. */
  readonly snapshots: readonly SnapshotId[];
}

/** Nothing is lost by it. */
export interface VerifyNote {
  readonly kind: "orphan-pack" | "unsteady-read";
  readonly name: string;
  readonly message: string;
}

export interface VerifyResult {
  readonly problems: readonly VerifyProblem[];
  readonly notes: readonly VerifyNote[];
  readonly snapshots: number;
  readonly packs: number;
  readonly chunks: number;
  /** Of packs that were read whole. */
  readonly bytesRead: number;
}

export interface VerifyOptions {
  readData?: ReadDataSubset;
  signal: AbortSignal;
  progress: Progress;
}

/** @throws only what keeps it from looking: a store that cannot be reached, an abort. */
export async function verifyRepository(repository: Repository, options: VerifyOptions): Promise<VerifyResult> {
  return await new Verification(repository, options).run();
}

interface BrokenPack {
  readonly id: PackId;
  readonly message: string;
  readonly bad: readonly PackEntry[];
}

class Verification {
  readonly #repository: Repository;
  readonly #options: VerifyOptions;
  readonly #problems: { -readonly [K in keyof VerifyProblem]: VerifyProblem[K] }[] = [];
  readonly #notes: VerifyNote[] = [];
  /** What nobody can read any more, and which problem took it. */
  readonly #lost: LostChunks = new Map();
  #bytesRead = 0;

  constructor(repository: Repository, options: VerifyOptions) {
    this.#repository = repository;
    this.#options = options;
  }

  async run(): Promise<VerifyResult> {
    const { signal, progress, readData } = this.#options;
    // Threads load while the structure is looked at; a few packs whose size is wrong are sooner read here.
    await using pool = this.#openPool(readData !== undefined);
    progress.stage("checking the structure");
    await this.#checkKeys();
    // Snapshots first, then the index: so the index knows everything that these snapshots use.
    const { snapshots, damaged } = await this.#repository.listSnapshots({ signal });
    for (const { id, reason } of damaged) {
      const message = `snapshot ${shortId(id)} cannot be read: ${reason}`;
      this.#report("snapshot-damaged", id, message, [parseSnapshotId(id)]);
    }
    const { index, indexedRows, sizes, orphans } = await this.#readIndex();
    const packs = new PackState(index);
    await this.#checkPacks(packs, sizes);
    const { store, keys, config, keyId } = this.#repository;
    const fresh = new Repository({ store, keys, config, keyId, index });
    const roots = new Map(snapshots.map(({ id, snapshot }) => [id, snapshot.tree]));
    // Trees are read in this thread, and meanwhile packs in others.
    await using reading = new EarlyWork(async (stop) => await this.#readPacks(pool, packs, { sizes, signal: stop }), {
      signal,
    });
    const trees = await checkTrees(fresh, [...roots.values()], { signal, index });
    for (const { kind, id, message } of trees.problems) {
      const number = this.#report(kind, id, message);
      lose(this.#lost, lostKey(kind === "chunk-missing" ? "data" : "tree", id), number);
    }
    this.#judgeOrphans(orphans, { index, indexedRows, isUsed: trees.isUsed });
    for (const { id, message, bad } of await reading.result) {
      this.#loseEntries(packs, bad, this.#report("pack-damaged", id, message));
    }
    const touched = await findTouched(fresh, roots, { signal, lost: this.#lost });
    for (const [number, problem] of this.#problems.entries()) {
      problem.snapshots = [...new Set([...problem.snapshots, ...(touched.get(number) ?? [])])];
    }
    return {
      problems: this.#problems,
      notes: this.#notes,
      snapshots: snapshots.length,
      packs: sizes.size,
      chunks: index.size,
      bytesRead: this.#bytesRead,
    };
  }

  /** Returns the problem's number. */
  #report(kind: VerifyProblemKind, name: string, message: string, snapshots: SnapshotId[] = []): number {
    return this.#problems.push({ kind, name, message, snapshots }) - 1;
  }

  async #checkKeys(): Promise<void> {
    const { signal } = this.#options;
    for await (const { name } of this.#repository.store.list("keys", { signal })) {
      const bytes = await this.#repository.store.get({ kind: "keys", name }, { signal });
      if (hash("sha256", bytes) === name) continue;
      this.#report("key-damaged", name, `key file ${shortId(name)} does not match its checksum`);
    }
  }

  /** The index files' index, and after its rows those of the packs that no index file names. */
  async #readIndex(): Promise<{
    index: ChunkIndex;
    indexedRows: number;
    sizes: Map<string, number>;
    orphans: PackRecord[];
  }> {
    const { signal } = this.#options;
    const { index, damaged } = await readIndexFiles(this.#repository, { signal });
    for (const { id, reason } of damaged) {
      this.#report("index-damaged", id, `index file ${shortId(id)} cannot be read: ${reason}`);
    }
    const indexedRows = index.size;
    const sizes = new Map<string, number>();
    for await (const { name, sizeBytes } of this.#repository.store.list("data", { signal })) sizes.set(name, sizeBytes);
    const listed = [...sizes].map(([name, sizeBytes]) => ({ name, sizeBytes }));
    const { records, unusable } = await recoverPacks(this.#repository, index, { signal, listed });
    for (const record of records) index.add(record);
    for (const { id, reason } of unusable) {
      const message = `pack ${shortId(id)} is in no index file and cannot be used: ${reason}`;
      this.#notes.push({ kind: "orphan-pack", name: id, message });
    }
    return { index, indexedRows, sizes, orphans: records };
  }

  /** A pack without an index file is an interrupted run's, which is no harm, or its index file is gone, which is. */
  #judgeOrphans(
    orphans: readonly PackRecord[],
    { index, indexedRows, isUsed }: { index: ChunkIndex; indexedRows: number; isUsed: (row: number) => boolean },
  ): void {
    for (const { id, entries } of orphans) {
      const isNeeded = entries.some((entry) => {
        const row = index.rowOf(entry.type, entry.id);
        return row >= indexedRows && isUsed(row);
      });
      const message = `pack ${shortId(id)} is in no index file`;
      if (!isNeeded) this.#notes.push({ kind: "orphan-pack", name: id, message });
      // Chatkeep finds it by its header; stock restic does not, until its index is rebuilt.
      else this.#report("pack-not-indexed", id, `${message}, and snapshots need what is in it`);
    }
  }

  async #checkPacks(packs: PackState, sizes: ReadonlyMap<string, number>): Promise<void> {
    for (const { id, sizeBytes } of packs.index.packSizes()) {
      const found = sizes.get(id);
      if (found === undefined) packs.missing.add(id);
      else if (found !== sizeBytes) packs.wrongSize.set(id, `it has ${found} bytes, not ${sizeBytes}`);
    }
    for (const id of packs.missing) {
      const number = this.#report("pack-missing", id, `pack ${shortId(id)} is gone`);
      this.#loseEntries(packs, packs.entriesOf(id), number);
    }
  }

  /** Chunks that this pack no longer gives are lost where no pack that is whole has another copy. */
  #loseEntries(packs: PackState, entries: readonly PackEntry[], number: number): void {
    for (const { type, id } of entries) {
      const isElsewhere = packs.index
        .find(type, id)
        .some(({ pack }) => !packs.missing.has(pack) && !packs.isBad(pack, type, id));
      if (!isElsewhere) lose(this.#lost, lostKey(type, id), number);
    }
  }

  #openPool(isWorthThreads: boolean): WorkPool<PackTask, PackVerdict> {
    const { store, keys } = this.#repository;
    const name = import.meta.url.endsWith(".ts") ? "./verify-worker.ts" : "./verify-worker.js";
    const isHere = store.spec === undefined || !isWorthThreads;
    return openWorkPool<PackTask, PackVerdict, VerifyWorkerInit, never>({
      url: isHere ? undefined : new URL(name, import.meta.url),
      count: isHere ? 1 : workerCount(),
      init: { keys, spec: store.spec },
      inline: async (_init, tools) => makePackChecker({ store, keys }, tools),
      signal: this.#options.signal,
    });
  }

  /** Those that were asked for, and those whose size is wrong in any case: which of their chunks are left? */
  async #readPacks(
    pool: WorkPool<PackTask, PackVerdict>,
    packs: PackState,
    { sizes, signal }: { sizes: ReadonlyMap<string, number>; signal: AbortSignal },
  ): Promise<BrokenPack[]> {
    const { readData, progress } = this.#options;
    const broken: BrokenPack[] = [];
    const there = [...packs.index.packSizes()].map(({ id }) => id).filter((id) => !packs.missing.has(id));
    const chosen = chooseSubset(there, readData, sizes);
    for (const id of packs.wrongSize.keys()) chosen.add(id);
    if (chosen.size === 0) return broken;
    const total = [...chosen].reduce((sum, id) => sum + (sizes.get(id) ?? 0), 0);
    if (readData !== undefined) progress.stage("reading packs", { total, unit: "bytes" });
    const records = (function* () {
      for (const record of packs.index.packs()) if (chosen.has(record.id)) yield record;
    })();
    await mapConcurrent(
      records,
      pool.width,
      async (record) => {
        const sizeBytes = sizes.get(record.id) ?? 0;
        const result = await pool.run({ record, sizeBytes });
        this.#bytesRead += sizeBytes;
        if (readData !== undefined) progress.advance(sizeBytes);
        if (result.isUnsteady) {
          const message = `pack ${shortId(record.id)} was read wrongly once and well the second time`;
          this.#notes.push({ kind: "unsteady-read", name: record.id, message });
        }
        if (result.reason === undefined) return;
        const why = packs.wrongSize.get(record.id) ?? result.reason;
        const count = `${plural(result.bad.length, "chunk")} of ${record.entries.length} damaged`;
        broken.push({
          id: record.id,
          message: `pack ${shortId(record.id)} is damaged: ${why} (${count})`,
          bad: result.bad,
        });
        for (const entry of result.bad) packs.markBad(record.id, entry);
      },
      { signal },
    );
    return broken;
  }
}

/** What is known of the packs while they are checked. */
class PackState {
  readonly index: ChunkIndex;
  readonly missing = new Set<PackId>();
  readonly wrongSize = new Map<PackId, string>();
  readonly #bad = new Set<string>();
  #entries: Map<PackId, readonly PackEntry[]> | undefined;

  constructor(index: ChunkIndex) {
    this.index = index;
  }

  /** Of a pack that is missing. */
  entriesOf(pack: PackId): readonly PackEntry[] {
    if (this.#entries === undefined) {
      this.#entries = new Map();
      for (const { id, entries } of this.index.packs()) if (this.missing.has(id)) this.#entries.set(id, entries);
    }
    return this.#entries.get(pack) ?? [];
  }

  markBad(pack: PackId, { type, id }: PackEntry): void {
    this.#bad.add(`${pack} ${lostKey(type, id)}`);
  }

  isBad(pack: PackId, type: PackEntry["type"], id: PackEntry["id"]): boolean {
    return this.#bad.has(`${pack} ${lostKey(type, id)}`);
  }
}

function lose(lost: LostChunks, key: string, problem: number): void {
  const problems = lost.get(key);
  if (problems === undefined) lost.set(key, new Set([problem]));
  else problems.add(problem);
}

/** restic's parts: by the first byte of a pack's name, so that t runs with n = 1…t read everything once. */
function chooseSubset(
  packs: readonly PackId[],
  subset: ReadDataSubset | undefined,
  sizes: ReadonlyMap<string, number>,
): Set<PackId> {
  if (subset === undefined) return new Set();
  if (subset === "all") return new Set(packs);
  if ("part" in subset) {
    return new Set(packs.filter((id) => Number.parseInt(id.slice(0, 2), 16) % subset.of === subset.part - 1));
  }
  const stored = packs.reduce((sum, id) => sum + (sizes.get(id) ?? 0), 0);
  const percent = "percent" in subset ? subset.percent : (100 * subset.bytes) / Math.max(1, stored);
  const wanted = Math.min(packs.length, Math.max(1, Math.ceil((packs.length * percent) / 100)));
  const left = [...packs];
  const chosen = new Set<PackId>();
  while (chosen.size < wanted) {
    const [id] = left.splice(randomInt(left.length), 1);
    if (id !== undefined) chosen.add(id);
  }
  return chosen;
}
