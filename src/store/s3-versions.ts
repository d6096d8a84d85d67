/**
 * A bucket that keeps versions, read as it was at one moment: whatever was written over, or marked as deleted, after it
 * does not count. Nothing is written, and the locks of then are no locks now.
 *
 * The versions of a folder are listed once, at its first use: the past does not change.
 */
import {
  GetBucketVersioningCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  type ObjectVersion,
} from "@aws-sdk/client-s3";
import { formatInstant } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { notThere, tooShort } from "./bucket-location.ts";
import type { S3Reader } from "./s3-backend.ts";
import type { S3Service } from "./s3-service.ts";
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

export class S3Versions implements Backend {
  readonly location: string;
  readonly #service: S3Service;
  readonly #reader: S3Reader;
  readonly #atMs: number;
  readonly #folders = new Map<string, Promise<Then>>();
  #checking: Promise<void> | undefined;

  /** @param reader Of the same service. */
  constructor(service: S3Service, reader: S3Reader, atMs: number) {
    this.location = service.location;
    this.#service = service;
    this.#reader = reader;
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
    return await this.#reader.get(key, { offset, length, signal, versionId: found.id });
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
    this.#service.close();
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
    this.#checking ??= this.#assertVersions(signal);
    this.#checking.catch(() => {
      this.#checking = undefined;
    });
    await this.#checking;
    const versions = new Map<string, KeyVersion[]>();
    const add = (key: string | undefined, version: KeyVersion) => {
      if (key?.startsWith(this.#service.key(prefix)) !== true) return;
      const known = versions.get(key);
      if (known === undefined) versions.set(key, [version]);
      else known.push(version);
    };
    for await (const page of this.#pages(this.#service.key(prefix), signal)) {
      for (const one of page.Versions ?? []) add(one.Key, toVersion(one, one.Size ?? 0));
      for (const one of page.DeleteMarkers ?? []) add(one.Key, toVersion(one, undefined));
    }
    const then = new Map<string, { id: string; sizeBytes: number }>();
    const root = this.#service.key("").length;
    for (const [key, all] of versions) {
      const chosen = chooseVersion(all, this.#atMs);
      if (chosen?.sizeBytes !== undefined) then.set(key.slice(root), { id: chosen.id, sizeBytes: chosen.sizeBytes });
    }
    return then;
  }

  async *#pages(Prefix: string, signal: AbortSignal): AsyncGenerator<ListObjectVersionsCommandOutput> {
    let isFirst = true;
    let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
    while (marker !== undefined) {
      const command = new ListObjectVersionsCommand({ Bucket: this.#service.place.bucket, Prefix, ...marker });
      const asked: Promise<ListObjectVersionsCommandOutput> = this.#service.ask(
        "cannot list versions of files",
        signal,
        async (client, http) => await client.send(command, http),
      );
      const page: ListObjectVersionsCommandOutput | undefined = await asked.catch((error: unknown) => {
        if (isFailure(error, "store/not-found") && isFirst) return undefined;
        throw error;
      });
      if (page === undefined) return;
      yield page;
      isFirst = false;
      const { IsTruncated, NextKeyMarker, NextVersionIdMarker } = page;
      if (IsTruncated !== true) return;
      if (NextKeyMarker === undefined) {
        throw new Failure("store/unreachable", "the service says that a list of versions goes on, and not where", {
          hint: "Is this an S3 service, and nothing between that changes its answers?",
        });
      }
      marker = {
        KeyMarker: NextKeyMarker,
        ...(NextVersionIdMarker === undefined ? {} : { VersionIdMarker: NextVersionIdMarker }),
      };
    }
  }

  /** A bucket that never kept versions would be read as it is now, by whoever believes it to be older. */
  async #assertVersions(signal: AbortSignal): Promise<void> {
    const command = new GetBucketVersioningCommand({ Bucket: this.#service.place.bucket });
    let status: string | undefined;
    try {
      const ask = "cannot ask whether the bucket keeps versions";
      ({ Status: status } = await this.#service.ask(
        ask,
        signal,
        async (client, http) => await client.send(command, http),
      ));
    } catch (error) {
      // Who may not ask may still list: then what is listed counts. Of a bucket that is not there, nothing is.
      if (isFailure(error, "store/denied") || isFailure(error, "store/not-found")) return;
      throw error;
    }
    if (status !== undefined) return;
    throw new Failure("usage/invalid", `the bucket of ${this.location} keeps no versions, so it has no past`, {
      hint: "Leave out --at-time; switch versioning on, and it can be used for what is written from then on.",
    });
  }
}

function toVersion(
  { VersionId, LastModified, IsLatest }: Pick<ObjectVersion, "VersionId" | "LastModified" | "IsLatest">,
  sizeBytes: number | undefined,
): KeyVersion {
  return {
    id: VersionId ?? "null",
    atMs: LastModified?.getTime() ?? Number.POSITIVE_INFINITY,
    sizeBytes,
    isLatest: IsLatest === true,
  };
}
