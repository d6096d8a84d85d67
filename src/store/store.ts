/**
 * A store is the place where a repository's files lie: a local folder here, a bucket or a server elsewhere.
 *
 * Promises: a file appears whole or not at all; it is durable when `commit`/`put` resolves; a name is written once
 * and never changed. A store knows nothing of what the bytes mean. Names are the repository format's; `config` has
 * the empty name. Words: *kind* (the folder of the format), *name* (64 hex digits).
 */

import type { ProbeOptions, StoreProbe } from "./probe.ts";
import type { Retained, Retention, RetentionPolicy } from "./retention.ts";

export type FileKind = "config" | "keys" | "locks" | "snapshots" | "index" | "data";

export interface FileRef {
  readonly kind: FileKind;
  /** Lower-case hex; empty for `config`. */
  readonly name: string;
}

export interface ListedFile {
  readonly name: string;
  readonly sizeBytes: number;
  /** By the place's clock, milliseconds since 1970, where a listing tells and the time is anew with each writing. */
  readonly writtenAtMs?: number | undefined;
  /** Where a listing tells what it is kept by: then {@link Retention.keep} need not ask. */
  readonly retained?: Retained | undefined;
}

/** A file being written whose name is known only at its end, as a pack's is. */
export interface StoreWriter {
  /** Takes a copy or writes at once: the caller may reuse the buffer after the promise resolves. */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the file durable and visible under `name`. Writing a name that exists keeps the file that is there. */
  commit(name: string): Promise<void>;
  /** Throws the bytes away. Never rejects. */
  abort(): Promise<void>;
}

export interface Note {
  /** Undefined where there is none. */
  read(): Promise<Buffer | undefined>;
  /** Whole or not at all; where it cannot be written, nothing happens. */
  write(bytes: Uint8Array): Promise<void>;
}

export interface CallOptions {
  signal: AbortSignal;
}

export interface PutOptions extends CallOptions {
  /** The name is the hash of bytes that were made just now, by chance: nothing of that name can be there. */
  readonly isNew?: boolean;
}

export interface BeginOptions extends PutOptions {
  /** A pack of trees is written, so that a cache may keep it. */
  readonly tree?: boolean;
}

export interface GetOptions extends CallOptions {
  readonly offset?: number;
  readonly length?: number;
  /**
   * Memory that the answer may lie in, where it is large enough: new memory costs as much as reading into it. It is the
   * store's until the answer is there. Most stores pass it over.
   */
  readonly into?: Buffer;
  /** A tree is read, so that a cache may keep its pack; "anew": what came for the same call was damaged. */
  readonly tree?: "any" | "anew";
}

/**
 * Files of our own below `chatkeep/`, where restic does not look. Paths have '/' between parts of letters, digits, `_`,
 * `-`, `.` and `%`. A path is for one content: of two that are written under it, either may be found.
 */
export interface Beside {
  /** Whole and durable when it resolves, or not there. The bytes are not changed meanwhile. */
  put(path: string, bytes: Uint8Array, options: CallOptions): Promise<void>;
  /** @throws Failure `store/not-found` when it is not there. */
  get(path: string, options: CallOptions): Promise<Buffer>;
  /** The files that lie in a folder itself, in no order; none where there is no such folder. */
  list(folder: string, options: CallOptions): AsyncIterable<{ readonly name: string; readonly sizeBytes: number }>;
  /** Removing what is not there is no error. */
  remove(path: string, options: CallOptions): Promise<void>;
}

export interface Store {
  /** As restic writes it, without secrets; for messages. */
  readonly location: string;
  /** Enough to open the same store in a worker thread, or undefined when it lives in this thread only. */
  readonly spec: StoreSpec | undefined;
  /** For a repository that is to be immutable. */
  readonly retention?: Retention<FileRef> | undefined;
  /** A note about this repository on this machine, where there is a cache: it may be lost at any time, and anybody's. */
  readonly note?: Note | undefined;
  /** Makes the folders that a repository needs. */
  create(options: CallOptions): Promise<void>;
  begin(kind: FileKind, options: BeginOptions): Promise<StoreWriter>;
  /** `begin`, `write`, `commit` in one. */
  put(ref: FileRef, bytes: Uint8Array, options: PutOptions): Promise<void>;
  /** The file, or `length` bytes from `offset`. @throws Failure `store/not-found` when it is not there or is too short. */
  get(ref: FileRef, options: GetOptions): Promise<Buffer>;
  /** True where `get` may answer trees from a copy on this machine, which may be damaged. */
  readonly keepsTrees?: boolean;
  /** Undefined when there is no such file. */
  stat(ref: FileRef, options: CallOptions): Promise<{ sizeBytes: number } | undefined>;
  /** Every file of a kind, in no order; names that are not the format's are left out. */
  list(kind: FileKind, options: CallOptions): AsyncIterable<ListedFile>;
  /** Removing what is not there is no error. */
  remove(ref: FileRef, options: CallOptions): Promise<void>;
  /** Removes what runs that died left half-written; what another run may still be writing stays. Returns how many. */
  removeLeftovers(options: CallOptions): Promise<number>;
  /** Undefined where only restic's own names can be written (`rest:`), and for an exported file. */
  readonly beside?: Beside | undefined;
  /** Tries out how the place works, where there is one. @throws Failure what it refuses beyond removing. */
  readonly probe?: ((options: ProbeOptions) => Promise<StoreProbe>) | undefined;
  /** Lets go of connections and child processes; the store is of no use afterwards. Never rejects. */
  close(): Promise<void>;
}

/** How a store is used, where it matters: by the configuration, for remote places. */
export interface StoreSettings {
  /** Requests under way at once. */
  readonly connections?: number | undefined;
  /** Bytes a second, all requests together. */
  readonly uploadRate?: number | undefined;
  readonly downloadRate?: number | undefined;
  /** Files are kept from being removed for so long, but for the repository's locks: for places that can do that. */
  readonly retention?: RetentionPolicy | undefined;
  /** Read as it was then (milliseconds since 1970), and only read: for places that keep versions. */
  readonly atMs?: number | undefined;
  /** Packs leave some room on the disk of a folder to others. */
  readonly leavesRoom?: boolean | undefined;
  /** Where all threads that share the rates keep account of them: `openStore` makes it. */
  readonly account?: SharedArrayBuffer | undefined;
}

/** What a worker thread needs to open the same store. */
export type StoreSpec =
  | { readonly kind: "local"; readonly path: string; readonly leavesRoom?: boolean }
  /** A repository in a tar file, which is only read. */
  | { readonly kind: "tar"; readonly path: string }
  | {
      readonly kind: "remote";
      readonly location: string;
      /** The environment variables that the place is reached with: credentials, so never to be printed. */
      readonly env: Readonly<Record<string, string>>;
      readonly settings: StoreSettings;
      /** The folder of the copies on this machine. */
      readonly cache?: string;
    };
