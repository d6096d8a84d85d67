/**
 * Azure's immutability policies for single versions of blobs, for the files of a repository. They are set locked: a policy
 * that is not locked can be shortened and taken away with the very right that it takes to extend it, which the machine that
 * backs up has. A locked one can only be extended, by anybody.
 */
import type { BlobGetPropertiesResponse, BlobImmutabilityPolicy } from "@azure/storage-blob";
import { dateOf, systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { AzureService } from "./azure-service.ts";
import { extended, isKept, type Retained, type Retention, type RetentionPolicy } from "./retention.ts";
import type { CallOptions } from "./store.ts";

/** What a file is written with. */
export function policyOf(
  key: string,
  policy: RetentionPolicy | undefined,
  nowMs: number,
): { readonly immutabilityPolicy?: BlobImmutabilityPolicy } {
  if (policy === undefined || !isKept(key)) return {};
  return { immutabilityPolicy: { expiriesOn: dateOf(nowMs + policy.forMs), policyMode: "Locked" } };
}

type Policy = Pick<BlobGetPropertiesResponse, "immutabilityPolicyExpiresOn" | "immutabilityPolicyMode">;

/** By a policy that nobody can lift. Azure writes its mode with a small letter at some places. */
export function retainedOf(policy: Policy): Retained | undefined {
  const isLocked = policy.immutabilityPolicyMode?.toLowerCase() === "locked";
  return isLocked ? { untilMs: endOf(policy), mode: "compliance" } : undefined;
}

/** 0 for none. */
function endOf({ immutabilityPolicyExpiresOn }: Policy): number {
  const endMs = immutabilityPolicyExpiresOn?.getTime() ?? 0;
  return Number.isNaN(endMs) ? 0 : endMs;
}

export class AzureRetention implements Retention<string> {
  readonly policy: RetentionPolicy;
  readonly isListed = true;
  readonly #service: AzureService;

  constructor(service: AzureService, policy: RetentionPolicy) {
    this.#service = service;
    this.policy = policy;
  }

  async check({ signal }: CallOptions): Promise<void> {
    const what = "cannot ask whether the container has version-level immutability";
    try {
      const found = await this.#service.ask(
        what,
        signal,
        async (abortSignal) => await this.#service.container.getProperties({ abortSignal }),
      );
      if (found.isImmutableStorageWithVersioningEnabled === true) return;
    } catch (error) {
      // An SAS for the container alone may not ask, and may still lock what is written: the first file will tell.
      if (!isFailure(error, "store/denied")) throw error;
      return;
    }
    throw new Failure(
      "usage/invalid",
      `the repository is to be immutable, but the container of ${this.#service.location} has no version-level immutability`,
      {
        hint: "Switch it on for the container in the portal, or make one that has it and copy the repository into it, or take 'immutable' out of the configuration; docs/stores.md says more.",
      },
    );
  }

  async until(key: string, { signal }: CallOptions): Promise<number | undefined> {
    try {
      const untilMs = endOf(await this.#look(key, signal));
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
    // One that is not locked yet may be longer.
    const untilMs = Math.max(wanted.untilMs, endOf(found));
    const policy = { expiriesOn: dateOf(untilMs), policyMode: "Locked" } as const;
    await this.#service.ask(
      `cannot extend the retention of '${key}'`,
      signal,
      async (abortSignal) => await this.#service.blob(key).setImmutabilityPolicy(policy, { abortSignal }),
    );
    return { untilMs, wasExtended: true };
  }

  async #look(key: string, signal: AbortSignal): Promise<BlobGetPropertiesResponse> {
    return await this.#service.ask(
      `cannot look for the retention of '${key}'`,
      signal,
      async (abortSignal) => await this.#service.blob(key).getProperties({ abortSignal }),
    );
  }
}
