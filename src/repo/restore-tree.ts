/**
 * Restores a tree into a folder: ours or one that restic made.
 *
 * Folders are made as they are met, files written in batches ordered by pack, symbolic links last of all, so that
 * nothing can ever be written through one; then folders get their modes and times. What cannot be restored is
 * reported, and does not keep the rest from being restored. Nothing that is there is overwritten.
 */
import { closeSync, constants, ftruncateSync, openSync, rmSync } from "node:fs";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure, isFailure, messageOf } from "../base/errors.ts";
import type { ChunkId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import { parseGoTime } from "../format/go-time.ts";
import { permissionsOf, type TreeNode } from "../format/node.ts";
import { makeFolders } from "../system/folders.ts";
import { isDamage } from "./chunk.ts";
import type { ChunkIndex } from "./index.ts";
import { openWorkPool, workerCount, type WorkPool } from "./pool.ts";
import type { Repository } from "./repository.ts";
import {
  finishFile,
  makeFile,
  makeRestorer,
  refusal,
  writeOne,
  type RestoreOutcome,
  type RestoreTask,
} from "./restore-files.ts";
import { bytePath, checkName, type FileMeta, FolderMaker, folderOf, makeSymlink } from "./restore-folders.ts";
import { type Announced, type CheckTask } from "./restore-check.ts";
import { layOut, planChecks, planReads, type PlannedFile } from "./restore-plan.ts";
import type { RestoreWorkerInit } from "./restore-worker.ts";
import { type WalkedNode, walkTree } from "./walk.ts";

export interface RestoreOptions {
  signal: AbortSignal;
  progress: Progress;
  /** False: not restored; for a folder: nothing of what is in it either. */
  filter?: (path: string, node: TreeNode) => boolean;
  /** Where something goes, relative to the target folder; by default where it lies in the tree. Undefined: nowhere. */
  place?: (path: string, node: TreeNode) => string | undefined;
  /** Gives files and folders their saved owners, and keeps set-user-id bits: for root only. */
  keepOwner?: boolean;
  /** Permission bits of every file, whatever it had. */
  fileMode?: number;
}

/** Something that was not restored, and why. */
export interface RestoreProblem {
  readonly path: string;
  readonly reason: string;
}

export interface RestoreResult {
  readonly files: number;
  readonly folders: number;
  readonly symlinks: number;
  readonly bytes: number;
  readonly problems: readonly RestoreProblem[];
}

/**
 * Writes everything below a tree into `targetDir`, which is made when it is not there.
 * @throws Failure `store/full`, `target/unsuitable`, of the store, or `repo/damaged` for a tree that leads out of the
 * folder; a damaged file is a problem of the result, as is a damaged folder.
 */
export async function restoreTree(
  repository: Repository,
  tree: ChunkId,
  targetDir: string,
  options: RestoreOptions & Pick<RestorerOptions, "isSmall">,
): Promise<RestoreResult> {
  await using restorer = await openRestorer(repository, targetDir, options);
  return await restorer.restore(tree);
}

/** Writes into one folder, again and again, with the same threads. */
export interface Restorer extends AsyncDisposable {
  /** Everything below a tree, or these files. @throws as {@link restoreTree}. */
  restore(what: ChunkId | readonly WalkedNode[]): Promise<RestoreResult>;
  /**
   * Reads files that were restored back from the disk, and compares them with their announced MD5, or with their chunks.
   * @returns by path, why one is another file than was announced.
   * @throws Failure `store/unreachable` where the disk gives other bytes than were written.
   */
  check(files: readonly (WalkedNode & Announced)[]): Promise<Map<string, string>>;
}

export interface RestorerOptions extends Omit<RestoreOptions, "place" | "filter"> {
  /** So little will be written that starting threads would take longer. */
  isSmall?: boolean;
}

/** @throws Failure `target/unsuitable`, or of the store. */
export async function openRestorer(
  repository: Repository,
  targetDir: string,
  options: RestoreOptions & RestorerOptions,
): Promise<Restorer> {
  await makeTarget(targetDir);
  const index = await repository.loadIndex({ signal: options.signal });
  const { spec } = repository.store;
  const name = import.meta.url.endsWith(".ts") ? "./restore-worker.ts" : "./restore-worker.js";
  const isHere = spec === undefined || options.isSmall === true;
  const pool = openWorkPool<RestoreTask | CheckTask, RestoreOutcome, RestoreWorkerInit, never>({
    url: isHere ? undefined : new URL(name, import.meta.url),
    count: workerCount(),
    ...(spec?.kind === "remote" ? { ahead: LIMITS.readsAhead } : {}),
    init: { keys: repository.keys, root: targetDir, spec },
    inline: async (init, tools) => makeRestorer(init, repository.store, tools),
    signal: options.signal,
  });
  const inside = { ...options, index, pool };
  return {
    restore: async (what) => await new Restore(repository, targetDir, inside).run(what),
    async check(files) {
      const bad = new Map<string, string>();
      const tasks = planChecks(files, index);
      const check = async (task: CheckTask) => {
        const { refused } = await pool.run(task);
        for (const { path, reason } of refused) bad.set(path, reason);
      };
      await mapConcurrent(tasks, pool.width, check, { signal: options.signal });
      return bad;
    },
    [Symbol.asyncDispose]: async () => await pool.close(),
  };
}

async function makeTarget(path: string): Promise<void> {
  try {
    await makeFolders(path);
  } catch (cause) {
    throw new Failure("target/unsuitable", `cannot make the folder '${path}': ${messageOf(cause)}`, {
      hint: "Choose a folder that this user may write to.",
      cause,
    });
  }
}

type Inside = RestoreOptions & { index: ChunkIndex; pool: WorkPool<RestoreTask | CheckTask, RestoreOutcome> };

class Restore {
  readonly #repository: Repository;
  readonly #root: string;
  readonly #options: Inside;
  readonly #folders: FolderMaker;
  readonly #problems = new Map<string, string>();
  readonly #symlinks: { path: string; node: TreeNode }[] = [];
  #batch: PlannedFile[] = [];
  #batchBytes = 0;
  /** Batches that are being written, while the trees of the next one are read. */
  readonly #writing = new Set<Promise<void>>();
  #failed: { error: unknown } | undefined;
  #files = 0;
  #bytes = 0;

  constructor(repository: Repository, root: string, options: Inside) {
    this.#repository = repository;
    this.#root = root;
    this.#options = options;
    this.#folders = new FolderMaker(root);
  }

  async run(what: ChunkId | readonly WalkedNode[]): Promise<RestoreResult> {
    const { signal, filter = () => true, place = (path: string) => path } = this.#options;
    const onDamage = (path: string, reason: string) => void this.#problems.set(path, reason);
    const walk =
      typeof what === "string" ? walkTree(this.#repository, what, { signal, enter: filter, onDamage }) : what;
    for await (const { path, node } of walk) {
      if (!filter(path, node)) continue;
      const to = place(path, node);
      if (to !== undefined) await this.#take(to, node);
    }
    this.#beginBatch();
    await Promise.all(this.#writing);
    this.#throwIfFailed();
    let symlinks = 0;
    for (const { path, node } of this.#symlinks) {
      const reason = attempt(this.#root, path, () => makeSymlink(this.#root, path, { node, meta: this.#metaOf(node) }));
      if (reason === undefined) symlinks += 1;
      else this.#problems.set(path, reason);
    }
    this.#folders.finish((path, work) => {
      const reason = attempt(this.#root, path, work);
      if (reason !== undefined) this.#problems.set(path, reason);
    });
    return {
      files: this.#files,
      folders: this.#folders.count,
      symlinks,
      bytes: this.#bytes,
      problems: [...this.#problems].map(([path, reason]) => ({ path, reason })),
    };
  }

  #metaOf(node: TreeNode): FileMeta {
    const { keepOwner = false, fileMode } = this.#options;
    const own = node.type === "file" ? fileMode : undefined;
    return {
      // Set-id bits belong to an owner: without the one, not the other.
      mode: own ?? permissionsOf(node.mode) & (keepOwner ? 0o7777 : 0o1777),
      mtime: Number(parseGoTime(node.mtime) / 1000n) / 1e6,
      ...(keepOwner ? { owner: { uid: node.uid, gid: node.gid } } : {}),
    };
  }

  async #take(path: string, node: TreeNode): Promise<void> {
    checkName(path.slice(path.lastIndexOf("/") + 1));
    const reason = attempt(this.#root, path, () => {
      if (node.type === "dir") this.#folders.make(path, this.#metaOf(node));
      // What a file of one chunk lies in is made with it, in a thread.
      else if (node.type !== "file" || node.content?.length !== 1) this.#folders.make(folderOf(path));
    });
    if (reason !== undefined) this.#problems.set(path, reason);
    else if (node.type === "symlink") this.#symlinks.push({ path, node });
    else if (node.type === "file") await this.#takeFile(path, node);
    else if (node.type !== "dir") this.#problems.set(path, `it is a ${node.type}, which is not restored`);
  }

  async #takeFile(path: string, node: TreeNode): Promise<void> {
    const content = node.content ?? [];
    const meta = this.#metaOf(node);
    const layout = await this.#layOut(content);
    if (layout === undefined) {
      this.#problems.set(path, "a part of it is in no pack of the repository");
      return;
    }
    if (BigInt(layout.length) !== BigInt(node.size ?? 0)) {
      this.#problems.set(path, `its parts make ${layout.length} bytes, not ${node.size ?? 0}`);
      return;
    }
    const file = { path, sizeBytes: layout.length, content, meta };
    if (content.length !== 1 && !this.#makeEmpty(file)) return;
    this.#files += 1;
    if (content.length === 0) return;
    this.#batch.push(file);
    this.#batchBytes += layout.length;
    const { restoreBatchFiles, restoreBatchBytes } = LIMITS;
    if (this.#batch.length >= restoreBatchFiles || this.#batchBytes >= restoreBatchBytes) this.#beginBatch();
    while (this.#writing.size >= LIMITS.restoreBatches) await Promise.race(this.#writing);
    this.#throwIfFailed();
  }

  #throwIfFailed(): void {
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  #beginBatch(): void {
    const files = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    const writing = this.#writeBatch(files).catch((error: unknown) => {
      this.#failed ??= { error };
    });
    this.#writing.add(writing);
    void writing.then(() => this.#writing.delete(writing));
  }

  /** A file of no or several chunks is made here, in its whole length; the chunks are then written into it. */
  #makeEmpty({ path, sizeBytes, meta }: PlannedFile): boolean {
    const reason = attempt(this.#root, path, () =>
      // Its own mode may forbid writing, so a file that is still to be filled gets it last.
      makeFile(bytePath(this.#root, path), sizeBytes === 0 ? meta : { mode: 0o600, mtime: 0 }, (descriptor) =>
        ftruncateSync(descriptor, sizeBytes),
      ),
    );
    if (reason !== undefined) this.#problems.set(path, reason);
    return reason === undefined;
  }

  async #layOut(content: readonly ChunkId[]): Promise<{ starts: number[]; length: number } | undefined> {
    const { index, signal } = this.#options;
    const layout = layOut(content, index);
    if (layout !== undefined) return layout;
    await this.#repository.recoverIndex({ signal });
    return layOut(content, index);
  }

  async #writeBatch(files: readonly PlannedFile[]): Promise<void> {
    const { pool, index, signal, progress } = this.#options;
    const tasks = planReads(files, index);
    const bad = new Map<string, string>();
    await mapConcurrent(
      tasks,
      pool.width,
      async (task) => {
        const outcome = await pool.run(task);
        let bytes = outcome.bytes;
        for (const { path, reason } of outcome.refused) bad.set(path, reason);
        for (const { part, reason } of outcome.damaged) bytes += await this.#retry(task, { part, reason, bad });
        this.#bytes += bytes;
        progress.advance(bytes);
      },
      { signal },
    );
    for (const file of files) {
      const reason = bad.get(file.path);
      if (reason !== undefined) this.#giveUp(file, reason);
      else if (file.content.length > 1) this.#finish(file);
    }
  }

  /** A chunk that one pack did not give: another pack may. Returns the bytes written. */
  async #retry(task: RestoreTask, failed: { part: number; reason: string; bad: Map<string, string> }): Promise<number> {
    const part = task.parts[failed.part];
    if (part === undefined) return 0;
    let chunk: Buffer;
    try {
      chunk = await this.#repository.readChunk("data", part.id, { signal: this.#options.signal });
    } catch (error) {
      if (!isDamage(error)) throw error;
      for (const { path } of part.targets) failed.bad.set(path, messageOf(error));
      return 0;
    }
    let bytes = 0;
    for (const target of part.targets) {
      const reason = writeOne(this.#folders, target, chunk);
      if (reason === undefined) bytes += chunk.length;
      else failed.bad.set(target.path, reason);
    }
    return bytes;
  }

  /** Half a file is worse than none: it looks like the whole. One that was there before us stays. */
  #giveUp({ path, content }: PlannedFile, reason: string): void {
    this.#problems.set(path, reason);
    this.#files -= 1;
    if (content.length > 1) rmSync(bytePath(this.#root, path), { force: true });
  }

  #finish({ path, meta }: PlannedFile): void {
    const descriptor = openSync(bytePath(this.#root, path), constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      finishFile(descriptor, meta);
    } finally {
      closeSync(descriptor);
    }
  }
}

/** Why this one cannot be restored. @throws what stops everything. */
function attempt(root: string, path: string, work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (isFailure(error, "target/not-empty")) return messageOf(error);
    return refusal(error, root, path);
  }
}
