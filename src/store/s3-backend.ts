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
  GetBucketLocationCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { Failure, isFailure } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { Backend, ListedKey } from "./backend.ts";
import { readAuthorities } from "./certificates.ts";
import type { RemotePlace } from "./open-store.ts";
import { explainS3, factsOf, isWordless, mayBeOtherRegion } from "./s3-errors.ts";
import { endpointOf, parseS3Location, type S3Location } from "./s3-location.ts";
import type { CallOptions } from "./store.ts";

/** Amazon's oldest region, and what services that have none answer to. */
const ANY_REGION = "us-east-1";

type Environment = RemotePlace["env"];
type Call<T> = (client: S3Client, http: { abortSignal: AbortSignal }) => Promise<T>;

/** @throws Failure `usage/invalid` for a location or credentials that cannot be used. */
export function openS3Backend(place: RemotePlace): Backend {
  const location = parseS3Location(place.location, place.env);
  const credentials = credentialsOf(place.env);
  const authorities = readAuthorities(place.env, ["RESTIC_CACERT", "AWS_CA_BUNDLE"]);
  const maxSockets = place.settings.connections ?? LIMITS.storeConnections;
  const agent = { keepAlive: true, maxSockets };
  return new S3Backend(
    location,
    (region) =>
      new S3Client({
        region,
        endpoint: endpointOf(location, region),
        forcePathStyle: location.isPathStyle,
        ...(credentials === undefined ? {} : { credentials }),
        ...chainOf(place.env),
        // Retries are made around the store, for every kind of place alike.
        maxAttempts: 1,
        // Many compatible services know no CRC headers; the MD5 of `put` does the same.
        requestChecksumCalculation: "WHEN_REQUIRED",
        responseChecksumValidation: "WHEN_REQUIRED",
        expectContinueHeader: false,
        useDualstackEndpoint: false,
        useFipsEndpoint: false,
        requestHandler: {
          connectionTimeout: LIMITS.storeConnectMs,
          socketTimeout: LIMITS.storeSilenceMs,
          httpAgent: agent,
          httpsAgent: authorities === undefined ? agent : { ...agent, ca: authorities },
          // It would print about calls that wait for a connection, which is what `connections` is for.
          logger: SILENT,
        },
      }),
  );
}

/** The SDK's chain reads this process's environment; what a repository's own environment names goes before it. */
function chainOf(env: Environment): Readonly<Record<string, string>> {
  const names = { profile: "AWS_PROFILE", filepath: "AWS_SHARED_CREDENTIALS_FILE", configFilepath: "AWS_CONFIG_FILE" };
  const entries = Object.entries(names).map(([option, name]) => [option, env[name] ?? ""] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== ""));
}

const ignore = (): void => {};
const SILENT = { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Keys given outright, as restic's client looks for them; undefined leaves it to the SDK's own chain. */
function credentialsOf(env: Environment) {
  if ((env["RESTIC_AWS_ASSUME_ROLE_ARN"] ?? "") !== "") {
    throw new Failure("usage/invalid", "RESTIC_AWS_ASSUME_ROLE_ARN is restic's own way to take a role", {
      hint: "Write the role into a profile (role_arn, source_profile) of ~/.aws/config and name it in AWS_PROFILE.",
    });
  }
  const first = (...names: string[]) => names.map((name) => env[name] ?? "").find((value) => value !== "");
  const accessKeyId = first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "MINIO_ACCESS_KEY");
  const secretAccessKey = first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "MINIO_SECRET_KEY");
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const missing = accessKeyId === undefined ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY";
    throw new Failure("usage/invalid", `one half of the S3 credentials is missing: ${missing} is not set`, {
      hint: "Set both, or neither and AWS_PROFILE.",
    });
  }
  const sessionToken = first("AWS_SESSION_TOKEN");
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
}

class S3Backend implements Backend {
  readonly location: string;
  readonly #place: S3Location;
  readonly #connect: (region: string) => S3Client;
  readonly #clients = new Map<string, S3Client>();
  #region: string;
  #finding: Promise<string | undefined> | undefined;

  constructor(place: S3Location, connect: (region: string) => S3Client) {
    this.location = place.shown;
    this.#place = place;
    this.#connect = connect;
    this.#region = place.region ?? ANY_REGION;
  }

  async create({ signal }: CallOptions): Promise<void> {
    const Bucket = this.#place.bucket;
    const what = `cannot use the bucket '${Bucket}'`;
    try {
      await this.#ask(what, signal, async (client, http) => await client.send(new HeadBucketCommand({ Bucket }), http));
      return;
    } catch (error) {
      // Who may not look at the bucket may still be allowed to write there: what follows will tell.
      if (isFailure(error, "store/denied") && statusOf(error.cause) === 403) return;
      if (!isFailure(error, "store/not-found")) throw error;
    }
    const isElsewhere = this.#place.isAmazon && this.#region !== ANY_REGION;
    await this.#ask(`cannot make the bucket '${Bucket}'`, signal, async (client, http) => {
      const LocationConstraint = this.#region as never;
      const command = new CreateBucketCommand({
        Bucket,
        ...(isElsewhere ? { CreateBucketConfiguration: { LocationConstraint } } : {}),
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
        ...this.#object(key),
        Body: bytes,
        ContentLength: bytes.length,
        ContentMD5,
        ContentType: "application/octet-stream",
        ...(onlyNew ? { IfNoneMatch: "*" } : {}),
      });
      await this.#ask(`cannot write '${key}'`, signal, async (client, http) => await client.send(command, http));
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
    { offset, length, signal }: CallOptions & { offset: number; length: number | undefined },
  ): Promise<Buffer> {
    if (length === 0) return await this.#nothingAt(key, offset, signal);
    const end = length === undefined ? "" : offset + length - 1;
    const isPart = offset > 0 || length !== undefined;
    const command = new GetObjectCommand({
      ...this.#object(key),
      ...(isPart ? { Range: `bytes=${offset}-${end}` } : {}),
    });
    const read: Call<Buffer> = async (client, http) => {
      const output = await client.send(command, http);
      const bytes = await readBody(output, signal);
      // A service that ignores the range sends all of it, and some send more than was asked for.
      const start = isPart && output.$metadata.httpStatusCode !== 206 ? offset : 0;
      return bytes.subarray(start, length === undefined ? undefined : start + length);
    };
    let bytes: Buffer;
    try {
      bytes = await this.#ask(`cannot read '${key}'`, signal, read);
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
    const command = new HeadObjectCommand(this.#object(key));
    try {
      const found = await this.#ask(
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
      await this.#page(this.#key(key), { MaxKeys: 1 }, signal);
      throw error;
    }
  }

  async *list(folder: string, { signal }: CallOptions): AsyncGenerator<ListedKey> {
    const from = `${this.#key(folder)}/`;
    const root = from.length - folder.length - 1;
    let after: PageStart | undefined = {};
    while (after !== undefined) {
      const page: ListObjectsV2CommandOutput | undefined = await this.#page(from, after, signal).catch(
        (error: unknown) => {
          if (isFailure(error, "store/not-found")) return undefined;
          throw error;
        },
      );
      const objects = page?.Contents ?? [];
      for (const { Key, Size } of objects) {
        if (Key?.startsWith(from) === true) yield { key: Key.slice(root), sizeBytes: Size ?? 0 };
      }
      after = page?.IsTruncated === true ? nextPage(page) : undefined;
    }
  }

  async #page(Prefix: string, start: PageStart, signal: AbortSignal): Promise<ListObjectsV2CommandOutput> {
    const command = new ListObjectsV2Command({ Bucket: this.#place.bucket, Prefix, ...start });
    return await this.#ask("cannot list files", signal, async (client, http) => await client.send(command, http));
  }

  async remove(key: string, { signal }: CallOptions): Promise<void> {
    const command = new DeleteObjectCommand(this.#object(key));
    try {
      await this.#ask(`cannot remove '${key}'`, signal, async (client, http) => await client.send(command, http));
    } catch (error) {
      if (!isFailure(error, "store/not-found")) throw error;
    }
  }

  async removeLeftovers(): Promise<number> {
    // Nothing is uploaded in parts, so nothing can be left unfinished.
    return 0;
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) client.destroy();
    this.#clients.clear();
  }

  #key(key: string): string {
    return this.#place.prefix === "" ? key : `${this.#place.prefix}/${key}`;
  }

  #object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#place.bucket, Key: this.#key(key) };
  }

  #client(region: string): S3Client {
    let client = this.#clients.get(region);
    if (client === undefined) {
      client = this.#connect(region);
      this.#clients.set(region, client);
    }
    return client;
  }

  /** Calls the service; once more where the bucket lies in another region than the one that was asked. */
  async #ask<T>(what: string, signal: AbortSignal, call: Call<T>): Promise<T> {
    signal.throwIfAborted();
    const region = this.#region;
    try {
      return await call(this.#client(region), { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      const other = await this.#otherRegion(error, region, signal);
      if (other === undefined) throw explainS3(error, this.location, what);
      this.#region = other;
    }
    try {
      return await call(this.#client(this.#region), { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw explainS3(error, this.location, what);
    }
  }

  async #otherRegion(error: unknown, tried: string, signal: AbortSignal): Promise<string | undefined> {
    const facts = factsOf(error);
    if (!mayBeOtherRegion(facts)) return undefined;
    if (this.#region !== tried) return this.#region;
    this.#finding ??= facts.region === undefined ? this.#findRegion(signal) : Promise.resolve(facts.region);
    const found = await this.#finding;
    return found === tried ? undefined : found;
  }

  /** Undefined where the service does not say. */
  async #findRegion(signal: AbortSignal): Promise<string | undefined> {
    const command = new GetBucketLocationCommand({ Bucket: this.#place.bucket });
    try {
      const { LocationConstraint } = await this.#client(ANY_REGION).send(command, { abortSignal: signal });
      // The two answers that Amazon gives for its oldest regions.
      if (LocationConstraint === undefined) return ANY_REGION;
      return LocationConstraint === "EU" ? "eu-west-1" : LocationConstraint;
    } catch (error) {
      return factsOf(error).region;
    }
  }
}

/** Where a page of a listing begins. */
interface PageStart {
  readonly ContinuationToken?: string;
  readonly StartAfter?: string;
  readonly MaxKeys?: number;
}

/** By the service's token, or after the last name where a service gives none. */
function nextPage({ NextContinuationToken, Contents }: ListObjectsV2CommandOutput): PageStart | undefined {
  if (NextContinuationToken !== undefined) return { ContinuationToken: NextContinuationToken };
  const last = Contents?.at(-1)?.Key;
  return last === undefined ? undefined : { StartAfter: last };
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
