/**
 * The versions that a container keeps. Azure does not tell when a blob was deleted: what was there before it stays as an
 * earlier version. So what was deleted before a moment counts as there then, as long as its versions are kept.
 */
import type { BlobItem } from "@azure/storage-blob";
import { parseZonedInstant } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { AzureService } from "./azure-service.ts";
import { objectName } from "./bucket-location.ts";
import type { KeyVersion, VersionedPlace } from "./past.ts";
import type { CallOptions } from "./store.ts";

const ASKING = "cannot list versions of files";

export class AzureVersions implements VersionedPlace {
  readonly location: string;
  readonly getVersion: VersionedPlace["getVersion"];
  readonly #service: AzureService;

  /** @param getVersion Of the same service. */
  constructor(service: AzureService, getVersion: VersionedPlace["getVersion"]) {
    this.location = service.location;
    this.#service = service;
    this.getVersion = getVersion;
  }

  async *versions(
    prefix: string,
    { signal }: CallOptions,
  ): AsyncGenerator<{ readonly key: string; readonly version: KeyVersion }> {
    const root = objectName(this.#service.place, "").length;
    for await (const item of this.#items(prefix, signal)) {
      // What is deleted softly can be read only when it was brought back.
      if (item.deleted) continue;
      yield {
        key: item.name.slice(root),
        version: {
          id: item.versionId ?? "",
          atMs: timeOf(item),
          sizeBytes: item.properties.contentLength ?? 0,
          isLatest: item.isCurrentVersion ?? item.versionId === undefined,
        },
      };
    }
  }

  /** The account's settings are not for credentials of a container to see: but what was written with versioning has a version. */
  async assertVersions({ signal }: CallOptions): Promise<void> {
    let files = 0;
    for await (const { versionId } of this.#items("", signal)) {
      if (versionId !== undefined) return;
      files += 1;
    }
    if (files === 0) return;
    throw new Failure("usage/invalid", `the container of ${this.location} keeps no versions, so it has no past`, {
      hint: "Leave out --at-time; switch versioning on for the account, and it can be used for what is written from then on.",
    });
  }

  async *#items(prefix: string, signal: AbortSignal): AsyncGenerator<BlobItem> {
    const options = {
      prefix: objectName(this.#service.place, prefix),
      // Those of blobs that are deleted too.
      includeVersions: true,
      signal,
    };
    for await (const items of this.#service.pages(ASKING, options)) yield* items;
  }

  async close(): Promise<void> {
    this.#service.close();
  }
}

/** A version's name is the moment at which it was written, to 100 ns: those of one millisecond are kept apart. */
function timeOf({ versionId = "", properties }: Pick<BlobItem, "versionId" | "properties">): number {
  const [, seconds = "", fraction = ""] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z$/.exec(versionId) ?? [];
  const wholeMs = parseZonedInstant(`${seconds}Z`);
  return wholeMs === undefined ? properties.lastModified.getTime() : wholeMs + Number(`0${fraction}`) * 1000;
}
