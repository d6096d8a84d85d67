/** Putting files into a bucket of Amazon S3, or of a service that speaks like it. Each call is tried once. */
import { createHash } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { isFailure } from "../base/errors.ts";
import { factsOf } from "../store/s3-errors.ts";
import type { S3Service } from "../store/s3-service.ts";
import { s3ServiceOf } from "./s3-source.ts";
import type { ReadOptions, S3Spec } from "./source.ts";
import type { ObjectPage, ObjectSink, ObjectUpload, StoredBlob, Written } from "./target.ts";

/** Opens no connection yet. */
export function openS3Sink(spec: S3Spec, options: { connections: number }): ObjectSink {
  return new S3Sink(s3ServiceOf(spec, options));
}

/** An ETag is the MD5 where an object came in one piece; of one that a key of KMS enciphers it only looks like one. */
function md5Of(etag: string | undefined): string | undefined {
  const hex = /^"?([0-9a-f]{32})"?$/.exec(etag ?? "")?.[1];
  return hex === undefined ? undefined : Buffer.from(hex, "hex").toString("base64");
}

class S3Sink implements ObjectSink {
  readonly #service: S3Service;
  /** A service that does not know the condition is not asked with it again: what is there was looked at before. */
  #knowsConditions = true;

  constructor(service: S3Service) {
    this.#service = service;
  }

  async stat(key: string, { signal }: ReadOptions): Promise<StoredBlob | undefined> {
    const command = new HeadObjectCommand(this.#service.object(key));
    return await this.#service.ask(`cannot look for '${key}'`, signal, async (client, http) => {
      try {
        const { ContentLength = 0, ETag, ServerSideEncryption, ContentType: type } = await client.send(command, http);
        const isPlain = ServerSideEncryption === undefined || ServerSideEncryption === "AES256";
        return { bytes: ContentLength, md5: isPlain ? md5Of(ETag) : undefined, type };
      } catch (error) {
        if (factsOf(error).status === 404) return undefined;
        throw error;
      }
    });
  }

  async list(after: string | undefined, { signal }: ReadOptions): Promise<ObjectPage> {
    const start = after === undefined ? {} : { StartAfter: after };
    const command = new ListObjectsV2Command({ Bucket: this.#service.place.bucket, ...start });
    const page = await this.#service.ask("cannot list files", signal, async (client, http) => {
      return await client.send(command, http);
    });
    const objects = (page.Contents ?? []).map(({ Key = "", Size = 0, ETag }) => {
      return { key: Key, bytes: Size, md5: md5Of(ETag) };
    });
    return { objects, next: page.IsTruncated === true ? objects.at(-1)?.key : undefined };
  }

  async put(
    key: string,
    bytes: Buffer,
    { md5, type, signal }: ReadOptions & { md5: Buffer; type: string },
  ): Promise<Written> {
    const send = async (): Promise<Written> => {
      const command = new PutObjectCommand({
        ...this.#service.object(key),
        Body: bytes,
        ContentLength: bytes.length,
        ContentMD5: md5.toString("base64"),
        ContentType: type,
        ...(this.#knowsConditions ? { IfNoneMatch: "*" } : {}),
      });
      const { ETag } = await this.#service.ask(`cannot write '${key}'`, signal, async (client, http) => {
        return await client.send(command, http);
      });
      return { isChecked: md5Of(ETag) === md5.toString("base64") };
    };
    return await this.#unlessThere(send);
  }

  async #unlessThere(send: () => Promise<Written>): Promise<Written> {
    try {
      return await send();
    } catch (error) {
      const status = isFailure(error) ? factsOf(error.cause).status : undefined;
      if (status === 412) return "exists";
      if (status !== 501 || !this.#knowsConditions) throw error;
      this.#knowsConditions = false;
      return await send();
    }
  }

  async begin(key: string, { type, signal }: ReadOptions & { type: string }): Promise<ObjectUpload> {
    const command = new CreateMultipartUploadCommand({ ...this.#service.object(key), ContentType: type });
    const { UploadId } = await this.#service.ask(`cannot write '${key}'`, signal, async (client, http) => {
      return await client.send(command, http);
    });
    return this.#upload(key, UploadId);
  }

  #upload(key: string, UploadId: string | undefined): ObjectUpload {
    const object = { ...this.#service.object(key), UploadId };
    const parts: { PartNumber: number; ETag: string | undefined }[] = [];
    const sums: Buffer[] = [];
    const what = `cannot write '${key}'`;
    return {
      part: async (number, bytes, { signal }) => {
        const sum = createHash("md5").update(bytes).digest();
        const own = { PartNumber: number + 1, ContentLength: bytes.length, ContentMD5: sum.toString("base64") };
        const command = new UploadPartCommand({ ...object, ...own, Body: bytes });
        const { ETag } = await this.#service.ask(
          what,
          signal,
          async (client, http) => await client.send(command, http),
        );
        parts[number] = { PartNumber: number + 1, ETag };
        sums[number] = sum;
      },
      finish: async ({ signal }) => {
        const whole = createHash("md5").update(Buffer.concat(sums)).digest("hex");
        return await this.#unlessThere(async () => {
          const command = new CompleteMultipartUploadCommand({
            ...object,
            MultipartUpload: { Parts: parts },
            ...(this.#knowsConditions ? { IfNoneMatch: "*" } : {}),
          });
          const { ETag } = await this.#service.ask(what, signal, async (client, http) => {
            return await client.send(command, http);
          });
          return { isChecked: ETag?.replaceAll('"', "") === `${whole}-${parts.length}` };
        });
      },
      abandon: async ({ signal }) => {
        await this.#abort(key, UploadId, { signal });
      },
    };
  }

  async #abort(key: string, UploadId: string | undefined, { signal }: ReadOptions): Promise<void> {
    const command = new AbortMultipartUploadCommand({ ...this.#service.object(key), UploadId });
    await this.#service.ask(`cannot give up '${key}'`, signal, async (client, http) => {
      await client.send(command, http);
    });
  }

  async removeParts(key: string, { signal }: ReadOptions): Promise<void> {
    const command = new ListMultipartUploadsCommand({ Bucket: this.#service.place.bucket, Prefix: key });
    try {
      const { Uploads = [] } = await this.#service.ask("cannot look for parts", signal, async (client, http) => {
        return await client.send(command, http);
      });
      for (const { Key, UploadId } of Uploads) if (Key === key) await this.#abort(key, UploadId, { signal });
    } catch (error) {
      signal.throwIfAborted();
      // Who may not list them, or a service that cannot: the bucket's own rules remove them in time.
      if (!isFailure(error)) throw error;
    }
  }

  async remove(key: string, { signal }: ReadOptions): Promise<void> {
    const command = new DeleteObjectCommand(this.#service.object(key));
    await this.#service
      .ask(`cannot remove '${key}'`, signal, async (client, http) => await client.send(command, http))
      .catch((error: unknown) => {
        if (!isFailure(error, "store/not-found") || factsOf(error.cause).code === "NoSuchBucket") throw error;
      });
  }

  close(): void {
    this.#service.close();
  }
}
