/**
 * Puts uploaded files into one storage service of a place. What is there and right stays; what is there and wrong is put
 * aside first. Every change is in the ledger before it is made, so it can be called again after a kill at any instant.
 */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Budget } from "../../base/budget.ts";
import { mapConcurrent } from "../../base/concurrent.ts";
import { isFailure, messageOf } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { Progress } from "../../base/progress.ts";
import { isDamage } from "../../repo/chunk.ts";
import type { BlobTarget } from "../../source/target.ts";
import { makeFolders } from "../../system/folders.ts";
import type { PointReader } from "../point-reader.ts";
import type { FileLedger, LedgerLine } from "./file-ledger.ts";
import { announcedMd5, type Gathered, type GatheredFile, Gatherer } from "./gather-files.ts";
import { judge, type Presence, type Verdict } from "./judge-files.ts";
import { asideName, saveAside } from "./undo-files.ts";
import type { WantedFile } from "./wanted-files.ts";

export interface PutFilesOptions {
  readonly reader: PointReader;
  readonly target: BlobTarget;
  readonly presence: Presence;
  readonly ledger: FileLedger;
  /** Of the restore: what is put aside lies below it. */
  readonly folder: string;
  /** False: a wrong file is left as it is, and told. */
  readonly replaces: boolean;
  /** Told of those that are there, put or found so, some at a time. */
  readonly onThere?: ((keys: readonly string[]) => Promise<void>) | undefined;
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
  const { folder } = options;
  // What a run that was killed has left.
  await rm(gatheringFolder(folder), { recursive: true, force: true });
  await using putting = new Putting(options);
  try {
    for await (const batch of inBatches(files, options.target)) await putting.put(batch);
    return await putting.end();
  } finally {
    await putting.settle();
    await rm(gatheringFolder(folder), { recursive: true, force: true });
  }
}

/** Where files lie that are sent to a bucket. */
function gatheringFolder(folder: string): string {
  return join(folder, "gathering");
}

interface Batch {
  files: WantedFile[];
  bytes: number;
  /** No other comes, nor was there one before it. */
  isOnly: boolean;
}

async function* inBatches(files: AsyncIterable<WantedFile>, target: BlobTarget): AsyncGenerator<Batch> {
  const [most, mostBytes] =
    target.adopt === undefined
      ? [LIMITS.objectBatchFiles, LIMITS.objectBatchBytes]
      : [LIMITS.putBatchFiles, LIMITS.putBatchBytes];
  let batch: Batch = { files: [], bytes: 0, isOnly: true };
  for await (const file of files) {
    batch.files.push(file);
    batch.bytes += file.bytes;
    if (batch.files.length < most && batch.bytes < mostBytes) continue;
    yield { ...batch, isOnly: false };
    batch = { files: [], bytes: 0, isOnly: false };
  }
  if (batch.files.length > 0) yield batch;
}

/** While the files of one batch get their names, or are sent, those of the next are brought from the repository. */
class Putting implements AsyncDisposable {
  readonly #options: PutFilesOptions;
  readonly #result: PutResult = { files: 0, bytes: 0, there: 0, aside: 0, wrong: 0, problems: [] };
  readonly #memory = new Budget(LIMITS.putBytesInFlight);
  #gatherer: Gatherer | undefined;
  /** Put, and not told of yet. */
  #put: string[] = [];
  #before: Promise<void> = Promise.resolve();

  constructor(options: PutFilesOptions) {
    this.#options = options;
  }

  async put(batch: Batch): Promise<void> {
    const wanted = await this.#prepare(batch);
    const isDirect = (file: WantedFile) =>
      this.#options.target.adopt === undefined && file.bytes > LIMITS.gatheredBytes;
    this.#gatherer ??= this.#makeGatherer(batch.isOnly && batch.bytes <= LIMITS.gatheredHereBytes);
    const gathered = await this.#gatherer.gather(wanted.filter((file) => !isDirect(file)));
    await this.#before;
    this.#before = this.#finish(gathered, wanted.filter(isDirect));
    // Told when the next one is ready.
    this.#before.catch(() => {});
  }

  async end(): Promise<PutResult> {
    await this.#before;
    return this.#result;
  }

  /** Returns when nothing goes on any more, well or not. */
  async settle(): Promise<void> {
    await this.#before.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gatherer?.[Symbol.asyncDispose]();
  }

  #makeGatherer(isSmall: boolean): Gatherer {
    const { reader, target, folder, signal } = this.#options;
    const own = async () => {
      await makeFolders(gatheringFolder(folder), 0o700);
      return gatheringFolder(folder);
    };
    return new Gatherer({
      reader,
      folder: target.staging === undefined ? own : async () => (await target.staging?.()) ?? (await own()),
      // Into a bucket, what is sent is compared on its way.
      isChecked: target.adopt !== undefined,
      isSmall,
      signal,
    });
  }

  /** Writes down what will be done, puts aside what is wrong, and returns what is to be put. */
  async #prepare(batch: Batch): Promise<WantedFile[]> {
    const { target, ledger, replaces, signal, progress } = this.#options;
    const { service } = target;
    const verdicts = await mapConcurrent(batch.files, target.width, async (file) => await this.#judge(file), {
      signal,
    });
    const of = (verdict: Verdict) => batch.files.filter((_, at) => verdicts[at] === verdict);
    const [absent, wrong, there] = [of("absent"), of("wrong"), of("there")];
    for (const file of there) progress.advance(file.bytes);
    this.#result.there += there.length;
    await this.#options.onThere?.(there.map(({ key }) => key));
    if (!replaces) this.#result.wrong += wrong.length;
    const aside: LedgerLine[] = [];
    for (const { key } of replaces ? wrong : []) {
      const facts = await target.facts?.(key);
      const found = await target.stat(key, { signal });
      const type = found?.type;
      const bytes = found?.bytes ?? 0;
      aside.push({ act: "aside", service, key, bytes, file: asideName(service, key), facts, type });
    }
    const folders = await target.foldersFor(absent.map(({ key }) => key));
    await ledger.append([
      ...folders.map((path): LedgerLine => ({ act: "folder", service, path })),
      ...aside,
      ...absent.map(({ key }): LedgerLine => ({ act: "put", service, key })),
    ]);
    for (const line of aside) if (line.act === "aside") await saveAside(line, this.#options);
    this.#result.aside += aside.length;
    return replaces ? [...absent, ...wrong] : absent;
  }

  async #judge(file: WantedFile): Promise<Verdict | undefined> {
    const { target, presence, signal } = this.#options;
    try {
      return await judge(target, presence, file, { signal });
    } catch (error) {
      if (!isFailure(error, "source/unreadable")) throw error;
      this.#result.problems.push({ path: file.key, reason: error.message });
      return undefined;
    }
  }

  async #finish({ files, problems }: Gathered, direct: readonly WantedFile[]): Promise<void> {
    const { target, signal } = this.#options;
    for (const { file, reason } of problems) this.#refuse(file, reason);
    if (target.adopt === undefined) await this.#send(files, direct);
    else await target.adopt(files, { signal, onNamed: ({ file }) => this.#done(file) });
    await target.flush({ signal });
    await this.#options.onThere?.(this.#put);
    this.#put = [];
  }

  async #send(files: readonly GatheredFile[], direct: readonly WantedFile[]): Promise<void> {
    const { reader, target, signal } = this.#options;
    const all = [...files, ...direct.map((file) => ({ file, path: undefined }))];
    await mapConcurrent(
      all,
      target.width,
      async ({ file, path }) => {
        const held = Math.min(Math.max(file.bytes, 1), 2 * LIMITS.objectPartBytes);
        await this.#memory.use(held, signal, async () => {
          await this.#sendOne(file, path === undefined ? reader.readNode(file.node) : whole(path));
        });
        if (path !== undefined) await rm(path, { force: true });
      },
      { signal },
    );
  }

  async #sendOne(file: WantedFile, pieces: AsyncIterable<Uint8Array>): Promise<void> {
    const { target, signal } = this.#options;
    let damage: string | undefined;
    const told = async function* () {
      try {
        yield* pieces;
      } catch (error) {
        // A target has failures of the same name.
        if (isDamage(error)) damage = messageOf(error);
        throw error;
      }
    };
    const type = file.row?.type;
    try {
      await target.put(file.key, told(), {
        bytes: file.bytes,
        md5: announcedMd5(file),
        type: type != null && /^[\w.+-]{1,60}\/[\w.+-]{1,120}$/.test(type) ? type : undefined,
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      if (damage === undefined && !isFailure(error, "source/unreadable")) throw error;
      return this.#refuse(file, damage ?? messageOf(error));
    }
    this.#done(file);
  }

  #refuse({ key, bytes }: WantedFile, reason: string): void {
    this.#result.problems.push({ path: key, reason });
    this.#options.progress.advance(bytes);
  }

  #done({ key, bytes }: WantedFile): void {
    this.#put.push(key);
    this.#result.files += 1;
    this.#result.bytes += bytes;
    this.#options.progress.advance(bytes);
  }
}

async function* whole(path: string): AsyncGenerator<Buffer> {
  yield await readFile(path);
}
