/** From the way to a storage service to its files. Each kind loads its SDK when it is used. */
import { type Clock, systemClock } from "../base/clock.ts";
import { Line } from "../base/line.ts";
import { LIMITS } from "../base/limits.ts";
import type { Retry } from "../store/retrying.ts";
import { openLocalSource } from "./local-source.ts";
import { PatientSource } from "./patient-source.ts";
import type { BlobSource, ObjectPlace, SourceSpec } from "./source.ts";

export interface OpenSourceOptions {
  readonly clock?: Clock;
  /** Requests under way at once. */
  readonly connections?: number;
  /** Another thread has reached the service: it gets more patience than one that may be misspelt. */
  readonly wasReached?: boolean;
  /** Told of each wait for a service that does not answer. */
  readonly onRetry?: ((retry: Retry) => void) | undefined;
}

/** Nothing is asked yet. @throws Failure `usage/invalid` for a way that leads nowhere. */
export async function openSource(spec: SourceSpec, options: OpenSourceOptions = {}): Promise<BlobSource> {
  if (spec.kind === "local") return openLocalSource(spec);
  const { clock = systemClock, connections = LIMITS.objectsInFlight, wasReached = false, onRetry } = options;
  const place = await openPlace(spec, connections);
  const { service, names, limit } = spec;
  const line = limit === undefined ? undefined : new Line(limit.account, 0, limit.bytesASecond, clock);
  return new PatientSource(place, { service, names, clock, connections, wasReached, onRetry, line });
}

async function openPlace(spec: Exclude<SourceSpec, { kind: "local" }>, connections: number): Promise<ObjectPlace> {
  switch (spec.kind) {
    case "s3":
      return (await import("./s3-source.ts")).openS3Place(spec, { connections });
    case "gcs":
      return (await import("./gcs-source.ts")).openGcsPlace(spec, { connections });
    case "azure":
      return (await import("./azure-source.ts")).openAzurePlace(spec, { connections });
    default:
      throw spec satisfies never;
  }
}
