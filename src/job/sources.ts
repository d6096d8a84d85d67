/** The storage services of one run: each is looked at when the first file of it is wanted, and only then. */
import { formatSeconds } from "../base/bytes.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import type { Installation } from "../installation/installation.ts";
import type { StoredFile } from "../repo/store-file.ts";
import { openSource } from "../source/open-source.ts";
import type { BlobSource, SourceSpec } from "../source/source.ts";
import { findSource, type FoundSource, type Outage, type SourceSettings } from "../source/spec.ts";

/** What the configuration says of storage services, by their names. */
export type StorageSettings = Readonly<Record<string, SourceSettings>>;

export type SourcePlace = { kind: "there"; spec: SourceSpec } | { kind: "out"; outage: Outage };

/** What a capture needs of the services. */
export interface StorageSources {
  /** The way to a service's files, or why they cannot be had. A bucket is looked at once. */
  find(service: string): Promise<SourcePlace>;
  /** The whole service turned out not to be had. */
  lose(service: string, outage: Pick<Outage, "why" | "hint">): void;
  /** True where the file is there and has that length; false too where that could not be found out. */
  has(service: string, key: string, bytes: number): Promise<boolean>;
  /** What was answered in this run for files that will not come any more. */
  readonly answered: Map<string, StoredFile>;
}

export interface SourcesOptions {
  installation: Pick<Installation, "storage" | "environment">;
  settings?: StorageSettings | undefined;
  clock?: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** The way to a service as environment and configuration have it; nobody is asked. */
export function sourceOf(
  service: string,
  { installation, settings = {} }: Pick<SourcesOptions, "installation" | "settings">,
): FoundSource {
  const own = Object.hasOwn(settings, service) ? settings[service] : undefined;
  return findSource(service, installation.storage, installation.environment, own);
}

export class Sources implements StorageSources, AsyncDisposable {
  readonly answered = new Map<string, StoredFile>();
  readonly #options: SourcesOptions;
  readonly #opened = new Map<string, Promise<BlobSource>>();
  readonly #found = new Map<string, Promise<SourcePlace>>();
  readonly #outages = new Map<string, Outage>();

  constructor(options: SourcesOptions) {
    this.#options = options;
  }

  async find(service: string): Promise<SourcePlace> {
    let found = this.#found.get(service);
    if (found === undefined) {
      found = this.#look(service);
      this.#found.set(service, found);
    }
    const place = await found;
    const outage = this.#outages.get(service);
    return outage === undefined ? place : { kind: "out", outage };
  }

  async #look(service: string): Promise<SourcePlace> {
    const found = sourceOf(service, this.#options);
    if ("outage" in found) {
      this.#outages.set(service, found.outage);
      return { kind: "out", outage: found.outage };
    }
    const place = { kind: "there", spec: found.spec } as const;
    // A folder that is not there shows at its files.
    if (found.spec.kind === "local") return place;
    try {
      await (await this.open(found.spec)).probe(this.#options);
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      this.lose(service, { why: error.message, hint: error.hint ?? "" });
    }
    return place;
  }

  lose(service: string, { why, hint }: Pick<Outage, "why" | "hint">): void {
    if (!this.#outages.has(service)) this.#outages.set(service, { kind: "storage-not-read", why, hint });
  }

  /** Of a service that was asked for files. */
  outageOf(service: string): Outage | undefined {
    return this.#outages.get(service);
  }

  async has(service: string, key: string, bytes: number): Promise<boolean> {
    const place = await this.find(service);
    if (place.kind === "out") return false;
    try {
      const { signal } = this.#options;
      return (await (await this.open(place.spec)).size(key, { expectedBytes: bytes, signal })) === bytes;
    } catch (error) {
      this.#options.signal.throwIfAborted();
      if (!isFailure(error) || error.code === "internal/bug") throw error;
      return false;
    }
  }

  async open(spec: SourceSpec): Promise<BlobSource> {
    const { clock = systemClock, progress } = this.#options;
    let opening = this.#opened.get(spec.service);
    if (opening === undefined) {
      opening = openSource(spec, {
        clock,
        onRetry: ({ message, waitMs }) => progress.say(`${message}; trying again in ${formatSeconds(waitMs / 1000)}`),
      });
      this.#opened.set(spec.service, opening);
    }
    return await opening;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opening of this.#opened.values()) await (await opening.catch(() => undefined))?.close();
  }
}
