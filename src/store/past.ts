/**
 * A place that keeps versions, read as it was at one moment: whatever was written over, or deleted where the place tells
 * when, after it does not count. Nothing is written, and the locks of then are no locks now.
 *
 * The versions of a folder are listed once, at its first use: the past does not change.
 */
import { formatInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { notThere, tooShort } from "./bucket-location.ts";
import type { CallOptions } from "./store.ts";

/** One thing that happened to a key. */
export interface KeyVersion {
  /** The service's name for it. */
  readonly id: string;
  /** Milliseconds since 1970, by the service's clock, which counts whole seconds at some. */
  readonly atMs: number;
  /** Undefined for a mark that the key was deleted. */
  readonly sizeBytes: number | undefined;
  /** Nothing happened to the key since. */
  readonly isLatest: boolean;
}

/** What a place with versions can do, that it may be read as it was. */
export interface VersionedPlace {
  readonly location: string;
  /** @throws Failure `usage/invalid` for one that never kept versions: it would be read as it is now, and believed to be older. */
  assertVersions(options: CallOptions): Promise<void>;
  /** Every version of the keys that begin so, of each key the newest first where the place has an order. */
  versions(prefix: string, options: CallOptions): AsyncIterable<{ readonly key: string; readonly version: KeyVersion }>;
  /** Bytes of one version; there are as many as are asked for. */
  getVersion(
    key: string,
    options: CallOptions & { offset: number; length: number | undefined; versionId: string },
  ): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * What a key was at a moment: the newest version not after it, or undefined where it was not there yet or was deleted.
 * Of a version and a deletion in the same instant, whose order is not known, the version counts.
 */
export function chooseVersion(versions: readonly KeyVersion[], atMs: number): KeyVersion | undefined {
  let chosen: KeyVersion | undefined;
  for (const version of versions) {
    if (version.atMs <= atMs && (chosen === undefined || isNewer(version, chosen))) chosen = version;
  }
  return chosen?.sizeBytes === undefined ? undefined : chosen;
}

/** Services list the newest first, so of two versions that are otherwise equal the first one is it. */
function isNewer(one: KeyVersion, other: KeyVersion): boolean {
  if (one.atMs !== other.atMs) return one.atMs > other.atMs;
  if (one.isLatest !== other.isLatest) return one.isLatest;
  return one.sizeBytes !== undefined && other.sizeBytes === undefined;
}

/** What was there at the moment, by key. */
type Then = ReadonlyMap<string, { readonly id: string; readonly sizeBytes: number }>;

export class Past implements Backend {
  readonly location: string;
  readonly #place: VersionedPlace;
  readonly #atMs: number;
  readonly #folders = new Map<string, Promise<Then>>();
  #checking: Promise<void> | undefined;

  /** @param atMs Milliseconds since 1970. */
  constructor(place: VersionedPlace, atMs: number) {
    this.location = place.location;
    this.#place = place;
    this.#atMs = atMs;
  }

  async get(
    key: string,
    { offset, length, signal }: CallOptions & { offset: number; length: number | undefined },
  ): Promise<Buffer> {
    const found = (await this.#folderOf(key, signal)).get(key);
    if (found === undefined) throw notThere(key);
    if (offset + (length ?? 0) > found.sizeBytes) throw tooShort(key);
    if (length === 0 || offset === found.sizeBytes) return Buffer.alloc(0);
    return await this.#place.getVersion(key, { offset, length, signal, versionId: found.id });
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    const found = (await this.#folderOf(key, signal)).get(key);
    return found === undefined ? undefined : { sizeBytes: found.sizeBytes };
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    for (const [key, { sizeBytes }] of await this.#folder(`${folder}/`, signal)) yield { key, sizeBytes };
  }

  async create(): Promise<void> {
    throw this.#refusal();
  }

  async put(): Promise<void> {
    throw this.#refusal();
  }

  async remove(): Promise<void> {
    throw this.#refusal();
  }

  async removeLeftovers(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    await this.#place.close();
  }

  #refusal(): Failure {
    return new Failure(
      "store/denied",
      `${this.location} is read as it was at ${formatInstant(this.#atMs)}, so nothing can be written`,
      { hint: "Leave out --at-time." },
    );
  }

  async #folderOf(key: string, signal: AbortSignal): Promise<Then> {
    const slash = key.indexOf("/");
    return await this.#folder(slash === -1 ? key : key.slice(0, slash + 1), signal);
  }

  /** @param prefix `data/`, or the whole key of what lies in no folder. */
  async #folder(prefix: string, signal: AbortSignal): Promise<Then> {
    if (prefix === "locks/") return new Map();
    let listing = this.#folders.get(prefix);
    if (listing === undefined) {
      listing = this.#read(prefix, signal);
      this.#folders.set(prefix, listing);
      // One that failed is asked for again.
      listing.catch(() => this.#folders.delete(prefix));
    }
    return await listing;
  }

  async #read(prefix: string, signal: AbortSignal): Promise<Then> {
    this.#checking ??= this.#place.assertVersions({ signal });
    this.#checking.catch(() => {
      this.#checking = undefined;
    });
    await this.#checking;
    const versions = new Map<string, KeyVersion[]>();
    for await (const { key, version } of this.#place.versions(prefix, { signal })) {
      const known = versions.get(key);
      if (known === undefined) versions.set(key, [version]);
      else known.push(version);
    }
    const then = new Map<string, { id: string; sizeBytes: number }>();
    for (const [key, all] of versions) {
      const chosen = chooseVersion(all, this.#atMs);
      if (chosen?.sizeBytes !== undefined) then.set(key, { id: chosen.id, sizeBytes: chosen.sizeBytes });
    }
    return then;
  }
}
