/**
 * A container of Azure Blob Storage. Every file is one Put Blob with its MD5, which Azure checks before the file appears.
 * Nothing is tried again here.
 */
import { createHash } from "node:crypto";
import { addAbortSignal, Readable } from "node:stream";
import { systemClock } from "../base/clock.ts";
import { isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { factsOf } from "./azure-errors.ts";
import { AzureRetention, policyOf, retainedOf } from "./azure-retention.ts";
import { type AzureService, openAzureService } from "./azure-service.ts";
import { AzureVersions } from "./azure-versions.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { notThere, objectName, tooShort } from "./bucket-location.ts";
import type { RemotePlace } from "./open-store.ts";
import { Past } from "./past.ts";
import { type PublicAccess, publicAccessOf } from "./public-access.ts";
import type { RetentionPolicy } from "./retention.ts";
import type { CallOptions } from "./store.ts";

/** Opens no connection yet. @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openAzureBackend(place: RemotePlace): Backend {
  const service = openAzureService(place);
  const backend = new AzureBackend(service, place.settings.retention);
  const { atMs } = place.settings;
  if (atMs === undefined) return backend;
  return new Past(new AzureVersions(service, async (key, options) => await backend.get(key, options)), atMs);
}

type GetOptions = CallOptions & { offset: number; length: number | undefined; versionId?: string };

class AzureBackend implements Backend {
  readonly location: string;
  readonly retention: AzureRetention | undefined;
  readonly #service: AzureService;

  constructor(service: AzureService, policy: RetentionPolicy | undefined) {
    this.location = service.location;
    this.#service = service;
    this.retention = policy === undefined ? undefined : new AzureRetention(service, policy);
  }

  async create({ signal }: CallOptions): Promise<void> {
    await this.#service.ask(
      `cannot make the container '${this.#service.place.bucket}'`,
      signal,
      async (abortSignal) => {
        try {
          if (await this.#service.container.exists({ abortSignal })) return;
          await this.#service.container.createIfNotExists({ abortSignal });
        } catch (error) {
          // An SAS for one container may not ask for it, nor make it; but it may write: what follows will tell.
          if (!/^Authorization(PermissionMismatch|Failure|ResourceTypeMismatch)$/.test(factsOf(error).code))
            throw error;
        }
      },
    );
  }

  async put(key: string, bytes: Buffer, { mustBeNew, signal }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const md5 = createHash("md5").update(bytes).digest();
    await this.#service.ask(`cannot write '${key}'`, signal, async (abortSignal) => {
      try {
        await this.#service.blob(key).upload(bytes, bytes.length, {
          abortSignal,
          blobHTTPHeaders: { blobContentType: "application/octet-stream", blobContentMD5: md5 },
          ...policyOf(key, this.retention?.policy, systemClock.now()),
          ...(mustBeNew ? { conditions: { ifNoneMatch: "*" } } : {}),
        });
      } catch (error) {
        const { code, status } = factsOf(error);
        if (!mustBeNew || !(code === "BlobAlreadyExists" || status === 412)) throw error;
      }
    });
  }

  async get(key: string, { offset, length, signal, versionId }: GetOptions): Promise<Buffer> {
    if (length === 0) return await this.#nothingAt(key, offset, signal);
    const read = await this.#service.ask(`cannot read '${key}'`, signal, async (abortSignal) => {
      try {
        const blob = this.#service.blob(key);
        const file = versionId === undefined || versionId === "" ? blob : blob.withVersion(versionId);
        const answer = await file.download(offset, length, { abortSignal, maxRetryRequests: 0 });
        return await readBody(answer.readableStreamBody, signal);
      } catch (error) {
        if (factsOf(error).status !== 416) throw error;
        return undefined;
      }
    });
    if (read === undefined && length === undefined) return await this.#nothingAt(key, offset, signal);
    if (read === undefined || (length !== undefined && read.length < length)) throw tooShort(key);
    return read;
  }

  /** No service gives a part without bytes: what matters is whether the file reaches that far. */
  async #nothingAt(key: string, offset: number, signal: AbortSignal): Promise<Buffer> {
    const found = await this.stat(key, { signal });
    if (found === undefined) throw notThere(key);
    if (found.sizeBytes < offset) throw tooShort(key);
    return Buffer.alloc(0);
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    try {
      const found = await this.#service.ask(
        `cannot look for '${key}'`,
        signal,
        async (abortSignal) => await this.#service.blob(key).getProperties({ abortSignal }),
      );
      return { sizeBytes: found.contentLength ?? 0 };
    } catch (error) {
      if (isFailure(error, "store/not-found")) return undefined;
      throw error;
    }
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const prefix = `${objectName(this.#service.place, folder)}/`;
    const root = prefix.length - folder.length - 1;
    const includeImmutabilityPolicy = this.retention !== undefined;
    const options = { prefix, signal, includeImmutabilityPolicy };
    for await (const items of this.#service.pages(`cannot list '${folder}'`, options)) {
      for (const { name, properties } of items) {
        const file = { key: name.slice(root), sizeBytes: properties.contentLength ?? 0 };
        yield includeImmutabilityPolicy ? { ...file, retained: retainedOf(properties) } : file;
      }
    }
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    await this.#service
      .ask(
        `cannot remove '${key}'`,
        signal,
        async (abortSignal) => await this.#service.blob(key).deleteIfExists({ abortSignal }),
      )
      .catch((error: unknown) => {
        if (!isFailure(error, "store/not-found")) throw error;
      });
  }

  /** Nothing is uploaded in parts, so nothing can be left unfinished. */
  async removeLeftovers(): Promise<number> {
    return 0;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    const found = await this.#service.ask(
      "cannot ask for the time",
      signal,
      async (abortSignal) => await this.#service.blob("config").getProperties({ abortSignal }),
    );
    return found.date?.getTime();
  }

  async publicAccess(options: CallOptions): Promise<PublicAccess> {
    const service = this.#service.anonymous();
    try {
      return await publicAccessOf(this, new AzureBackend(service, undefined), options);
    } finally {
      service.close();
    }
  }

  async close(): Promise<void> {
    this.#service.close();
  }
}

/** All of an answer's bytes: the SDK makes an error of a connection that ends early. */
async function readBody(body: NodeJS.ReadableStream | undefined, signal: AbortSignal): Promise<Buffer> {
  if (!(body instanceof Readable)) return Buffer.alloc(0);
  addAbortSignal(signal, body);
  const pieces: Buffer[] = [];
  let read = 0;
  for await (const piece of body as AsyncIterable<Buffer>) {
    read += piece.length;
    if (read > LIMITS.unpackedMaxBytes) throw new Error("the file is longer than any that a repository has");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
