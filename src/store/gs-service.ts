/** A bucket of Google Cloud Storage, and how its JSON API is asked. Nothing is tried again here. */
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { type BucketLocation, objectName } from "./bucket-location.ts";
import { type GsAccess } from "./gs-access.ts";
import { explainGs } from "./gs-errors.ts";
import { createRestClient, type RestAnswer, type RestCall, type RestClient } from "./rest-request.ts";
import type { StoreSettings } from "./store.ts";

/** What Google says of an object, of a page, or of a failure. */
const WORDS_BYTES = 16 * 1024 * 1024;

export interface GsCall {
  readonly method: RestCall["method"];
  /** Below the endpoint. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly maxBytes?: number;
  readonly signal: AbortSignal;
}

export function connectGs(
  place: BucketLocation,
  access: GsAccess,
  { connections = LIMITS.storeConnections, ca }: Pick<StoreSettings, "connections"> & { ca?: string[] | undefined },
): GsService {
  return new GsService(place, access, createRestClient({ connections, ca, credentials: undefined }));
}

export class GsService {
  readonly place: BucketLocation;
  readonly access: GsAccess;
  /** The path of the bucket's objects, and of the bucket. */
  readonly objects: string;
  readonly bucket: string;
  readonly #client: RestClient;

  constructor(place: BucketLocation, access: GsAccess, client: RestClient) {
    this.place = place;
    this.access = access;
    this.#client = client;
    this.bucket = `/storage/v1/b/${encodeURIComponent(place.bucket)}`;
    this.objects = `${this.bucket}/o`;
  }

  /** The same bucket, asked without credentials; undefined where nobody needs any. It shares the connections. */
  async anonymous(signal: AbortSignal): Promise<GsService | undefined> {
    if (Object.keys(await this.access.authorize(signal)).length === 0) return undefined;
    return new GsService(this.place, { ...this.access, authorize: async () => ({}) }, this.#client);
  }

  async ask({
    method,
    path,
    query = {},
    headers = {},
    body,
    maxBytes = WORDS_BYTES,
    signal,
  }: GsCall): Promise<RestAnswer> {
    signal.throwIfAborted();
    const allowed = await this.access.authorize(signal);
    const url = new URL(path, this.access.endpoint);
    url.search = new URLSearchParams(query).toString();
    return await this.#client.ask({
      method,
      url,
      headers: { Accept: "*/*", ...headers, ...allowed },
      ...(body === undefined ? {} : { body }),
      maxBytes,
      signal,
    });
  }

  expect(answer: RestAnswer, wanted: readonly number[], what: string): void {
    if (!wanted.includes(answer.status)) throw explainGs(answer, `${what} at ${this.place.shown}`, this.place.bucket);
  }

  pathOf(key: string): string {
    return `${this.objects}/${encodeURIComponent(objectName(this.place, key))}`;
  }

  close(): void {
    this.#client.close();
  }
}

/** What was answered as JSON. @throws Failure `store/unreachable` where it is none. */
export function parseGs({ bytes }: RestAnswer): object {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Told below.
  }
  throw new Failure("store/unreachable", "what answered is not Google Cloud Storage", {
    hint: "Is there a proxy between, or a wrong STORAGE_EMULATOR_HOST?",
  });
}
