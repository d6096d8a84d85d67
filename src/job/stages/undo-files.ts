/** Puts aside what lies in a storage service and is wrong, and takes out of it again what a restore has put there. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { mapConcurrent } from "../../base/concurrent.ts";
import { Failure } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { BlobTarget } from "../../source/target.ts";
import { makeFolders, syncFolder } from "../../system/folders.ts";
import { naming } from "../../system/replace-file.ts";
import type { LedgerLine } from "./file-ledger.ts";
import { mayBeTold } from "./left-over.ts";

export interface AsideOptions {
  readonly target: BlobTarget;
  /** Of the restore: what is put aside lies below it. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

/** One name a key, whatever the key has in it. */
export function asideName(service: string, key: string): string {
  return createHash("sha256").update(`${service}\0${key}`).digest("hex");
}

function asideFolder(folder: string): string {
  return join(folder, "aside");
}

export type Aside = Extract<LedgerLine, { act: "aside" }>;

/** Copies what is there into the restore's folder, durably, and only then removes it. */
export async function saveAside({ key, bytes, file }: Aside, options: AsideOptions): Promise<void> {
  const { target, signal } = options;
  const own = asideFolder(options.folder);
  await makeFolders(own, 0o700);
  const [path, part] = [join(own, file), join(own, `${file}.part`)];
  await naming(part, async () => {
    await rm(part, { force: true });
    await using copy = await open(part, "wx", 0o600);
    for await (const piece of target.read(key, { expectedBytes: bytes, signal })) await copy.writeFile(piece);
    await copy.sync();
  });
  await rename(part, path);
  await syncFolder(own);
  await target.remove(key, { signal });
}

/** What a row of the database that is in force says of its file. */
export interface ListedFile {
  readonly bytes: number;
  /** base64; null where the database has none. */
  readonly md5: string | null;
}

export interface UndoFilesOptions extends AsideOptions {
  /** Those of the keys that the database in force lists in this service. */
  readonly listed: (keys: readonly string[]) => Promise<ReadonlyMap<string, ListedFile>>;
}

export interface UndoneFiles {
  removed: number;
  putBack: number;
  /** Left where they are, because the database in force lists them. */
  stay: number;
  /** Not undone, for the first of these reasons. */
  left: number;
  failure: Failure | undefined;
}

/**
 * Removes what was added to a service, and puts back what was put aside, as far as that can be done; may be called again after a
 * kill. What the database in force lists is its file now, whoever has put it there, and stays.
 */
export async function undoFiles(lines: readonly LedgerLine[], options: UndoFilesOptions): Promise<UndoneFiles> {
  const { target, signal, listed } = options;
  const own = lines.filter(({ service }) => service === target.service);
  const asides = new Map(own.flatMap((line) => (line.act === "aside" ? [[line.key, line] as const] : [])));
  const added = new Set(own.flatMap((line) => (line.act === "put" && !asides.has(line.key) ? [line.key] : [])));
  const done: UndoneFiles = { removed: 0, putBack: 0, stay: 0, left: 0, failure: undefined };
  await attempt(done, { files: 0, signal }, async () => await target.tidy({ signal }));
  for (const keys of batchesOf([...added])) {
    await attempt(done, { files: keys.length, signal }, async () => {
      const rows = await listed(keys);
      const gone = keys.filter((key) => !rows.has(key));
      await mapConcurrent(
        gone,
        target.width,
        async (key) => {
          await attempt(done, { files: 1, signal }, async () => {
            await target.remove(key, { signal });
            done.removed += 1;
          });
        },
        { signal },
      );
      done.stay += rows.size;
    });
  }
  for (const line of asides.values()) {
    await attempt(done, { files: 1, signal }, async () => {
      const row = (await listed([line.key])).get(line.key);
      if (row !== undefined && (await isRight(target, line.key, row, signal))) done.stay += 1;
      else if (await undoAside(line, options)) done.putBack += 1;
    });
  }
  await attempt(done, { files: 0, signal }, async () => {
    await target.tidy({ signal });
    await target.flush({ signal });
    const folders = own.flatMap((line) => (line.act === "folder" ? [line.path] : []));
    // The innermost first.
    for (const path of folders.toSorted((a, b) => b.length - a.length)) await target.removeFolder(path);
  });
  return done;
}

function batchesOf(keys: readonly string[]): string[][] {
  const batches: string[][] = [];
  for (let at = 0; at < keys.length; at += LIMITS.putBatchFiles)
    batches.push(keys.slice(at, at + LIMITS.putBatchFiles));
  return batches;
}

/** One that fails keeps the others from nothing; a place that does not answer is not waited for once more. */
async function attempt(
  done: UndoneFiles,
  { files, signal }: { files: number; signal: AbortSignal },
  work: () => Promise<void>,
): Promise<void> {
  if (done.failure?.code.endsWith("/unreachable") === true) {
    done.left += files;
    return;
  }
  try {
    await work();
  } catch (error) {
    if (!mayBeTold(error, { signal })) throw error;
    done.left += files;
    done.failure ??= error;
  }
}

/** True where what lies there is what the row says, as far as the service tells without its being read. */
async function isRight(target: BlobTarget, key: string, row: ListedFile, signal: AbortSignal): Promise<boolean> {
  const found = await target.stat(key, { signal });
  if (found?.bytes !== row.bytes) return false;
  return row.md5 === null || found.md5 === undefined || found.md5 === row.md5;
}

/** False where it was never taken away, or is back already. @throws Failure where it was taken away, and its copy is gone. */
async function undoAside(
  { key, bytes, file, facts, type }: Aside,
  { target, folder, signal }: AsideOptions,
): Promise<boolean> {
  const path = join(asideFolder(folder), file);
  const kept = await stat(path).catch(() => undefined);
  if (kept === undefined) {
    if ((await target.stat(key, { signal }))?.bytes === bytes) return false;
    throw new Failure("target/unsuitable", `what lay under '${key}' is no longer put aside in ${asideFolder(folder)}`);
  }
  await target.remove(key, { signal });
  await target.put(key, createReadStream(path) as AsyncIterable<Buffer>, { bytes: kept.size, type, signal });
  if (facts !== undefined) await target.giveFacts?.(key, facts);
  await target.flush({ signal });
  await rm(path);
  return true;
}
