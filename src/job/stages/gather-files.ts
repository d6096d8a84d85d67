/**
 * Brings files of a restore point from its repository into a folder, in the order of its packs: reading each file's chunks
 * by themselves would be a request each.
 */
import { join } from "node:path";
import { silent } from "../../base/progress.ts";
import { openRestorer, type Restorer } from "../../repo/restore-tree.ts";
import type { PointReader } from "../point-reader.ts";
import type { WantedFile } from "./wanted-files.ts";

export interface GatheredFile {
  readonly key: string;
  readonly file: WantedFile;
  /** Where it lies, whole. */
  readonly path: string;
}

export interface Gathered {
  readonly files: readonly GatheredFile[];
  /** Files of the point that cannot be had, for a reason of their own. */
  readonly problems: readonly { readonly file: WantedFile; readonly reason: string }[];
}

export interface GathererOptions {
  readonly reader: PointReader;
  /** Makes the folder, and says where it is. */
  readonly folder: () => Promise<string>;
  /** What lies there is read back, and compared with what the database says of it. */
  readonly isChecked: boolean;
  /** So little will come that it is read in this thread. */
  readonly isSmall: boolean;
  readonly signal: AbortSignal;
}

export class Gatherer implements AsyncDisposable {
  readonly #options: GathererOptions;
  #opened: { folder: string; restorer: Restorer } | undefined;

  constructor(options: GathererOptions) {
    this.#options = options;
  }

  /** @throws Failure `store/full` and others of the folder's place, or of the repository's. */
  async gather(wanted: readonly WantedFile[]): Promise<Gathered> {
    if (wanted.length === 0) return { files: [], problems: [] };
    const { folder, restorer } = (this.#opened ??= await this.#open());
    const named = new Map(wanted.map((file) => [file.node.name, file]));
    const nodes = [...named].map(([path, { node }]) => ({ path, node }));
    const bad = new Map<string, string>();
    const { problems } = await restorer.restore(nodes);
    for (const { path, reason } of problems) bad.set(path, reason);
    if (this.#options.isChecked) {
      const announced = nodes
        .filter(({ path }) => !bad.has(path))
        .map((one) => ({ ...one, md5: announcedMd5(named.get(one.path)) }));
      for (const [path, reason] of await restorer.check(announced)) bad.set(path, reason);
    }
    const files: GatheredFile[] = [];
    const lacking: { file: WantedFile; reason: string }[] = [];
    for (const [name, file] of named) {
      const reason = bad.get(name);
      if (reason === undefined) files.push({ key: file.key, file, path: join(folder, name) });
      else lacking.push({ file, reason });
    }
    return { files, problems: lacking };
  }

  async #open(): Promise<{ folder: string; restorer: Restorer }> {
    const { reader, signal, isSmall } = this.#options;
    const folder = await this.#options.folder();
    const options = { progress: silent, signal, isSmall, fileMode: 0o600 };
    return { folder, restorer: await openRestorer(reader.repository, folder, options) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened?.restorer[Symbol.asyncDispose]();
  }
}

/** base64; undefined where nobody knows, or the file is known to be another. */
export function announcedMd5(file: WantedFile | undefined): string | undefined {
  return file?.isRight === true ? (file.row?.md5 ?? undefined) : undefined;
}
