/** The versions that a bucket keeps. */
import {
  GetBucketVersioningCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  type ObjectVersion,
} from "@aws-sdk/client-s3";
import { Failure, isFailure } from "../base/errors.ts";
import type { KeyVersion, VersionedPlace } from "./past.ts";
import type { S3Service } from "./s3-service.ts";
import type { CallOptions } from "./store.ts";

export class S3Versions implements VersionedPlace {
  readonly location: string;
  readonly getVersion: VersionedPlace["getVersion"];
  readonly #service: S3Service;

  /** @param getVersion Of the same service. */
  constructor(service: S3Service, getVersion: VersionedPlace["getVersion"]) {
    this.location = service.location;
    this.#service = service;
    this.getVersion = getVersion;
  }

  async *versions(
    prefix: string,
    { signal }: CallOptions,
  ): AsyncGenerator<{ readonly key: string; readonly version: KeyVersion }> {
    const from = this.#service.key(prefix);
    const root = this.#service.key("").length;
    for await (const page of this.#pages(from, signal)) {
      for (const one of page.Versions ?? []) {
        if (one.Key?.startsWith(from) === true)
          yield { key: one.Key.slice(root), version: toVersion(one, one.Size ?? 0) };
      }
      for (const one of page.DeleteMarkers ?? []) {
        if (one.Key?.startsWith(from) === true) yield { key: one.Key.slice(root), version: toVersion(one, undefined) };
      }
    }
  }

  async *#pages(Prefix: string, signal: AbortSignal): AsyncGenerator<ListObjectVersionsCommandOutput> {
    let isFirst = true;
    let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
    while (marker !== undefined) {
      const command = new ListObjectVersionsCommand({ Bucket: this.#service.place.bucket, Prefix, ...marker });
      const asked: Promise<ListObjectVersionsCommandOutput> = this.#service.ask(
        "cannot list versions of files",
        signal,
        async (client, http) => await client.send(command, http),
      );
      const page: ListObjectVersionsCommandOutput | undefined = await asked.catch((error: unknown) => {
        if (isFailure(error, "store/not-found") && isFirst) return undefined;
        throw error;
      });
      if (page === undefined) return;
      yield page;
      isFirst = false;
      const { IsTruncated, NextKeyMarker, NextVersionIdMarker } = page;
      if (IsTruncated !== true) return;
      if (NextKeyMarker === undefined) {
        throw new Failure("store/unreachable", "the service says that a list of versions goes on, and not where", {
          hint: "Is this an S3 service, and nothing between that changes its answers?",
        });
      }
      marker = {
        KeyMarker: NextKeyMarker,
        ...(NextVersionIdMarker === undefined ? {} : { VersionIdMarker: NextVersionIdMarker }),
      };
    }
  }

  async assertVersions({ signal }: CallOptions): Promise<void> {
    const command = new GetBucketVersioningCommand({ Bucket: this.#service.place.bucket });
    let status: string | undefined;
    try {
      const ask = "cannot ask whether the bucket keeps versions";
      ({ Status: status } = await this.#service.ask(
        ask,
        signal,
        async (client, http) => await client.send(command, http),
      ));
    } catch (error) {
      // Who may not ask may still list: then what is listed counts. Of a bucket that is not there, nothing is.
      if (isFailure(error, "store/denied") || isFailure(error, "store/not-found")) return;
      throw error;
    }
    if (status !== undefined) return;
    throw new Failure("usage/invalid", `the bucket of ${this.location} keeps no versions, so it has no past`, {
      hint: "Leave out --at-time; switch versioning on, and it can be used for what is written from then on.",
    });
  }

  async close(): Promise<void> {
    this.#service.close();
  }
}

function toVersion(
  { VersionId, LastModified, IsLatest }: Pick<ObjectVersion, "VersionId" | "LastModified" | "IsLatest">,
  sizeBytes: number | undefined,
): KeyVersion {
  return {
    id: VersionId ?? "null",
    atMs: LastModified?.getTime() ?? Number.POSITIVE_INFINITY,
    sizeBytes,
    isLatest: IsLatest === true,
  };
}
