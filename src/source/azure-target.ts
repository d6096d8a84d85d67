/** Putting files into a container of Azure Blob Storage. Each call is tried once. */
import { createHash, randomBytes } from "node:crypto";
import { factsOf } from "../store/azure-errors.ts";
import type { AzureService } from "../store/azure-service.ts";
import { azureServiceOf } from "./azure-source.ts";
import type { AzureSpec, ReadOptions } from "./source.ts";
import type { ObjectPage, ObjectSink, ObjectUpload, StoredBlob, Written } from "./target.ts";

/** Opens no connection yet. */
export function openAzureSink(spec: AzureSpec, options: { connections: number }): ObjectSink {
  return new AzureSink(azureServiceOf(spec, options));
}

const ONLY_NEW = { ifNoneMatch: "*" } as const;

function base64(md5: Uint8Array | undefined): string | undefined {
  return md5 === undefined ? undefined : Buffer.from(md5).toString("base64");
}

class AzureSink implements ObjectSink {
  readonly #service: AzureService;

  constructor(service: AzureService) {
    this.#service = service;
  }

  async stat(key: string, { signal }: ReadOptions): Promise<StoredBlob | undefined> {
    return await this.#service.ask(`cannot look for '${key}'`, signal, async (abortSignal) => {
      try {
        const found = await this.#service.blob(key).getProperties({ abortSignal });
        return { bytes: found.contentLength ?? 0, md5: base64(found.contentMD5), type: found.contentType };
      } catch (error) {
        const { code, status } = factsOf(error);
        if (status === 404 && code !== "ContainerNotFound") return undefined;
        throw error;
      }
    });
  }

  async list(after: string | undefined, { signal }: ReadOptions): Promise<ObjectPage> {
    return await this.#service.ask("cannot list files", signal, async (abortSignal) => {
      const pages = this.#service.container
        .listBlobsFlat({ abortSignal })
        .byPage(after === undefined ? {} : { continuationToken: after });
      const page = await pages.next();
      if (page.done === true) return { objects: [], next: undefined };
      const objects = page.value.segment.blobItems.map(({ name, properties }) => {
        return { key: name, bytes: properties.contentLength ?? 0, md5: base64(properties.contentMD5) };
      });
      const { continuationToken } = page.value;
      return { objects, next: continuationToken === "" ? undefined : continuationToken };
    });
  }

  async put(
    key: string,
    bytes: Buffer,
    { md5, type, signal }: ReadOptions & { md5: Buffer; type: string },
  ): Promise<Written> {
    return await this.#unlessThere(key, signal, async (abortSignal) => {
      const blobHTTPHeaders = { blobContentType: type, blobContentMD5: md5 };
      const options = { abortSignal, blobHTTPHeaders, conditions: ONLY_NEW };
      const { contentMD5 } = await this.#service.blob(key).upload(bytes, bytes.length, options);
      return { isChecked: base64(contentMD5) === md5.toString("base64") };
    });
  }

  async #unlessThere(
    key: string,
    signal: AbortSignal,
    send: (abortSignal: AbortSignal) => Promise<Written>,
  ): Promise<Written> {
    return await this.#service.ask(`cannot write '${key}'`, signal, async (abortSignal) => {
      try {
        return await send(abortSignal);
      } catch (error) {
        const { code, status } = factsOf(error);
        if (code === "BlobAlreadyExists" || status === 412) return "exists";
        throw error;
      }
    });
  }

  async begin(key: string, { type }: ReadOptions & { type: string }): Promise<ObjectUpload> {
    const blob = this.#service.blob(key);
    // Names of one length, of this upload alone: blocks of a run that was killed are not among them.
    const run = randomBytes(6).toString("hex");
    const names: string[] = [];
    return {
      part: async (number, bytes, { signal }) => {
        const name = Buffer.from(`${run}-${String(number).padStart(6, "0")}`).toString("base64");
        const transactionalContentMD5 = createHash("md5").update(bytes).digest();
        await this.#service.ask(`cannot write '${key}'`, signal, async (abortSignal) => {
          await blob.stageBlock(name, bytes, bytes.length, { abortSignal, transactionalContentMD5 });
        });
        names[number] = name;
      },
      finish: async ({ md5, signal }) => {
        return await this.#unlessThere(key, signal, async (abortSignal) => {
          const blobHTTPHeaders = { blobContentType: type, blobContentMD5: md5 };
          await blob.commitBlockList(names, { abortSignal, blobHTTPHeaders, conditions: ONLY_NEW });
          // Azure keeps the MD5 that it is told of such a file, and does not compute it.
          return { isChecked: false };
        });
      },
      abandon: async () => {
        // Azure drops blocks that nobody puts together after a week.
      },
    };
  }

  async removeParts(): Promise<void> {
    // As above.
  }

  async remove(key: string, { signal }: ReadOptions): Promise<void> {
    await this.#service.ask(`cannot remove '${key}'`, signal, async (abortSignal) => {
      try {
        await this.#service.blob(key).deleteIfExists({ abortSignal });
      } catch (error) {
        const { code, status } = factsOf(error);
        if (status !== 404 || code === "ContainerNotFound") throw error;
      }
    });
  }

  close(): void {
    this.#service.close();
  }
}
