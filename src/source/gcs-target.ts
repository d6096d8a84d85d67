/** Putting files into a bucket of Google Cloud Storage. Each call is tried once. */
import { randomUUID } from "node:crypto";
import { Failure } from "../base/errors.ts";
import { isBucketMissing } from "../store/gs-errors.ts";
import { type GsService, parseGs } from "../store/gs-service.ts";
import type { RestAnswer } from "../store/rest-request.ts";
import { gcsServiceOf } from "./gcs-source.ts";
import type { GcsSpec, ReadOptions } from "./source.ts";
import type { ObjectPage, ObjectSink, ObjectUpload, StoredBlob, Written } from "./target.ts";

/** Opens no connection yet. */
export function openGcsSink(spec: GcsSpec, options: { connections: number }): ObjectSink {
  return new GcsSink(gcsServiceOf(spec, options));
}

interface GcsObject {
  readonly name?: string;
  readonly size?: string;
  readonly md5Hash?: string;
  readonly contentType?: string;
}

function blobOf({ size, md5Hash }: GcsObject): StoredBlob {
  return { bytes: Number(size ?? 0), md5: md5Hash };
}

/** How much of an upload in parts there is: Google may take less of a part than was sent. */
function takenBytes({ headers }: RestAnswer): number {
  const [, last] = /^bytes=0-(\d+)$/.exec(headers.range ?? "") ?? [];
  return last === undefined ? 0 : Number(last) + 1;
}

/** Google's own words for what must not be there yet. */
const NEW = { ifGenerationMatch: "0", fields: "size,md5Hash" };

class GcsSink implements ObjectSink {
  readonly #service: GsService;

  constructor(service: GsService) {
    this.#service = service;
  }

  async stat(key: string, { signal }: ReadOptions): Promise<StoredBlob | undefined> {
    const query = { fields: "size,md5Hash,contentType" };
    const answer = await this.#service.ask({ method: "GET", path: this.#service.pathOf(key), query, signal });
    if (answer.status === 404 && !isBucketMissing(answer)) return undefined;
    this.#service.expect(answer, [200], `cannot look for '${key}'`);
    const object = parseGs(answer) as GcsObject;
    return { ...blobOf(object), type: object.contentType };
  }

  async list(after: string | undefined, { signal }: ReadOptions): Promise<ObjectPage> {
    const answer = await this.#service.ask({
      method: "GET",
      path: this.#service.objects,
      query: {
        fields: "items(name,size,md5Hash),nextPageToken",
        ...(after === undefined ? {} : { pageToken: after }),
      },
      signal,
    });
    this.#service.expect(answer, [200], "cannot list files");
    const page = parseGs(answer) as { items?: readonly GcsObject[]; nextPageToken?: string };
    const objects = (page.items ?? []).map((object) => ({ key: object.name ?? "", ...blobOf(object) }));
    return { objects, next: page.nextPageToken };
  }

  async put(
    key: string,
    bytes: Buffer,
    { md5, type, signal }: ReadOptions & { md5: Buffer; type: string },
  ): Promise<Written> {
    const boundary = randomUUID();
    const metadata = JSON.stringify({ name: key, contentType: type, md5Hash: md5.toString("base64") });
    const answer = await this.#service.ask({
      method: "POST",
      path: `/upload${this.#service.objects}`,
      query: { uploadType: "multipart", ...NEW },
      headers: { "Content-Type": `multipart/related; boundary=${boundary}` },
      body: Buffer.concat([
        Buffer.from(`--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${metadata}\r\n`),
        Buffer.from(`--${boundary}\r\nContent-Type: ${type}\r\n\r\n`),
        bytes,
        Buffer.from(`\r\n--${boundary}--\r\n`),
      ]),
      signal,
    });
    return this.#outcome(answer, key, md5);
  }

  #outcome(answer: RestAnswer, key: string, md5: Buffer): Written {
    if (answer.status === 412) return "exists";
    this.#service.expect(answer, [200, 201], `cannot write '${key}'`);
    return { isChecked: blobOf(parseGs(answer)).md5 === md5.toString("base64") };
  }

  async begin(
    key: string,
    { bytes: total, type, signal }: ReadOptions & { bytes: number; type: string },
  ): Promise<ObjectUpload | "exists"> {
    const what = `cannot write '${key}'`;
    const answer = await this.#service.ask({
      method: "POST",
      path: `/upload${this.#service.objects}`,
      query: { uploadType: "resumable", ...NEW },
      headers: { "Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Type": type },
      body: Buffer.from(JSON.stringify({ name: key, contentType: type })),
      signal,
    });
    if (answer.status === 412) return "exists";
    this.#service.expect(answer, [200, 201], what);
    const session = URL.parse(answer.location ?? "");
    if (session === null) throw new Failure("store/unreachable", `${what}: Google does not say where to send it`);
    const call = { path: session.pathname, query: Object.fromEntries(session.searchParams) };
    let last: RestAnswer | undefined;
    return {
      part: async (_number, bytes, { offset, signal: limited }) => {
        const end = offset + bytes.length;
        const headers = { "Content-Range": `bytes ${offset}-${end - 1}/${total}` };
        const said = await this.#service.ask({ method: "PUT", ...call, headers, body: bytes, signal: limited });
        // 308: go on. The last part is answered with the object.
        if (end < total) {
          this.#service.expect(said, [308], what);
          const taken = takenBytes(said);
          // Sent again, what it has is passed over.
          if (taken < end) throw new Failure("store/unreachable", `${what}: Google took ${taken} of ${end} bytes`);
        }
        // What came meanwhile is found out only here.
        else if (said.status !== 412) this.#service.expect(said, [200, 201], what);
        last = said;
      },
      finish: async ({ md5 }) => {
        if (last === undefined) throw new Failure("store/unreachable", `${what}: nothing of it was sent`);
        return this.#outcome(last, key, md5);
      },
      abandon: async ({ signal: limited }) => {
        await this.#service.ask({ method: "DELETE", ...call, signal: limited });
      },
    };
  }

  async removeParts(): Promise<void> {
    // Google lets go of sessions that nobody goes on with after a week, and nobody pays for them.
  }

  async remove(key: string, { signal }: ReadOptions): Promise<void> {
    const answer = await this.#service.ask({ method: "DELETE", path: this.#service.pathOf(key), signal });
    if (answer.status === 404 && !isBucketMissing(answer)) return;
    this.#service.expect(answer, [200, 204], `cannot remove '${key}'`);
  }

  close(): void {
    this.#service.close();
  }
}
