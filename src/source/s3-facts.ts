/** What an S3 bucket says of itself: versions, locks, rules, copies, and what strangers get. */
import {
  GetBucketLifecycleConfigurationCommand,
  GetBucketReplicationCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  HeadObjectCommand,
  type LifecycleRule,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import { isFailure } from "../base/errors.ts";
import { plural } from "../base/bytes.ts";
import { factsOf } from "../store/s3-errors.ts";
import type { S3Call, S3Service } from "../store/s3-service.ts";
import type { BucketFacts, Told } from "./bucket-facts.ts";

interface Options {
  readonly sample: string | undefined;
  readonly signal: AbortSignal;
}

export async function readS3Facts(service: S3Service, { sample, signal }: Options): Promise<BucketFacts> {
  const Bucket = service.place.bucket;
  const asker = new Asker(service, signal);
  const versioning = await asker.ask(
    "s3:GetBucketVersioning",
    false,
    async (client, http) => (await client.send(new GetBucketVersioningCommand({ Bucket }), http)).Status === "Enabled",
  );
  const lock = await asker.ask("s3:GetBucketObjectLockConfiguration", false, async (client, http) => {
    const found = await client.send(new GetObjectLockConfigurationCommand({ Bucket }), http);
    return found.ObjectLockConfiguration?.ObjectLockEnabled === "Enabled";
  });
  const rules = await asker.ask<readonly LifecycleRule[]>("s3:GetLifecycleConfiguration", [], async (client, http) => {
    const found = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket }), http);
    return found.Rules?.filter((rule) => rule.Status === "Enabled" && isForFiles(rule)) ?? [];
  });
  const replication = await asker.ask("s3:GetReplicationConfiguration", false, async (client, http) => {
    const found = await client.send(new GetBucketReplicationCommand({ Bucket }), http);
    return found.ReplicationConfiguration?.Rules?.some(({ Status }) => Status === "Enabled") === true;
  });
  return {
    // What others call a region says nothing of where they are.
    region: service.place.isAmazon ? service.region : undefined,
    versioning,
    lock,
    expiring: Array.isArray(rules) ? rules.flatMap(expiryOf) : (rules as "unknown" | undefined),
    archiving: Array.isArray(rules) ? rules.flatMap(archivingOf) : (rules as "unknown" | undefined),
    replication,
    ...(await publicOf(service, { sample, signal })),
    softDeleteDays: undefined,
    rights: asker.rights,
  };
}

class Asker {
  readonly rights: string[] = [];
  readonly #service: S3Service;
  readonly #signal: AbortSignal;

  constructor(service: S3Service, signal: AbortSignal) {
    this.#service = service;
    this.#signal = signal;
  }

  /** @param none What it means that the bucket has no such thing. */
  async ask<T>(right: string, none: T, call: S3Call<T>): Promise<Told<T>> {
    try {
      return await this.#service.ask("cannot ask the bucket about itself", this.#signal, call);
    } catch (error) {
      if (!isFailure(error)) throw error;
      const { code, status } = factsOf(error.cause);
      if (status === 403) {
        this.rights.push(right);
        return "unknown";
      }
      if (status === 404 && code !== "NoSuchBucket") return none;
      // A compatible service that has no such thing.
      if (status === 400 || status === 405 || status === 501) return undefined;
      throw error;
    }
  }
}

function scopeOf({ Filter, Prefix }: LifecycleRule): string {
  const prefix = Filter?.Prefix ?? Filter?.And?.Prefix ?? Prefix ?? "";
  return prefix === "" ? "files" : `files that begin with '${prefix}'`;
}

/** Rules for tags, and for names that no key begins with, touch none of Active Storage's files: keys are base36. */
function isForFiles({ Filter, Prefix }: LifecycleRule): boolean {
  const prefix = Filter?.Prefix ?? Filter?.And?.Prefix ?? Prefix ?? "";
  const hasTags = Filter?.Tag !== undefined || (Filter?.And?.Tags?.length ?? 0) > 0;
  return !hasTags && /^[a-z0-9]*$/.test(prefix);
}

function expiryOf(rule: LifecycleRule): string[] {
  const { Days, Date: date } = rule.Expiration ?? {};
  if (Days !== undefined) return [`${scopeOf(rule)} are deleted after ${plural(Days, "day")}`];
  return date === undefined ? [] : [`${scopeOf(rule)} are deleted on ${date.toISOString().slice(0, 10)}`];
}

function archivingOf(rule: LifecycleRule): string[] {
  // The others can be read at once.
  const cold = rule.Transitions?.find(({ StorageClass }) => /^(GLACIER|DEEP_ARCHIVE)$/.test(StorageClass ?? ""));
  if (cold === undefined) return [];
  return [`${scopeOf(rule)} are moved to ${cold.StorageClass} after ${plural(cold.Days ?? 0, "day")}`];
}

/** Only what was really answered counts: a page of words from a proxy has another ETag. */
async function publicOf(
  service: S3Service,
  { sample, signal }: Options,
): Promise<Pick<BucketFacts, "publicReads" | "publicLists">> {
  const stranger = service.unsigned();
  const Bucket = service.place.bucket;
  const isAnswered = async (call: (asked: S3Service) => Promise<boolean>): Promise<boolean> => {
    try {
      return await call(stranger);
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error)) throw error;
      return false;
    }
  };
  const etagOf = async (asked: S3Service, key: string) =>
    await asked.ask("cannot look", signal, async (client, http) => {
      return (await client.send(new HeadObjectCommand(service.object(key)), http)).ETag;
    });
  try {
    return {
      publicReads:
        sample === undefined
          ? undefined
          : await isAnswered(async (asked) => {
              const given = await etagOf(asked, sample);
              return given !== undefined && given === (await etagOf(service, sample));
            }),
      publicLists: await isAnswered(async (asked) => {
        const found = await asked.ask("cannot list", signal, async (client, http) => {
          return await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 1 }), http);
        });
        return (found.Contents?.length ?? 0) > 0;
      }),
    };
  } finally {
    stranger.close();
  }
}
