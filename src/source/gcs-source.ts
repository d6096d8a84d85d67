/** Files in a bucket of Google Cloud Storage. Each call is tried once. */
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { type Credentials, type GsAccess, gsAccessOf, readGsAccess } from "../store/gs-access.ts";
import { explainGs, isBucketMissing } from "../store/gs-errors.ts";
import { connectGs, type GsService, parseGs } from "../store/gs-service.ts";
import type { RestAnswer } from "../store/rest-request.ts";
import type { BucketFacts } from "./bucket-facts.ts";
import { readGcsFacts } from "./gcs-facts.ts";
import type { GcsSpec, ObjectPart, ObjectPlace, ReadOptions } from "./source.ts";

/** Opens no connection yet. */
export function openGcsPlace(spec: GcsSpec, options: { connections: number }): ObjectPlace {
  return new GcsPlace(gcsServiceOf(spec, options));
}

/** The service behind a bucket of uploaded files. Opens no connection yet. */
export function gcsServiceOf(spec: GcsSpec, { connections }: { connections: number }): GsService {
  const place = { bucket: spec.bucket, prefix: "", shown: `bucket '${spec.bucket}' of storage '${spec.service}'` };
  return connectGs(place, accessOf(spec), { connections });
}

function accessOf({ emulator, key, projectId }: GcsSpec): GsAccess {
  if (emulator !== undefined) return readGsAccess({ STORAGE_EMULATOR_HOST: emulator });
  return gsAccessOf(key === undefined ? undefined : (JSON.parse(key) as Credentials), projectId);
}

class GcsPlace implements ObjectPlace {
  readonly #service: GsService;

  constructor(service: GsService) {
    this.#service = service;
  }

  async part(
    key: string,
    { offset, length, version, signal }: ReadOptions & { offset: number; length: number; version: string | undefined },
  ): Promise<ObjectPart | "missing" | "changed"> {
    const answer = await this.#service.ask({
      method: "GET",
      path: this.#service.pathOf(key),
      query: { alt: "media", ...(version === undefined ? {} : { ifGenerationMatch: version }) },
      headers: { Range: `bytes=${offset}-${offset + length - 1}` },
      maxBytes: LIMITS.unpackedMaxBytes,
      signal,
    });
    if (answer.status === 404 && !isBucketMissing(answer)) return "missing";
    if (answer.status === 412) return "changed";
    if (answer.status === 416) {
      return offset === 0 ? { bytes: Buffer.alloc(0), version: undefined, totalBytes: 0 } : "changed";
    }
    this.#expect(answer, [200, 206], `cannot read '${key}'`);
    const { bytes, headers } = answer;
    const generation = headers["x-goog-generation"];
    const named = typeof generation === "string" ? generation : undefined;
    const total = /\/(\d+)$/.exec(headers["content-range"] ?? "")?.[1];
    // An emulator that ignores the range sends all of it.
    if (answer.status === 200) {
      return { bytes: bytes.subarray(offset, offset + length), version: named, totalBytes: bytes.length };
    }
    const totalBytes = total === undefined ? offset + bytes.length + (bytes.length === length ? 1 : 0) : Number(total);
    return { bytes, version: named, totalBytes };
  }

  async size(key: string, { signal }: ReadOptions): Promise<number | undefined> {
    const query = { fields: "size" };
    const answer = await this.#service.ask({ method: "GET", path: this.#service.pathOf(key), query, signal });
    if (answer.status === 404 && !isBucketMissing(answer)) return undefined;
    this.#expect(answer, [200], `cannot look for '${key}'`);
    return Number((parseGs(answer) as { size?: unknown }).size);
  }

  async probe({ signal }: ReadOptions): Promise<void> {
    const query = { maxResults: "1", fields: "kind" };
    const answer = await this.#service.ask({ method: "GET", path: this.#service.objects, query, signal });
    // Who may not list may still read.
    if (answer.status !== 403 || !isForbidden(this.#explain(answer, ""))) {
      this.#service.expect(answer, [200], "cannot look at the bucket");
    }
  }

  async facts({ sample, signal }: ReadOptions & { sample: string | undefined }): Promise<BucketFacts> {
    return await readGcsFacts(this.#service, { sample, signal });
  }

  #explain(answer: RestAnswer, what: string): Failure {
    const { shown, bucket } = this.#service.place;
    return explainGs(answer, `${what} at ${shown}`, bucket);
  }

  #expect(answer: RestAnswer, wanted: readonly number[], what: string): void {
    if (wanted.includes(answer.status)) return;
    const failure = this.#explain(answer, what);
    if (answer.status !== 403 || !isForbidden(failure)) throw failure;
    throw new Failure("source/unreadable", "access denied", { cause: failure });
  }

  close(): void {
    this.#service.close();
  }
}

/** A right that is lacking, and not a project that was closed. */
function isForbidden(failure: Failure): boolean {
  return isFailure(failure, "store/denied") && !/no billing/.test(failure.message);
}
