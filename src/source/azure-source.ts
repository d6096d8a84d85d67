/** Files in a container of Azure Blob Storage. Each call is tried once. */
import { Failure } from "../base/errors.ts";
import { type AzureFacts, factsOf } from "../store/azure-errors.ts";
import { type AzureService, connectAzure } from "../store/azure-service.ts";
import { readAzureFacts } from "./azure-facts.ts";
import type { BucketFacts } from "./bucket-facts.ts";
import { partOf } from "./collect.ts";
import type { AzureSpec, ObjectPart, ObjectPlace, ReadOptions } from "./source.ts";

/** Opens no connection yet. */
export function openAzurePlace(spec: AzureSpec, options: { connections: number }): ObjectPlace {
  return new AzurePlace(azureServiceOf(spec, options));
}

/** The service behind a container of uploaded files. Opens no connection yet. */
export function azureServiceOf(spec: AzureSpec, { connections }: { connections: number }): AzureService {
  const place = { bucket: spec.bucket, shown: `container '${spec.bucket}' of storage '${spec.service}'` };
  const { account: name, key, endpoint } = spec;
  return connectAzure(place, { name, key, endpoint }, { connections });
}

class AzurePlace implements ObjectPlace {
  readonly #service: AzureService;

  constructor(service: AzureService) {
    this.#service = service;
  }

  async part(
    key: string,
    { offset, length, version, signal }: ReadOptions & { offset: number; length: number; version: string | undefined },
  ): Promise<ObjectPart | "missing" | "changed"> {
    return await this.#ask(`cannot read '${key}'`, signal, async (abortSignal) => {
      try {
        const answer = await this.#service.blob(key).download(offset, length, {
          abortSignal,
          maxRetryRequests: 0,
          ...(version === undefined ? {} : { conditions: { ifMatch: version } }),
        });
        const { readableStreamBody: body, contentLength, contentRange, etag } = answer;
        return await partOf(
          { body, contentLength, contentRange, version: etag },
          { offset, length, signal: abortSignal },
        );
      } catch (error) {
        const { code, status } = factsOf(error);
        if (status === 404 && code !== "ContainerNotFound") return "missing";
        if (status === 412) return "changed";
        if (status !== 416) throw error;
        return offset === 0 ? { bytes: Buffer.alloc(0), version: undefined, totalBytes: 0 } : "changed";
      }
    });
  }

  async size(key: string, { signal }: ReadOptions): Promise<number | undefined> {
    return await this.#ask(`cannot look for '${key}'`, signal, async (abortSignal) => {
      try {
        return (await this.#service.blob(key).getProperties({ abortSignal })).contentLength ?? 0;
      } catch (error) {
        const { code, status } = factsOf(error);
        if (status === 404 && code !== "ContainerNotFound") return undefined;
        throw error;
      }
    });
  }

  async probe({ signal }: ReadOptions): Promise<void> {
    await this.#service.ask(
      "cannot look at the container",
      signal,
      async (abortSignal) => await this.#service.container.getProperties({ abortSignal }),
    );
  }

  async facts({ sample, signal }: ReadOptions & { sample: string | undefined }): Promise<BucketFacts> {
    return await readAzureFacts(this.#service, { sample, signal });
  }

  async #ask<T>(what: string, signal: AbortSignal, call: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    return await this.#service.ask(what, signal, async (abortSignal) => {
      try {
        return await call(abortSignal);
      } catch (error) {
        const why = reasonOf(factsOf(error));
        throw why === undefined ? error : new Failure("source/unreadable", why);
      }
    });
  }

  close(): void {
    this.#service.close();
  }
}

/** Why this one file is not given; undefined for what concerns more than it. */
function reasonOf({ code }: AzureFacts): string | undefined {
  if (code === "BlobArchived" || code === "BlobBeingRehydrated") {
    return "it lies in an archive that cannot be read at once";
  }
  return /^(AuthorizationPermissionMismatch|BlobUsesCustomerSpecifiedEncryption)$/.test(code)
    ? "access denied"
    : undefined;
}
