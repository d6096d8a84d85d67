/** Puts aside what lies in a storage service and is wrong, and takes out of it again what a restore has put there. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { mapConcurrent } from "../../base/concurrent.ts";
import type { BlobTarget } from "../../source/target.ts";
import { makeFolders, syncFolder } from "../../system/folders.ts";
import type { LedgerLine } from "./file-ledger.ts";

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
  {
    await rm(part, { force: true });
    await using copy = await open(part, "wx", 0o600);
    for await (const piece of target.read(key, { expectedBytes: bytes, signal })) await copy.writeFile(piece);
    await copy.sync();
  }
  await rename(part, path);
  await syncFolder(own);
  await target.remove(key, { signal });
}

export interface UndoneFiles {
  removed: number;
  putBack: number;
}

/** Removes what was added to a service, and puts back what was put aside; may be called again after a kill. */
export async function undoFiles(lines: readonly LedgerLine[], options: AsideOptions): Promise<UndoneFiles> {
  const { target, signal } = options;
  const own = lines.filter(({ service }) => service === target.service);
  await target.tidy({ signal });
  const asides = new Map(own.flatMap((line) => (line.act === "aside" ? [[line.key, line] as const] : [])));
  const added = own.flatMap((line) => (line.act === "put" && !asides.has(line.key) ? [line.key] : []));
  await mapConcurrent(
    added,
    target.width,
    async (key) => {
      await target.remove(key, { signal });
    },
    { signal },
  );
  let putBack = 0;
  for (const line of asides.values()) if (await undoAside(line, options)) putBack += 1;
  await target.tidy({ signal });
  await target.flush({ signal });
  const folders = own.flatMap((line) => (line.act === "folder" ? [line.path] : []));
  // The innermost first.
  for (const path of folders.toSorted((a, b) => b.length - a.length)) await target.removeFolder(path);
  return { removed: added.length, putBack };
}

/** False where it was never taken away, or is back already. */
async function undoAside(
  { key, file, facts, type }: Aside,
  { target, folder, signal }: AsideOptions,
): Promise<boolean> {
  const path = join(asideFolder(folder), file);
  const kept = await stat(path).catch(() => undefined);
  if (kept === undefined) return false;
  await target.remove(key, { signal });
  await target.put(key, createReadStream(path) as AsyncIterable<Buffer>, { bytes: kept.size, type, signal });
  if (facts !== undefined) await target.giveFacts?.(key, facts);
  await target.flush({ signal });
  await rm(path);
  return true;
}
