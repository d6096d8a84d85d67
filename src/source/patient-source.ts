/**
 * A bucket whose line may break: what can pass is tried again, a file that broke off is gone on with, and what concerns
 * the whole service is found out once.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Line } from "../base/line.ts";
import { Slots } from "../store/limiting.ts";
import { watch } from "../store/noticing-stalls.ts";
import { Retries, type Retry } from "../store/retrying.ts";
import type { BucketFacts } from "./bucket-facts.ts";
import { explainService } from "./explain.ts";
import type { BlobSource, ObjectPart, ObjectPlace, ReadOptions, VariableNames } from "./source.ts";

export interface PatientOptions {
  readonly service: string;
  readonly names: VariableNames;
  readonly clock: Clock;
  /** Requests under way at once. */
  readonly connections: number;
  readonly wasReached: boolean;
  readonly onRetry?: ((retry: Retry) => void) | undefined;
  /** The rate that files are read at. A part is read whole, so it holds from one part to the next. */
  readonly line?: Line | undefined;
}

interface Call {
  /** For messages. */
  doing: string;
  /** What it may bring, at most. */
  bytes: number;
  /** What it most likely brings of a file. */
  foreseen?: number;
  /** One file is asked for. */
  isOfFile?: boolean;
  signal: AbortSignal;
}

function brokenFile(failure: Failure): Failure {
  return new Failure("source/unreadable", `the service fails for this file alone: ${failure.message}`, {
    cause: failure,
  });
}

export class PatientSource implements BlobSource {
  readonly service: string;
  readonly #place: ObjectPlace;
  readonly #options: PatientOptions;
  readonly #retries: Retries;
  readonly #slots: Slots;
  #outage: Failure | undefined;
  #denied = 0;
  #broken = 0;
  #hasGiven = false;

  constructor(place: ObjectPlace, options: PatientOptions) {
    this.service = options.service;
    this.#place = place;
    this.#options = options;
    this.#retries = new Retries({ ...options, random: Math.random });
    this.#slots = new Slots(options.connections);
  }

  get outage(): { message: string; hint: string } | undefined {
    return this.#outage === undefined ? undefined : { message: this.#outage.message, hint: this.#outage.hint ?? "" };
  }

  async *read(
    key: string,
    { expectedBytes, signal }: ReadOptions & { expectedBytes: number },
  ): AsyncGenerator<Buffer, void, void> {
    // No service gives a range of nothing.
    if (expectedBytes === 0 && (await this.#sizeOf(key, signal)) === 0) {
      yield Buffer.alloc(0);
      return;
    }
    let part = await this.#part(key, { offset: 0, version: undefined, totalBytes: expectedBytes, signal });
    let offset = part.bytes.length;
    yield part.bytes;
    while (offset < part.totalBytes) {
      const { version, totalBytes } = part;
      part = await this.#part(key, { offset, version, totalBytes, signal });
      offset += part.bytes.length;
      yield part.bytes;
    }
  }

  async #part(
    key: string,
    {
      offset,
      version,
      totalBytes,
      signal,
    }: ReadOptions & { offset: number; version: string | undefined; totalBytes: number },
  ): Promise<ObjectPart> {
    const length = LIMITS.chunkMaxBytes;
    const foreseen = Math.max(0, Math.min(length, totalBytes - offset));
    const call = { doing: `reading '${key}'`, bytes: length, foreseen, isOfFile: true, signal };
    const part = await this.#call(call, async (limited) => {
      return await this.#place.part(key, { offset, length, version, signal: limited });
    });
    this.#options.line?.pay((typeof part === "string" ? 0 : part.bytes.length) - foreseen);
    if (part === "missing" && offset === 0) throw new Failure("store/not-found", `'${key}' is not there`);
    if (part === "missing" || part === "changed") {
      throw new Failure("source/unreadable", "it was replaced while it was read", {
        hint: "It is looked for again at the next backup.",
      });
    }
    return part;
  }

  async #sizeOf(key: string, signal: AbortSignal): Promise<number> {
    const size = await this.size(key, { signal });
    if (size === undefined) throw new Failure("store/not-found", `'${key}' is not there`);
    return size;
  }

  async size(key: string, { signal }: ReadOptions): Promise<number | undefined> {
    const call = { doing: `looking for '${key}'`, bytes: 0, isOfFile: true, signal };
    return await this.#call(call, async (limited) => {
      return await this.#place.size(key, { signal: limited });
    });
  }

  async probe({ signal }: ReadOptions): Promise<void> {
    await this.#call({ doing: "looking at the bucket", bytes: 0, signal }, async (limited) => {
      await this.#place.probe({ signal: limited });
    });
  }

  async facts({ sample, signal }: ReadOptions & { sample: string | undefined }): Promise<BucketFacts> {
    const bytes = LIMITS.storeUnknownReadBytes;
    return await this.#call({ doing: "asking the bucket about itself", bytes, signal }, async (limited) => {
      return await this.#place.facts({ sample, signal: limited });
    });
  }

  async close(): Promise<void> {
    this.#place.close();
  }

  async #call<T>(
    { doing, bytes, foreseen = 0, isOfFile = false, signal }: Call,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.#outage !== undefined) throw this.#outage;
    const { clock } = this.#options;
    try {
      const result = await this.#retries.do(signal, async () => {
        if (foreseen > 0) await this.#options.line?.wait(foreseen, signal);
        if (this.#outage !== undefined) throw this.#outage;
        return await this.#slots.use(signal, async () => await watch(clock, { doing, bytes, signal }, work));
      });
      this.#hasGiven ||= bytes > 0 && result !== "missing";
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error)) throw error;
      throw this.#judge(isOfFile && (await this.#failsAlone(error, signal)) ? brokenFile(error) : error);
    }
  }

  /** Some services answer as if they were down where they lost a part of one file: then the bucket answers all the same. */
  async #failsAlone(failure: Failure, signal: AbortSignal): Promise<boolean> {
    if (failure.code !== "store/unreachable" || this.#outage !== undefined) return false;
    this.#broken += 1;
    if (this.#broken > LIMITS.objectsBroken) return false;
    try {
      const call = { doing: "looking at the bucket", bytes: 0, signal };
      await watch(this.#options.clock, call, async (limited) => await this.#place.probe({ signal: limited }));
      return true;
    } catch {
      return false;
    }
  }

  /** What concerns one file stays so; anything else ends the service for this run. */
  #judge(failure: Failure): Failure {
    if (failure.code === "internal/bug") return failure;
    if (failure.code !== "source/unreadable") return (this.#outage ??= explainService(failure, this.#options));
    this.#denied += 1;
    if (this.#hasGiven || this.#denied < LIMITS.objectsDenied) return failure;
    const every = `${failure.message}, as is every file that was asked for`;
    return (this.#outage ??= explainService(new Failure("store/denied", every, { cause: failure }), this.#options));
  }
}
