/** Object lock, as S3 has it, for the files of a repository. */
import {
  GetObjectLockConfigurationCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  PutObjectRetentionCommand,
} from "@aws-sdk/client-s3";
import { dateOf, systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { extended, isKept, type Retained, type Retention, type RetentionPolicy } from "./retention.ts";
import { factsOf } from "./s3-errors.ts";
import type { S3Service } from "./s3-service.ts";
import type { CallOptions } from "./store.ts";

const MODES = { governance: "GOVERNANCE", compliance: "COMPLIANCE" } as const;

/** What a file is written with. */
export function lockOf(key: string, policy: RetentionPolicy | undefined, nowMs: number) {
  if (policy === undefined || !isKept(key)) return {};
  return { ObjectLockMode: MODES[policy.mode], ObjectLockRetainUntilDate: dateOf(nowMs + policy.forMs) };
}

export class S3Retention implements Retention<string> {
  readonly policy: RetentionPolicy;
  readonly isListed = false;
  readonly #service: S3Service;

  constructor(service: S3Service, policy: RetentionPolicy) {
    this.#service = service;
    this.policy = policy;
  }

  async check({ signal }: CallOptions): Promise<void> {
    const command = new GetObjectLockConfigurationCommand({ Bucket: this.#service.place.bucket });
    try {
      const what = "cannot ask whether the bucket has object lock";
      const found = await this.#service.ask(what, signal, async (client, http) => await client.send(command, http));
      if (found.ObjectLockConfiguration?.ObjectLockEnabled === "Enabled") return;
    } catch (error) {
      if (!isFailure(error)) throw error;
      const { status } = factsOf(error.cause);
      // Who may not ask may still lock what is written: the first file will tell.
      if (status === 403) return;
      if (!isFailure(error, "store/not-found") && status !== 400 && status !== 405 && status !== 501) throw error;
      if (factsOf(error.cause).code === "NoSuchBucket") throw error;
    }
    throw new Failure(
      "usage/invalid",
      `the repository is to be immutable, but the bucket of ${this.#service.location} has no object lock`,
      {
        hint: "Make a bucket with object lock and copy the repository into it, or take 'immutable' out of the configuration; docs/stores.md says more.",
      },
    );
  }

  async until(key: string, { signal }: CallOptions): Promise<number | undefined> {
    try {
      const untilMs = retainedOf(await this.#look(key, signal))?.untilMs ?? 0;
      return untilMs > systemClock.now() ? untilMs : undefined;
    } catch (error) {
      if (isFailure(error, "store/not-found")) return undefined;
      throw error;
    }
  }

  async keep(
    key: string,
    { signal, nowMs }: CallOptions & { nowMs: number },
  ): Promise<{ untilMs: number; wasExtended: boolean }> {
    const found = await this.#look(key, signal);
    const current = retainedOf(found);
    const wanted = extended(current, this.policy, nowMs);
    if (wanted === undefined) return { untilMs: current?.untilMs ?? nowMs, wasExtended: false };
    const command = new PutObjectRetentionCommand({
      ...this.#service.object(key),
      ...(found.VersionId === undefined ? {} : { VersionId: found.VersionId }),
      Retention: { Mode: MODES[wanted.mode], RetainUntilDate: dateOf(wanted.untilMs) },
    });
    const what = `cannot extend the retention of '${key}'`;
    await this.#service.ask(what, signal, async (client, http) => await client.send(command, http));
    return { untilMs: wanted.untilMs, wasExtended: true };
  }

  async #look(key: string, signal: AbortSignal): Promise<HeadObjectCommandOutput> {
    const command = new HeadObjectCommand(this.#service.object(key));
    const what = `cannot look for the retention of '${key}'`;
    return await this.#service.ask(what, signal, async (client, http) => await client.send(command, http));
  }
}

/** Undefined too where the credentials may not see it: then it is set anew. */
function retainedOf({
  ObjectLockMode,
  ObjectLockRetainUntilDate,
}: Pick<HeadObjectCommandOutput, "ObjectLockMode" | "ObjectLockRetainUntilDate">): Retained | undefined {
  if (ObjectLockRetainUntilDate === undefined) return undefined;
  const mode = ObjectLockMode === MODES.compliance ? "compliance" : "governance";
  return { untilMs: ObjectLockRetainUntilDate.getTime(), mode };
}
