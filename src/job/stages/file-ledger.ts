/**
 * What a restore of uploaded files did to a storage, a line each, written before it is done: so that an undo removes just
 * what was added, and puts back what was put aside.
 */
import { open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { BlobFacts } from "../../source/target.ts";
import { makeFolders, syncFolder } from "../../system/folders.ts";
import { naming } from "../../system/replace-file.ts";

export type LedgerLine =
  /** A folder was made. */
  | { readonly act: "folder"; readonly service: string; readonly path: string }
  /** A file was added where none was. */
  | { readonly act: "put"; readonly service: string; readonly key: string }
  /** One that was there, and was not what it should be, lies in the restore's folder under that name. */
  | {
      readonly act: "aside";
      readonly service: string;
      readonly key: string;
      readonly bytes: number;
      readonly file: string;
      readonly facts?: BlobFacts | undefined;
      /** Its content type in a bucket. */
      readonly type?: string | undefined;
    };

const NAME = "files.jsonl";

/** @typeParam T What a line says: plain JSON. */
export class FileLedger<T = LedgerLine> {
  readonly #path: string;
  readonly #folder: string;
  #isReady = false;

  /** @param folder Of the restore. @param name Of the ledger in it. */
  constructor(folder: string, name = NAME) {
    this.#folder = folder;
    this.#path = join(folder, name);
  }

  /** Every line that is whole: of what a cut one tells, nothing was done. */
  async read(): Promise<T[]> {
    const text = await this.#text();
    return text
      .slice(0, text.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as T);
  }

  async #text(): Promise<string> {
    return await readFile(this.#path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
  }

  /** Everything that it tells of is undone. */
  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
    this.#isReady = false;
  }

  /** Returns when the lines are durable. */
  async append(lines: readonly T[]): Promise<void> {
    if (lines.length === 0) return;
    if (!this.#isReady) await this.#begin();
    await naming(this.#path, async () => {
      await using file = await open(this.#path, "a", 0o600);
      await file.writeFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      await file.sync();
    });
  }

  /** A line that a kill has cut is taken off, so that the next one is not joined to it. */
  async #begin(): Promise<void> {
    await makeFolders(this.#folder, 0o700);
    const text = await this.#text();
    await using file = await open(this.#path, "a", 0o600);
    await file.truncate(Buffer.byteLength(text.slice(0, text.lastIndexOf("\n") + 1)));
    await file.sync();
    await syncFolder(this.#folder);
    this.#isReady = true;
  }
}
