/**
 * Puts uploaded files into one storage service of a place. What is there and right stays; what is there and wrong is put
 * aside first. Every change is in the ledger before it is made, so it can be called again after a kill at any instant.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Budget } from "../../base/budget.ts";
import { mapConcurrent } from "../../base/concurrent.ts";
import { isFailure, messageOf } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import { isDamage } from "../../repo/chunk.ts";
import type { BlobTarget, StoredBlob } from "../../source/target.ts";
import { makeFolders } from "../../system/folders.ts";
import type { PointReader } from "../point-reader.ts";
import type { FileLedger, LedgerLine } from "./file-ledger.ts";
import type { WantedFile } from "./wanted-files.ts";

/** `there`: it is right, or as good as the point's. `wrong`: the point has a right one for it. */
export type Verdict = "there" | "absent" | "wrong";

/** What lies under a key; undefined where nothing does. */
export type Presence = (key: string) => Promise<StoredBlob | undefined>;

/**
 * Looks what is there: in a bucket by its list, where that takes fewer requests than asking for each file.
 * @param keys Those that will be asked for.
 */
export async function lookAt(
  target: BlobTarget,
  keys: ReadonlySet<string>,
  { signal }: { signal: AbortSignal },
): Promise<Presence> {
  const ask: Presence = async (key) => await target.stat(key, { signal });
  if (target.list === undefined || keys.size < LIMITS.listedFrom) return ask;
  const found = new Map<string, StoredBlob>();
  let pages = 0;
  for await (const page of target.list({ signal })) {
    for (const { key, ...blob } of page) if (keys.has(key)) found.set(key, blob);
    pages += 1;
    if (pages >= keys.size) return ask;
  }
  return async (key) => found.get(key);
}

/** By size; by MD5 too where the service tells it. A file in a folder is not read for that: `scrub` does. */
export async function judge(
  target: BlobTarget,
  presence: Presence,
  file: WantedFile,
  { signal }: { signal: AbortSignal },
): Promise<Verdict> {
  const found = await presence(file.key);
  if (found === undefined) return "absent";
  const wanted = file.row ?? { bytes: file.bytes, md5: null };
  const differs = (blob: StoredBlob) =>
    blob.bytes !== wanted.bytes || (wanted.md5 !== null && blob.md5 !== undefined && blob.md5 !== wanted.md5);
  // What is no better is no reason to touch what is there.
  if (!differs(found) || !file.isRight) return "there";
  if (found.bytes !== wanted.bytes) return "wrong";
  // A list does not say whether what looks like an MD5 is one.
  const again = await target.stat(file.key, { signal });
  if (again === undefined || !differs(again)) return again === undefined ? "absent" : "there";
  return (await sumOf(target, file, { signal })) === wanted.md5 ? "there" : "wrong";
}

async function sumOf(target: BlobTarget, { key, bytes }: WantedFile, { signal }: { signal: AbortSignal }) {
  const hash = createHash("md5");
  for await (const piece of target.read(key, { expectedBytes: bytes, signal })) hash.update(piece);
  return hash.digest("base64");
}

export interface PutFilesOptions {
  readonly reader: PointReader;
  readonly target: BlobTarget;
  readonly presence: Presence;
  readonly ledger: FileLedger;
  /** Of the restore: what is put aside lies below it. */
  readonly folder: string;
  /** False: a wrong file is left as it is, and told. */
  readonly replaces: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface PutResult {
  files: number;
  bytes: number;
  /** There before, and right. */
  there: number;
  aside: number;
  /** There, wrong, and left. */
  wrong: number;
  /** Files of the point that could not be put, for a reason of their own. */
  readonly problems: { readonly path: string; readonly reason: string }[];
}

/** @throws Failure of the target, or of the repository's place: what was done is in the ledger. */
export async function putFiles(files: AsyncIterable<WantedFile>, options: PutFilesOptions): Promise<PutResult> {
  const result: PutResult = { files: 0, bytes: 0, there: 0, aside: 0, wrong: 0, problems: [] };
  const memory = new Budget(LIMITS.putBytesInFlight);
  for await (const batch of inBatches(files)) await putBatch(batch, options, { result, memory });
  return result;
}

async function* inBatches(files: AsyncIterable<WantedFile>): AsyncGenerator<WantedFile[]> {
  let batch: WantedFile[] = [];
  for await (const file of files) {
    batch.push(file);
    if (batch.length < LIMITS.putBatchFiles) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

async function putBatch(
  batch: readonly WantedFile[],
  options: PutFilesOptions,
  { result, memory }: { result: PutResult; memory: Budget },
): Promise<void> {
  const { target, presence, ledger, replaces, signal } = options;
  const { service } = target;
  const verdicts = await mapConcurrent(batch, target.width, async (file) => await judgeOrTell(file, options, result), {
    signal,
  });
  const of = (verdict: Verdict) => batch.filter((_, at) => verdicts[at] === verdict);
  const [absent, wrong] = [of("absent"), of("wrong")];
  for (const file of of("there")) options.progress.advance(file.bytes);
  result.there += of("there").length;
  if (!replaces) result.wrong += wrong.length;
  const aside: LedgerLine[] = [];
  for (const file of replaces ? wrong : []) {
    const facts = await target.facts?.(file.key);
    const bytes = (await presence(file.key))?.bytes ?? 0;
    aside.push({ act: "aside", service, key: file.key, bytes, file: asideName(service, file.key), facts });
  }
  const folders = await target.foldersFor(absent.map(({ key }) => key));
  await ledger.append([
    ...folders.map((path): LedgerLine => ({ act: "folder", service, path })),
    ...aside,
    ...absent.map(({ key }): LedgerLine => ({ act: "put", service, key })),
  ]);
  for (const line of aside) if (line.act === "aside") await saveAside(line, options);
  result.aside += aside.length;
  await mapConcurrent(
    replaces ? [...absent, ...wrong] : absent,
    target.width,
    async (file) => {
      const held = Math.min(Math.max(file.bytes, 1), 2 * LIMITS.objectPartBytes);
      await memory.use(held, signal, async () => await putOne(file, options, result));
    },
    { signal },
  );
  await target.flush({ signal });
}

async function judgeOrTell(
  file: WantedFile,
  { target, presence, signal }: PutFilesOptions,
  result: PutResult,
): Promise<Verdict | undefined> {
  try {
    return await judge(target, presence, file, { signal });
  } catch (error) {
    if (!isFailure(error, "source/unreadable")) throw error;
    result.problems.push({ path: file.key, reason: error.message });
    return undefined;
  }
}

async function putOne(
  file: WantedFile,
  { reader, target, progress, signal }: PutFilesOptions,
  result: PutResult,
): Promise<void> {
  const { key, bytes, row, isRight } = file;
  let damage: string | undefined;
  const pieces = async function* () {
    try {
      yield* reader.readNode(file.node);
    } catch (error) {
      // A target has failures of the same name.
      if (isDamage(error)) damage = messageOf(error);
      throw error;
    }
  };
  try {
    const type = row?.type;
    await target.put(key, pieces(), {
      bytes,
      md5: isRight ? (row?.md5 ?? undefined) : undefined,
      type: type != null && /^[\w.+-]{1,60}\/[\w.+-]{1,120}$/.test(type) ? type : undefined,
      signal,
    });
    result.files += 1;
    result.bytes += bytes;
  } catch (error) {
    signal.throwIfAborted();
    if (damage === undefined && !isFailure(error, "source/unreadable")) throw error;
    result.problems.push({ path: key, reason: damage ?? messageOf(error) });
  }
  progress.advance(bytes);
}

/** One name a key, whatever the key has in it. */
function asideName(service: string, key: string): string {
  return createHash("sha256").update(`${service}\0${key}`).digest("hex");
}

function asideFolder(folder: string): string {
  return join(folder, "aside");
}

type Aside = Extract<LedgerLine, { act: "aside" }>;

/** Copies what is there into the restore's folder, durably, and only then removes it. */
async function saveAside({ key, bytes, file }: Aside, options: PutFilesOptions): Promise<void> {
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
  await using folder = await open(own, "r");
  await folder.sync();
  await target.remove(key, { signal });
}

export interface UndoOptions {
  readonly target: BlobTarget;
  readonly folder: string;
  readonly signal: AbortSignal;
}

export interface UndoneFiles {
  removed: number;
  putBack: number;
}

/** Removes what was added to a service, and puts back what was put aside; may be called again after a kill. */
export async function undoFiles(lines: readonly LedgerLine[], options: UndoOptions): Promise<UndoneFiles> {
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
async function undoAside({ key, file, facts }: Aside, { target, folder, signal }: UndoOptions): Promise<boolean> {
  const path = join(asideFolder(folder), file);
  const kept = await stat(path).catch(() => undefined);
  if (kept === undefined) return false;
  await target.remove(key, { signal });
  await target.put(key, createReadStream(path) as AsyncIterable<Buffer>, { bytes: kept.size, signal });
  if (facts !== undefined) await target.giveFacts?.(key, facts);
  await target.flush({ signal });
  await rm(path);
  return true;
}
