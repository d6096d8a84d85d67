/**
 * What a place must be able to do so that `remote-store.ts` can make a store of it: whole files under keys, as every
 * object store and file server offers. One file for each kind of place; its SDK or program is loaded when it is used.
 *
 * A key is a path below the repository's root with '/' between its parts (`config`, `keys/<name>`,
 * `data/<first two digits>/<name>`).
 * Every method throws a `Failure` of the store (`store/denied`, `store/full`, `store/unreachable`, `store/not-found`,
 * `usage/invalid` for what the location or the credentials lack), or the signal's reason.
 */
import type { PublicAccess } from "./public-access.ts";
import type { Retained, Retention } from "./retention.ts";
import type { CallOptions } from "./store.ts";

export interface ListedKey {
  readonly key: string;
  readonly sizeBytes: number;
  /** By the place's clock, milliseconds since 1970, where a listing tells and the time is anew with each writing. */
  readonly writtenAtMs?: number | undefined;
  /** Where a listing tells what it is kept by. */
  readonly retained?: Retained | undefined;
}

export interface Backend {
  /** As restic writes it, without secrets. */
  readonly location: string;
  /** True where only restic's own names can be written. */
  readonly isNarrow?: boolean;
  /** Where files are to be kept from being removed, and the place can do that. */
  readonly retention?: Retention<string> | undefined;
  /** Makes the place where it can be made (a folder; a bucket only where restic would). */
  create(options: CallOptions): Promise<void>;
  /**
   * Makes the file whole and durable under its key, or leaves nothing. The bytes are not changed meanwhile.
   * `mustBeNew` is set for the one name that is no hash (`config`): where the key exists, what is there stays.
   */
  put(key: string, bytes: Buffer, options: CallOptions & { mustBeNew: boolean }): Promise<void>;
  /** @throws Failure `store/not-found` when it is not there, or ends before `offset + length`. */
  get(key: string, options: CallOptions & { offset: number; length: number | undefined }): Promise<Buffer>;
  /** Undefined when it is not there. */
  stat(key: string, options: CallOptions): Promise<{ sizeBytes: number } | undefined>;
  /** Every key below a folder (`keys`, `data`), folders within it too, in no order. */
  list(folder: string, options: CallOptions): AsyncIterable<ListedKey>;
  /** Removing what is not there is no error. */
  remove(key: string, options: CallOptions): Promise<void>;
  /** Removes unfinished uploads of runs that surely ended; 0 where a place keeps none. */
  removeLeftovers(options: CallOptions): Promise<number>;
  /** The place's own clock, milliseconds since 1970, to a second or so; undefined, or no such method, where it does not tell. */
  time?(options: CallOptions): Promise<number | undefined>;
  /** What anybody gets without credentials; undefined, or no such method, where the place is asked with none anyway. */
  publicAccess?(options: CallOptions): Promise<PublicAccess | undefined>;
  /** Lets go of connections and child processes. Never rejects. */
  close(): Promise<void>;
}
