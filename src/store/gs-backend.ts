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
import { notThere, objectName, parseBucketLocation, tooShort } from "./bucket-location.ts";
import { readAuthorities } from "./certificates.ts";
import { type GsAccess, readGsAccess } from "./gs-access.ts";
import { isBucketMissing } from "./gs-errors.ts";
import { connectGs, type GsService, parseGs } from "./gs-service.ts";
import type { RemotePlace } from "./open-store.ts";
import { type PublicAccess, publicAccessOf } from "./public-access.ts";
import type { RestAnswer } from "./rest-request.ts";
import type { CallOptions } from "./store.ts";

/** Opens no connection yet. @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openGsBackend({ location, env, settings }: RemotePlace, access: GsAccess = readGsAccess(env)): Backend {
  const place = parseBucketLocation(location, "gs");
  const { connections } = settings;
  return new GsBackend(connectGs(place, access, { connections, ca: readAuthorities(env, ["RESTIC_CACERT"]) }));
}

type GetOptions = CallOptions & { offset: number; length: number | undefined };

class GsBackend implements Backend {
  readonly location: string;
  readonly #service: GsService;

  constructor(service: GsService) {
    this.location = service.place.shown;
    this.#service = service;
  }

  async create({ signal }: CallOptions): Promise<void> {
    const { bucket } = this.#service.place;
    const query = { fields: "name" };
    const found = await this.#service.ask({ method: "GET", path: this.#service.bucket, query, signal });
    // Who may not look at the bucket may still write there: what follows will tell.
    if (found.status === 200 || found.status === 403) return;
    if (found.status !== 404) this.#service.expect(found, [200], `cannot use the bucket '${bucket}'`);
    const { projectId } = this.#service.access;
    if (projectId === undefined) {
      throw new Failure("store/not-found", `there is no bucket '${bucket}'`, {
        hint: "Make it, or set GOOGLE_PROJECT_ID to the project in which it shall be made.",
      });
    }
    const made = await this.#service.ask({
      method: "POST",
      path: "/storage/v1/b",
      query: { project: projectId },
      headers: { "Content-Type": "application/json" },
      body: Buffer.from(JSON.stringify({ name: bucket })),
      signal,
    });
    // 409: another one made it meanwhile, or it is somebody else's; what follows will tell.
    this.#service.expect(made, [200, 409], `cannot make the bucket '${bucket}'`);
  }

  async put(key: string, bytes: Buffer, { mustBeNew, signal }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const type = "application/octet-stream";
    const metadata = {
      name: objectName(this.#service.place, key),
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
    const answer = await this.#service.ask({
      method: "POST",
      path: `/upload${this.#service.objects}`,
      query: { uploadType: "multipart", fields: "size", ...(mustBeNew ? { ifGenerationMatch: "0" } : {}) },
      headers: { "Content-Type": `multipart/related; boundary=${boundary}` },
      body,
      signal,
    });
    if (mustBeNew && answer.status === 412) return;
    this.#service.expect(answer, [200], `cannot write '${key}'`);
  }

  async get(key: string, { offset, length, signal }: GetOptions): Promise<Buffer> {
    if (length === 0) return await this.#nothingAt(key, offset, signal);
    const isPart = offset > 0 || length !== undefined;
    const answer = await this.#service.ask({
      method: "GET",
      path: this.#service.pathOf(key),
      query: { alt: "media" },
      headers: isPart ? { Range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` } : {},
      maxBytes: LIMITS.unpackedMaxBytes,
      signal,
    });
    if (answer.status === 416) {
      if (length === undefined) return await this.#nothingAt(key, offset, signal);
      throw tooShort(key);
    }
    this.#service.expect(answer, isPart ? [206, 200] : [200], `cannot read '${key}'`);
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
    const answer = await this.#service.ask({
      method: "GET",
      path: this.#service.pathOf(key),
      query: { fields: "size" },
      signal,
    });
    if (answer.status === 404) return undefined;
    this.#service.expect(answer, [200], `cannot look for '${key}'`);
    const { size } = parseGs(answer) as { size?: unknown };
    return { sizeBytes: toSize(size, key) };
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const prefix = `${objectName(this.#service.place, folder)}/`;
    const root = prefix.length - folder.length - 1;
    let pageToken: string | undefined = "";
    while (pageToken !== undefined) {
      const answer: RestAnswer = await this.#service.ask({
        method: "GET",
        path: this.#service.objects,
        query: { prefix, fields: "items(name,size),nextPageToken", ...(pageToken === "" ? {} : { pageToken }) },
        signal,
      });
      // A place that is not made yet; a list that began is never taken for whole where it breaks off.
      if (isBucketMissing(answer) && pageToken === "") return;
      this.#service.expect(answer, [200], `cannot list '${folder}'`);
      const page = parseGs(answer) as { items?: { name?: unknown; size?: unknown }[]; nextPageToken?: string };
      for (const { name, size } of page.items ?? []) {
        if (typeof name !== "string" || !name.startsWith(prefix)) continue;
        yield { key: name.slice(root), sizeBytes: toSize(size, name) };
      }
      pageToken = page.nextPageToken;
    }
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    const answer = await this.#service.ask({ method: "DELETE", path: this.#service.pathOf(key), signal });
    if (answer.status !== 404) this.#service.expect(answer, [200, 204], `cannot remove '${key}'`);
  }

  /** Nothing is uploaded in parts, so nothing can be left unfinished. */
  async removeLeftovers(): Promise<number> {
    return 0;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    const query = { fields: "size" };
    return (await this.#service.ask({ method: "GET", path: this.#service.pathOf("config"), query, signal })).date;
  }

  async publicAccess({ signal }: CallOptions): Promise<PublicAccess | undefined> {
    const stranger = await this.#service.anonymous(signal);
    return stranger === undefined ? undefined : await publicAccessOf(this, new GsBackend(stranger), { signal });
  }

  async close(): Promise<void> {
    this.#service.close();
  }
}

/** Google writes 64-bit numbers as texts. */
function toSize(size: unknown, key: string): number {
  const bytes = Number(size);
  if (typeof size !== "string" || !Number.isSafeInteger(bytes) || bytes < 0) {
    throw new Failure("store/unreachable", `Google does not say how long '${key}' is`);
  }
  return bytes;
}
