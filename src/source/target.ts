/**
 * Where uploaded files are put: the writing side of a storage service, with the ways and credentials of reading.
 *
 * A file is there whole, durable and checked under its key, or not at all; one that is there is never overwritten.
 * What goes wrong with the service is a `Failure` of the store (`store/denied`, `store/full`, `store/unreachable`), or
 * `target/unsuitable`; what the pieces of a file throw comes through as it is.
 */
import type { ReadOptions } from "./source.ts";

/** What lies under a key. */
export interface StoredBlob {
  readonly bytes: number;
  /** base64; undefined where the service does not tell without reading the file. */
  readonly md5: string | undefined;
  /** Its content type; absent in a list, and for a file in a folder. */
  readonly type?: string | undefined;
}

/** What a file in a folder has besides its bytes. */
export interface BlobFacts {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly mtimeMs: number;
}

export interface PutOptions extends ReadOptions {
  /** How long the file is. */
  readonly bytes: number;
  /** base64; undefined where nobody knows. What comes otherwise is not put. */
  readonly md5?: string | undefined;
  /** Its content type, where the service keeps one. */
  readonly type?: string | undefined;
}

/** A file that lies in a target's staging folder. */
export interface StagedFile {
  readonly key: string;
  readonly path: string;
}

export interface BlobTarget {
  /** As `active_storage_blobs` calls it. */
  readonly service: string;
  /** For people: `folder /x`, `bucket 'x'`. */
  readonly shown: string;
  /** Files that are written at once. */
  readonly width: number;
  /** Undefined where there is nothing. @throws Failure `source/unreadable` where something else than a file is there. */
  stat(key: string, options: ReadOptions): Promise<StoredBlob | undefined>;
  /** Everything that is there, a page a request; absent where a look at each file is cheaper. */
  list?(options: ReadOptions): AsyncIterable<readonly (StoredBlob & { readonly key: string })[]>;
  /** A folder, its owner's alone, in which files may be written that {@link adopt} gives their names. Absent for a bucket. */
  staging?(): Promise<string>;
  /**
   * Files of the staging folder, which are what they should be, get owner, mode and names, in their order: durable first.
   * @param onNamed Told of each. What it throws ends it there.
   * @throws Failure `store/exists` where one is there. Absent for a bucket.
   */
  adopt?<T extends StagedFile>(
    files: readonly T[],
    options: ReadOptions & { readonly onNamed: (file: T) => void },
  ): Promise<void>;
  /** @throws Failure `source/unreadable` where other bytes come than were announced, `store/exists` where one is there. */
  put(key: string, pieces: AsyncIterable<Uint8Array>, options: PutOptions): Promise<void>;
  /** The file's bytes. @throws Failure `store/not-found`. */
  read(key: string, options: ReadOptions & { readonly expectedBytes: number }): AsyncIterable<Buffer>;
  /** Removing what is not there is no error. */
  remove(key: string, options: ReadOptions): Promise<void>;
  /** Returns when every name that was given or taken since is durable; what a file holds is so before it gets its name. */
  flush(options: ReadOptions): Promise<void>;
  /** Of a file in the folder that is written to: what it has besides its bytes. Absent for a bucket. */
  facts?(key: string): Promise<BlobFacts | undefined>;
  /** Gives a file what it had. Absent for a bucket. */
  giveFacts?(key: string, facts: BlobFacts): Promise<void>;
  /** Folders that would be made for these files, the outermost first, relative to the target's own; none in a bucket. */
  foldersFor(keys: readonly string[]): Promise<string[]>;
  /** Removes a folder that is empty; any other stays. */
  removeFolder(path: string): Promise<void>;
  /** Removes what a run that was killed left half written. */
  tidy(options: ReadOptions): Promise<void>;
  /** Writes, reads and removes a small file under a name that no upload has. @throws Failure why files cannot be put. */
  probe(options: ReadOptions): Promise<void>;
  close(): Promise<void>;
}

/** Whether what was written is known to be what was sent; `exists`: something is there, and was left alone. */
export type Written = "exists" | { readonly isChecked: boolean };

/** What a kind of bucket can do to take files, each call tried once. */
export interface ObjectSink {
  stat(key: string, options: ReadOptions): Promise<StoredBlob | undefined>;
  /** @param after Where the page before ended. */
  list(after: string | undefined, options: ReadOptions): Promise<ObjectPage>;
  /** In one request, with its MD5, which the service checks. */
  put(key: string, bytes: Buffer, options: ReadOptions & { md5: Buffer; type: string }): Promise<Written>;
  /** A file that is sent in parts appears when all of it has come. */
  begin(key: string, options: ReadOptions & { bytes: number; type: string }): Promise<ObjectUpload | "exists">;
  /** Removes parts that nobody put together; best effort. */
  removeParts(key: string, options: ReadOptions): Promise<void>;
  remove(key: string, options: ReadOptions): Promise<void>;
  close(): void;
}

export interface ObjectPage {
  readonly objects: readonly (StoredBlob & { readonly key: string })[];
  /** Undefined: it was the last one. */
  readonly next: string | undefined;
}

/** Parts come in order, one after the other; each may be sent again. */
export interface ObjectUpload {
  /** @param number From 0. */
  part(number: number, bytes: Buffer, options: ReadOptions & { offset: number }): Promise<void>;
  /** @param md5 Of the whole. */
  finish(options: ReadOptions & { md5: Buffer }): Promise<Written>;
  abandon(options: ReadOptions): Promise<void>;
}
