/**
 * Where Chatwoot's uploaded files lie: a folder, a bucket. A source is only read, and knows files by their keys.
 *
 * What goes wrong with one file is a `Failure` with the code `store/not-found` (there is none) or `source/unreadable`;
 * any other code concerns the whole service.
 */
import type { BucketFacts } from "./bucket-facts.ts";

export interface ReadOptions {
  readonly signal: AbortSignal;
}

export interface BlobSource {
  /** As `active_storage_blobs` calls it. */
  readonly service: string;
  /**
   * The file's bytes, each piece but the last of `LIMITS.chunkMaxBytes`; at least one piece, which may be empty. What
   * breaks off is gone on with where it was, and only while it is the same object.
   * @param options.expectedBytes What the database says, to choose how it is asked for.
   */
  read(key: string, options: ReadOptions & { readonly expectedBytes: number }): AsyncIterable<Buffer>;
  /** Undefined where there is no such file. Of several under that key, one of the expected length counts. */
  size(key: string, options: ReadOptions & { readonly expectedBytes: number }): Promise<number | undefined>;
  /** Asks for as little as shows that the service can be read. @throws Failure why it cannot. */
  probe(options: ReadOptions): Promise<void>;
  /** What a bucket says of itself; undefined for a folder. @param sample A key that most likely is there. */
  facts(options: ReadOptions & { readonly sample: string | undefined }): Promise<BucketFacts | undefined>;
  /** What went wrong with the whole service, if something has: from then on everything fails with it. */
  readonly outage: { readonly message: string; readonly hint: string } | undefined;
  /** Lets go of connections. Never rejects. */
  close(): Promise<void>;
}

/** The way to a service, as plain data: it can be sent to a thread. It holds credentials, so it is never printed. */
export type SourceSpec = LocalSpec | S3Spec | GcsSpec | AzureSpec;

export interface LocalSpec {
  readonly kind: "local";
  readonly service: string;
  /** A file is in one of them. */
  readonly roots: readonly [string, ...string[]];
}

/** Variables of Chatwoot's environment, for hints. */
export interface VariableNames {
  readonly credentials: string;
  readonly bucket: string;
  readonly address: string;
}

interface BucketSpec {
  readonly service: string;
  readonly bucket: string;
  readonly names: VariableNames;
  /** At most so many bytes a second, of all threads together. */
  readonly limit?: DownloadLimit;
}

export interface DownloadLimit {
  readonly bytesASecond: number;
  /** Where all threads that read the bucket keep account. */
  readonly account: SharedArrayBuffer;
}

export interface S3Spec extends BucketSpec {
  readonly kind: "s3";
  readonly scheme: "http" | "https";
  /** With its port, where there is one. */
  readonly host: string;
  /** '/' and what follows the host, or nothing. */
  readonly basePath: string;
  readonly isAmazon: boolean;
  readonly isPathStyle: boolean;
  readonly region: string | undefined;
  /** Undefined: the SDK's own chain, for the role of this machine. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
}

export interface GcsSpec extends BucketSpec {
  readonly kind: "gcs";
  /** A service account's key, as JSON; undefined: where Google's own tools look. */
  readonly key: string | undefined;
  readonly projectId: string | undefined;
  /** The address of an emulator, which wants no credentials. */
  readonly emulator: string | undefined;
}

export interface AzureSpec extends BucketSpec {
  readonly kind: "azure";
  readonly account: string;
  readonly key: string;
  /** The account's address, where it is not Azure's usual one. */
  readonly endpoint: string | undefined;
}

/** What a kind of bucket can do, each call tried once. */
export interface ObjectPlace {
  /**
   * Up to `length` bytes from `offset`.
   * @param options.version Of the parts before: another object under that key is `changed`.
   * @throws Failure `source/unreadable` for what concerns this file alone.
   */
  part(
    key: string,
    options: ReadOptions & { offset: number; length: number; version: string | undefined },
  ): Promise<ObjectPart | "missing" | "changed">;
  size(key: string, options: ReadOptions): Promise<number | undefined>;
  probe(options: ReadOptions): Promise<void>;
  facts(options: ReadOptions & { sample: string | undefined }): Promise<BucketFacts>;
  close(): void;
}

export interface ObjectPart {
  readonly bytes: Buffer;
  /** Names this very object. */
  readonly version: string | undefined;
  /** Of the whole object. */
  readonly totalBytes: number;
}
