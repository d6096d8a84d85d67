/** Files in a bucket of Amazon S3, or of a service that speaks like it. Each call is tried once. */
import { GetObjectCommand, HeadBucketCommand, HeadObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { Failure } from "../base/errors.ts";
import { factsOf, isWordless, type S3Facts } from "../store/s3-errors.ts";
import { connectS3, type S3Call, type S3Service } from "../store/s3-service.ts";
import type { BucketFacts } from "./bucket-facts.ts";
import { partOf } from "./collect.ts";
import { readS3Facts } from "./s3-facts.ts";
import type { ObjectPart, ObjectPlace, ReadOptions, S3Spec } from "./source.ts";

/** Opens no connection yet. */
export function openS3Place(spec: S3Spec, options: { connections: number }): ObjectPlace {
  return new S3Place(s3ServiceOf(spec, options));
}

/** The service behind a bucket of uploaded files. Opens no connection yet. */
export function s3ServiceOf(spec: S3Spec, { connections }: { connections: number }): S3Service {
  const { accessKeyId = "", secretAccessKey = "" } = spec.credentials ?? {};
  const location = {
    shown: `bucket '${spec.bucket}' of storage '${spec.service}'`,
    scheme: spec.scheme,
    host: spec.host,
    basePath: spec.basePath,
    bucket: spec.bucket,
    prefix: "",
    isAmazon: spec.isAmazon,
    region: spec.region,
    isPathStyle: spec.isPathStyle,
  };
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  return connectS3(location, env, { connections });
}

class S3Place implements ObjectPlace {
  readonly #service: S3Service;

  constructor(service: S3Service) {
    this.#service = service;
  }

  async part(
    key: string,
    { offset, length, version, signal }: ReadOptions & { offset: number; length: number; version: string | undefined },
  ): Promise<ObjectPart | "missing" | "changed"> {
    const command = new GetObjectCommand({
      ...this.#service.object(key),
      Range: `bytes=${offset}-${offset + length - 1}`,
      ...(version === undefined ? {} : { IfMatch: version }),
    });
    return await this.#ask(`cannot read '${key}'`, signal, async (client, http) => {
      try {
        const { Body: body, ContentLength, ContentRange, ETag } = await client.send(command, http);
        const answer = { body, contentLength: ContentLength, contentRange: ContentRange, version: ETag };
        return await partOf(answer, { offset, length, signal: http.abortSignal });
      } catch (error) {
        const { code, status } = factsOf(error);
        if (status === 404 && code !== "NoSuchBucket") return "missing";
        if (status === 412) return "changed";
        if (status !== 416) throw error;
        return offset === 0 ? { bytes: Buffer.alloc(0), version: undefined, totalBytes: 0 } : "changed";
      }
    });
  }

  async size(key: string, { signal }: ReadOptions): Promise<number | undefined> {
    const command = new HeadObjectCommand(this.#service.object(key));
    return await this.#ask(`cannot look for '${key}'`, signal, async (client, http) => {
      try {
        return (await client.send(command, http)).ContentLength ?? 0;
      } catch (error) {
        if (factsOf(error).status === 404) return undefined;
        throw error;
      }
    });
  }

  async probe({ signal }: ReadOptions): Promise<void> {
    const Bucket = this.#service.place.bucket;
    const what = "cannot look at the bucket";
    const isThere = await this.#service.ask(what, signal, async (client, http) => {
      try {
        await client.send(new HeadBucketCommand({ Bucket }), http);
        return true;
      } catch (error) {
        const { code, status } = factsOf(error);
        if (status === 404) throw new Failure("store/not-found", `there is no bucket '${Bucket}'`, { cause: error });
        if (status === 403 && isWordless(code)) return false;
        throw error;
      }
    });
    if (isThere) return;
    // The answer to HEAD has no room for a reason: a question that has one is asked.
    await this.#service.ask(what, signal, async (client, http) => {
      try {
        await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 1 }), http);
      } catch (error) {
        // Who may not list may still read.
        if (factsOf(error).code !== "AccessDenied") throw error;
      }
    });
  }

  async facts({ sample, signal }: ReadOptions & { sample: string | undefined }): Promise<BucketFacts> {
    return await readS3Facts(this.#service, { sample, signal });
  }

  async #ask<T>(what: string, signal: AbortSignal, call: S3Call<T>): Promise<T> {
    return await this.#service.ask(what, signal, async (client, http) => {
      try {
        return await call(client, http);
      } catch (error) {
        const why = reasonOf(factsOf(error));
        throw why === undefined ? error : new Failure("source/unreadable", why, { cause: error });
      }
    });
  }

  close(): void {
    this.#service.close();
  }
}

/** Why this one file is not given; undefined for what concerns more than it. */
function reasonOf({ code, status }: S3Facts): string | undefined {
  if (code === "InvalidObjectState") return "it lies in an archive that cannot be read at once";
  if (code.startsWith("KMS.")) return "the key (KMS) that it is encrypted with may not be used";
  if (code === "AccessDenied" || (status === 403 && isWordless(code))) {
    return "access denied (without the right to list the bucket, S3 says so of files that are not there, too)";
  }
  return undefined;
}
