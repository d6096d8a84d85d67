/**
 * A bucket of Google Cloud Storage. The official client signs in; the JSON API's few requests are made here, because
 * that client's calls cannot be stopped, share no bound on connections and know no authorities of one's own.
 *
 * Every file is one multipart upload with its MD5, which Google checks before the file appears.
 */
import { createHash, randomUUID } from "node:crypto";
import { Failure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { type BucketLocation, notThere, objectName, parseBucketLocation, tooShort } from "./bucket-location.ts";
import { readAuthorities } from "./certificates.ts";
import { type GsAccess, readGsAccess } from "./gs-access.ts";
import { explainGs, isBucketMissing } from "./gs-errors.ts";
import type { RemotePlace } from "./open-store.ts";
import { type PublicAccess, publicAccessOf } from "./public-access.ts";
import { createRestClient, type RestAnswer, type RestCall, type RestClient } from "./rest-request.ts";
import type { CallOptions } from "./store.ts";

/** What Google says of an object, of a page, or of a failure. */
const WORDS_BYTES = 16 * 1024 * 1024;

/** Opens no connection yet. @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openGsBackend({ location, env, settings }: RemotePlace, access: GsAccess = readGsAccess(env)): Backend {
  const place = parseBucketLocation(location, "gs");
  const client = createRestClient({
    connections: settings.connections ?? LIMITS.storeConnections,
    ca: readAuthorities(env, ["RESTIC_CACERT"]),
    credentials: undefined,
  });
  return new GsBackend(place, access, client);
}

type GetOptions = CallOptions & { offset: number; length: number | undefined };

interface Asked {
  readonly method: RestCall["method"];
  /** Below the endpoint. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly maxBytes?: number;
  readonly signal: AbortSignal;
}

class GsBackend implements Backend {
  readonly location: string;
  readonly #place: BucketLocation;
  readonly #access: GsAccess;
  readonly #client: RestClient;
  readonly #objects: string;

  constructor(place: BucketLocation, access: GsAccess, client: RestClient) {
    this.location = place.shown;
    this.#place = place;
    this.#access = access;
    this.#client = client;
    this.#objects = `/storage/v1/b/${encodeURIComponent(place.bucket)}/o`;
  }

  async #ask({ method, path, query = {}, headers = {}, body, maxBytes = WORDS_BYTES, signal }: Asked) {
    signal.throwIfAborted();
    const allowed = await this.#access.authorize(signal);
    const url = new URL(path, this.#access.endpoint);
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

  #expect(answer: RestAnswer, wanted: readonly number[], what: string): void {
    if (!wanted.includes(answer.status)) throw explainGs(answer, `${what} at ${this.location}`, this.#place.bucket);
  }

  #pathOf(key: string): string {
    return `${this.#objects}/${encodeURIComponent(objectName(this.#place, key))}`;
  }

  async create({ signal }: CallOptions): Promise<void> {
    const { bucket } = this.#place;
    const query = { fields: "name" };
    const found = await this.#ask({ method: "GET", path: this.#objects.slice(0, -"/o".length), query, signal });
    // Who may not look at the bucket may still write there: what follows will tell.
    if (found.status === 200 || found.status === 403) return;
    if (found.status !== 404) this.#expect(found, [200], `cannot use the bucket '${bucket}'`);
    const { projectId } = this.#access;
    if (projectId === undefined) {
      throw new Failure("store/not-found", `there is no bucket '${bucket}'`, {
        hint: "Make it, or set GOOGLE_PROJECT_ID to the project in which it shall be made.",
      });
    }
    const made = await this.#ask({
      method: "POST",
      path: "/storage/v1/b",
      query: { project: projectId },
      headers: { "Content-Type": "application/json" },
      body: Buffer.from(JSON.stringify({ name: bucket })),
      signal,
    });
    // 409: another one made it meanwhile, or it is somebody else's; what follows will tell.
    this.#expect(made, [200, 409], `cannot make the bucket '${bucket}'`);
  }

  async put(key: string, bytes: Buffer, { mustBeNew, signal }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const type = "application/octet-stream";
    const metadata = {
      name: objectName(this.#place, key),
      contentType: type,
      md5Hash: createHash("md5").update(bytes).digest("base64"),
    };
    const boundary = randomUUID();
    const body = Buffer.concat([
      Buffer.from(
        `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${JSON.stringify(metadata)}\r\n`,
      ),
      Buffer.from(`--${boundary}\r\nContent-Type: ${type}\r\n\r\n`),
      bytes,
      Buffer.from(`\r\n--${boundary}--\r\n`),
    ]);
    const answer = await this.#ask({
      method: "POST",
      path: `/upload${this.#objects}`,
      query: { uploadType: "multipart", fields: "size", ...(mustBeNew ? { ifGenerationMatch: "0" } : {}) },
      headers: { "Content-Type": `multipart/related; boundary=${boundary}` },
      body,
      signal,
    });
    if (mustBeNew && answer.status === 412) return;
    this.#expect(answer, [200], `cannot write '${key}'`);
  }

  async get(key: string, { offset, length, signal }: GetOptions): Promise<Buffer> {
    if (length === 0) return await this.#nothingAt(key, offset, signal);
    const isPart = offset > 0 || length !== undefined;
    const answer = await this.#ask({
      method: "GET",
      path: this.#pathOf(key),
      query: { alt: "media" },
      headers: isPart ? { Range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` } : {},
      maxBytes: LIMITS.unpackedMaxBytes,
      signal,
    });
    if (answer.status === 416) {
      if (length === undefined) return await this.#nothingAt(key, offset, signal);
      throw tooShort(key);
    }
    this.#expect(answer, isPart ? [206, 200] : [200], `cannot read '${key}'`);
    // An emulator that ignores the range sends all of it.
    const start = answer.status === 206 ? 0 : offset;
    const bytes = answer.bytes.subarray(start, length === undefined ? undefined : start + length);
    if (start > answer.bytes.length || (length !== undefined && bytes.length < length)) throw tooShort(key);
    return bytes;
  }

  /** No service gives a part without bytes: what matters is whether the file reaches that far. */
  async #nothingAt(key: string, offset: number, signal: AbortSignal): Promise<Buffer> {
    const found = await this.stat(key, { signal });
    if (found === undefined) throw notThere(key);
    if (found.sizeBytes < offset) throw tooShort(key);
    return Buffer.alloc(0);
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    const answer = await this.#ask({ method: "GET", path: this.#pathOf(key), query: { fields: "size" }, signal });
    if (answer.status === 404) return undefined;
    this.#expect(answer, [200], `cannot look for '${key}'`);
    const { size } = parse(answer) as { size?: unknown };
    return { sizeBytes: toSize(size, key) };
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const prefix = `${objectName(this.#place, folder)}/`;
    const root = prefix.length - folder.length - 1;
    let pageToken: string | undefined = "";
    while (pageToken !== undefined) {
      const answer: RestAnswer = await this.#ask({
        method: "GET",
        path: this.#objects,
        query: { prefix, fields: "items(name,size),nextPageToken", ...(pageToken === "" ? {} : { pageToken }) },
        signal,
      });
      // A place that is not made yet; a list that began is never taken for whole where it breaks off.
      if (isBucketMissing(answer) && pageToken === "") return;
      this.#expect(answer, [200], `cannot list '${folder}'`);
      const page = parse(answer) as { items?: { name?: unknown; size?: unknown }[]; nextPageToken?: string };
      for (const { name, size } of page.items ?? []) {
        if (typeof name !== "string" || !name.startsWith(prefix)) continue;
        yield { key: name.slice(root), sizeBytes: toSize(size, name) };
      }
      pageToken = page.nextPageToken;
    }
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    const answer = await this.#ask({ method: "DELETE", path: this.#pathOf(key), signal });
    if (answer.status !== 404) this.#expect(answer, [200, 204], `cannot remove '${key}'`);
  }

  /** Nothing is uploaded in parts, so nothing can be left unfinished. */
  async removeLeftovers(): Promise<number> {
    return 0;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    const query = { fields: "size" };
    return (await this.#ask({ method: "GET", path: this.#pathOf("config"), query, signal })).date;
  }

  async publicAccess({ signal }: CallOptions): Promise<PublicAccess | undefined> {
    // An emulator is asked without credentials anyway.
    if (Object.keys(await this.#access.authorize(signal)).length === 0) return undefined;
    const access = { ...this.#access, authorize: async () => ({}) };
    return await publicAccessOf(this, new GsBackend(this.#place, access, this.#client), { signal });
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}

function parse({ bytes }: RestAnswer): object {
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

/** Google writes 64-bit numbers as texts. */
function toSize(size: unknown, key: string): number {
  const bytes = Number(size);
  if (typeof size !== "string" || !Number.isSafeInteger(bytes) || bytes < 0) {
    throw new Failure("store/unreachable", `Google does not say how long '${key}' is`);
  }
  return bytes;
}
