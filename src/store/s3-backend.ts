/**
 * A bucket of Amazon S3, or of a service that speaks like it.
 *
 * Every object is one PUT with its MD5: that is what makes a bucket with object lock take it, what every compatible
 * service understands, and what lets the service refuse bytes that changed on their way. Nothing is tried again here,
 * but for a bucket that turns out to lie in another region.
 */
import { createHash } from "node:crypto";
import { addAbortSignal, Readable } from "node:stream";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { parseHttpDate, systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Backend, ListedKey } from "./backend.ts";
import type { RemotePlace } from "./open-store.ts";
import { Past } from "./past.ts";
import { type PublicAccess, publicAccessOf } from "./public-access.ts";
import type { RetentionPolicy } from "./retention.ts";
import { factsOf, isWordless } from "./s3-errors.ts";
import { lockOf, S3Retention } from "./s3-retention.ts";
import { openS3Service, type S3Call, type S3Service } from "./s3-service.ts";
import { S3Versions } from "./s3-versions.ts";
import type { CallOptions } from "./store.ts";

/** @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openS3Backend(place: RemotePlace): Backend {
  const service = openS3Service(place);
  const backend = new S3Backend(service, place.settings.retention);
  const { atMs } = place.settings;
  if (atMs === undefined) return backend;
  return new Past(new S3Versions(service, async (key, options) => await backend.get(key, options)), atMs);
}

class S3Backend implements Backend {
  readonly location: string;
  readonly retention: S3Retention | undefined;
  readonly #service: S3Service;

  constructor(service: S3Service, policy: RetentionPolicy | undefined) {
    this.location = service.location;
    this.#service = service;
    this.retention = policy === undefined ? undefined : new S3Retention(service, policy);
  }

  async create({ signal }: CallOptions): Promise<void> {
    const Bucket = this.#service.place.bucket;
    const what = `cannot use the bucket '${Bucket}'`;
    try {
      await this.#service.ask(
        what,
        signal,
        async (client, http) => await client.send(new HeadBucketCommand({ Bucket }), http),
      );
      return;
    } catch (error) {
      // Who may not look at the bucket may still be allowed to write there: what follows will tell.
      if (isFailure(error, "store/denied") && statusOf(error.cause) === 403) return;
      if (!isFailure(error, "store/not-found")) throw error;
    }
    await this.#service.ask(`cannot make the bucket '${Bucket}'`, signal, async (client, http) => {
      const LocationConstraint = this.#service.regionForNew as never;
      const command = new CreateBucketCommand({
        Bucket,
        ...(this.#service.regionForNew === undefined ? {} : { CreateBucketConfiguration: { LocationConstraint } }),
      });
      await client.send(command, http).catch((error: unknown) => {
        if (factsOf(error).code !== "BucketAlreadyOwnedByYou") throw error;
      });
    });
  }

  async put(key: string, bytes: Buffer, { signal, mustBeNew }: CallOptions & { mustBeNew: boolean }): Promise<void> {
    const ContentMD5 = createHash("md5").update(bytes).digest("base64");
    const send = async (onlyNew: boolean) => {
      const command = new PutObjectCommand({
        ...this.#service.object(key),
        Body: bytes,
        ContentLength: bytes.length,
        ContentMD5,
        ContentType: "application/octet-stream",
        ...lockOf(key, this.retention?.policy, systemClock.now()),
        ...(onlyNew ? { IfNoneMatch: "*" } : {}),
      });
      await this.#service.ask(
        `cannot write '${key}'`,
        signal,
        async (client, http) => await client.send(command, http),
      );
    };
    try {
      await send(mustBeNew);
    } catch (error) {
      const status = mustBeNew && isFailure(error) ? statusOf(error.cause) : undefined;
      if (status === 412) return;
      // A service that does not know the condition: the caller has asked before whether the name is free.
      if (status !== 501) throw error;
      await send(false);
    }
  }

  async get(
    key: string,
    {
      offset,
      length,
      signal,
      versionId,
    }: CallOptions & { offset: number; length: number | undefined; versionId?: string },
  ): Promise<Buffer> {
    if (length === 0) return await this.#nothingAt(key, offset, signal);
    const end = length === undefined ? "" : offset + length - 1;
    const isPart = offset > 0 || length !== undefined;
    const command = new GetObjectCommand({
      ...this.#service.object(key),
      ...(versionId === undefined ? {} : { VersionId: versionId }),
      ...(isPart ? { Range: `bytes=${offset}-${end}` } : {}),
    });
    const read: S3Call<Buffer> = async (client, http) => {
      const output = await client.send(command, http);
      const bytes = await readBody(output, signal);
      // A service that ignores the range sends all of it, and some send more than was asked for.
      const start = isPart && output.$metadata.httpStatusCode !== 206 ? offset : 0;
      return bytes.subarray(start, length === undefined ? undefined : start + length);
    };
    let bytes: Buffer;
    try {
      bytes = await this.#service.ask(`cannot read '${key}'`, signal, read);
    } catch (error) {
      if (!isFailure(error) || statusOf(error.cause) !== 416) throw error;
      if (length === undefined) return await this.#nothingAt(key, offset, signal);
      throw tooShort(key, error);
    }
    if (length !== undefined && bytes.length < length) throw tooShort(key);
    return bytes;
  }

  /** No service gives a part without bytes: what matters is whether the object reaches that far. */
  async #nothingAt(key: string, offset: number, signal: AbortSignal): Promise<Buffer> {
    const found = await this.stat(key, { signal });
    if (found === undefined) throw new Failure("store/not-found", `'${key}' is not there`);
    if (found.sizeBytes < offset) throw tooShort(key);
    return Buffer.alloc(0);
  }

  async stat(key: string, { signal }: CallOptions): Promise<{ sizeBytes: number } | undefined> {
    const command = new HeadObjectCommand(this.#service.object(key));
    try {
      const found = await this.#service.ask(
        `cannot look for '${key}'`,
        signal,
        async (client, http) => await client.send(command, http),
      );
      return { sizeBytes: found.ContentLength ?? 0 };
    } catch (error) {
      if (isFailure(error, "store/not-found")) return undefined;
      if (!isFailure(error, "store/denied") || !isWordless(factsOf(error.cause).code)) throw error;
      if (!(error.cause instanceof Error)) throw error;
      // The answer to HEAD has no room for a reason: a question that has one is asked.
      await this.#page(this.#service.key(key), { MaxKeys: 1 }, signal);
      throw error;
    }
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const from = `${this.#service.key(folder)}/`;
    const root = from.length - folder.length - 1;
    let after: PageStart | undefined = {};
    let isFirst = true;
    while (after !== undefined) {
      const page: ListObjectsV2CommandOutput | undefined = await this.#page(from, after, signal).catch(
        (error: unknown) => {
          // A place that is not made yet; a list that began is never taken for whole where it breaks off.
          if (isFailure(error, "store/not-found") && isFirst) return undefined;
          throw error;
        },
      );
      const objects = page?.Contents ?? [];
      for (const { Key, Size, LastModified } of objects) {
        if (Key?.startsWith(from) !== true) continue;
        yield { key: Key.slice(root), sizeBytes: Size ?? 0, writtenAtMs: LastModified?.getTime() };
      }
      after = page?.IsTruncated === true ? nextPage(page) : undefined;
      isFirst = false;
    }
  }

  async #page(Prefix: string, start: PageStart, signal: AbortSignal): Promise<ListObjectsV2CommandOutput> {
    const command = new ListObjectsV2Command({ Bucket: this.#service.place.bucket, Prefix, ...start });
    return await this.#service.ask(
      "cannot list files",
      signal,
      async (client, http) => await client.send(command, http),
    );
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    const command = new DeleteObjectCommand(this.#service.object(key));
    try {
      await this.#service.ask(
        `cannot remove '${key}'`,
        signal,
        async (client, http) => await client.send(command, http),
      );
    } catch (error) {
      if (!isFailure(error, "store/not-found")) throw error;
    }
  }

  async removeLeftovers(): Promise<number> {
    // Nothing is uploaded in parts, so nothing can be left unfinished.
    return 0;
  }

  async time({ signal }: CallOptions): Promise<number | undefined> {
    const command = new HeadObjectCommand(this.#service.object("config"));
    let date = "";
    command.middlewareStack.add(
      (next) => async (given) => {
        const answer = await next(given);
        date = (answer.response as { headers?: Record<string, string> }).headers?.["date"] ?? "";
        return answer;
      },
      { step: "deserialize", priority: "low" },
    );
    await this.#service.ask(
      "cannot ask for the time",
      signal,
      async (client, http) => await client.send(command, http),
    );
    return parseHttpDate(date);
  }

  async publicAccess(options: CallOptions): Promise<PublicAccess> {
    const service = this.#service.unsigned();
    try {
      return await publicAccessOf(this, new S3Backend(service, undefined), options);
    } finally {
      service.close();
    }
  }

  async close(): Promise<void> {
    this.#service.close();
  }
}

/** Where a page of a listing begins. */
interface PageStart {
  readonly ContinuationToken?: string;
  readonly StartAfter?: string;
  readonly MaxKeys?: number;
}

/** By the service's token, or after the last name where a service gives none. */
function nextPage({ NextContinuationToken, Contents }: ListObjectsV2CommandOutput): PageStart {
  if (NextContinuationToken !== undefined) return { ContinuationToken: NextContinuationToken };
  const last = Contents?.at(-1)?.Key;
  if (last !== undefined) return { StartAfter: last };
  throw new Failure("store/unreachable", "the service says that a list goes on, and not where", {
    hint: "Is this an S3 service, and nothing between that changes its answers?",
  });
}

function statusOf(error: unknown): number | undefined {
  return factsOf(error).status;
}

function tooShort(key: string, cause?: unknown): Failure {
  return new Failure("store/not-found", `'${key}' is shorter than it should be`, { cause });
}

/** The bytes of an answer, all of them: a connection that ends early is an error. */
async function readBody({ Body, ContentLength }: GetObjectCommandOutput, signal: AbortSignal): Promise<Buffer> {
  if (!(Body instanceof Readable)) return Buffer.alloc(0);
  addAbortSignal(signal, Body);
  if (ContentLength === undefined) return Buffer.concat(await Array.fromAsync(Body as AsyncIterable<Buffer>));
  const bytes = Buffer.allocUnsafe(ContentLength);
  let filled = 0;
  for await (const piece of Body as AsyncIterable<Buffer>) {
    piece.copy(bytes, filled);
    filled += piece.length;
  }
  if (filled === ContentLength) return bytes;
  throw new Failure("store/unreachable", `the answer broke off after ${filled} of ${ContentLength} bytes`, {
    hint: "Try again; if it stays so, look at the network and at what lies between.",
  });
}
