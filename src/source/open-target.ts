/** From the way to a storage service to where its files are put. Each kind loads its SDK when it is used. */
import { type Clock, systemClock } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { Retry } from "../store/retrying.ts";
import { openLocalTarget } from "./local-target.ts";
import { openSource } from "./open-source.ts";
import { PatientTarget } from "./patient-target.ts";
import type { SourceSpec } from "./source.ts";
import type { BlobTarget, ObjectSink } from "./target.ts";

export interface OpenTargetOptions {
  readonly clock?: Clock;
  /** Requests under way at once. */
  readonly connections?: number;
  /** Told of each wait for a service that does not answer. */
  readonly onRetry?: ((retry: Retry) => void) | undefined;
  /** How long a call to a bucket that has answered is tried again. Default: as any remote place. */
  readonly patienceMs?: number | undefined;
  /** Folders whose owner and mode files get where the storage's own folder is not there: the first that is. */
  readonly like?: readonly string[];
}

/** Nothing is asked yet. @throws Failure `usage/invalid` for a way that leads nowhere. */
export async function openTarget(spec: SourceSpec, options: OpenTargetOptions = {}): Promise<BlobTarget> {
  if (spec.kind === "local") return openLocalTarget(spec, { like: options.like ?? [] });
  const { clock = systemClock, connections = LIMITS.objectsInFlight, onRetry, patienceMs } = options;
  const sink = await openSink(spec, connections);
  const source = await openSource(spec, { clock, connections, ...(onRetry === undefined ? {} : { onRetry }) });
  const { service, bucket, names } = spec;
  return new PatientTarget(sink, { service, bucket, names, clock, connections, onRetry, patienceMs, source });
}

async function openSink(spec: Exclude<SourceSpec, { kind: "local" }>, connections: number): Promise<ObjectSink> {
  switch (spec.kind) {
    case "s3":
      return (await import("./s3-target.ts")).openS3Sink(spec, { connections });
    case "gcs":
      return (await import("./gcs-target.ts")).openGcsSink(spec, { connections });
    case "azure":
      return (await import("./azure-target.ts")).openAzureSink(spec, { connections });
    default:
      throw spec satisfies never;
  }
}
