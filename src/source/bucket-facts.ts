/** What a bucket says of itself, as far as whoever asks may know. */

/** `unknown`: the credentials may not ask; undefined: this kind of service has no such thing, or no way to ask. */
export type Told<T> = T | "unknown" | undefined;

export interface BucketFacts {
  /** Where it says to be. */
  readonly region: string | undefined;
  /** Old versions of objects are kept. */
  readonly versioning: Told<boolean>;
  /** Objects can be kept from being removed. */
  readonly lock: Told<boolean>;
  /** Rules that remove current objects after a time, in words. */
  readonly expiring: Told<readonly string[]>;
  /** Rules that move objects where they cannot be read at once, in words. */
  readonly archiving: Told<readonly string[]>;
  /** Anybody can read a file, or list them. */
  readonly publicReads: Told<boolean>;
  readonly publicLists: Told<boolean>;
  /** Objects are copied to another place by the provider. */
  readonly replication: Told<boolean>;
  /** Deleted objects can be brought back for so many days; 0 where they cannot. */
  readonly softDeleteDays: Told<number>;
  /** Rights that would be needed to know more. */
  readonly rights: readonly string[];
}
