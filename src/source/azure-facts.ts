/** What a container of Azure Blob Storage says of itself, and what strangers get. */
import { factsOf } from "../store/azure-errors.ts";
import type { AzureService } from "../store/azure-service.ts";
import { isFailure } from "../base/errors.ts";
import type { BucketFacts, Told } from "./bucket-facts.ts";

interface Options {
  readonly sample: string | undefined;
  readonly signal: AbortSignal;
}

/** Lifecycle rules and replication are told to Azure's management interface only, which takes other credentials. */
export async function readAzureFacts(service: AzureService, { sample, signal }: Options): Promise<BucketFacts> {
  const container = await service.ask(
    "cannot ask the container about itself",
    signal,
    async (abortSignal) => await service.container.getProperties({ abortSignal }),
  );
  return {
    region: undefined,
    versioning: await versioningOf(service, { sample, signal }),
    lock: container.isImmutableStorageWithVersioningEnabled === true || container.hasImmutabilityPolicy === true,
    expiring: undefined,
    archiving: undefined,
    ...(await publicOf(service, { sample, signal })),
    replication: undefined,
    softDeleteDays: await softDeleteOf(service, signal),
    rights: [],
  };
}

/** A blob that has the name of a version lies where versions are kept. */
async function versioningOf(service: AzureService, { sample, signal }: Options): Promise<Told<boolean>> {
  if (sample === undefined) return undefined;
  return await service.ask("cannot look for a version", signal, async (abortSignal) => {
    try {
      return (await service.blob(sample).getProperties({ abortSignal })).versionId !== undefined;
    } catch (error) {
      if (factsOf(error).status === 404) return undefined;
      throw error;
    }
  });
}

async function softDeleteOf(service: AzureService, signal: AbortSignal): Promise<Told<number>> {
  return await service.ask("cannot ask the account about itself", signal, async (abortSignal) => {
    try {
      const { deleteRetentionPolicy } = await service.client.getProperties({ abortSignal });
      return deleteRetentionPolicy?.enabled === true ? (deleteRetentionPolicy.days ?? 0) : 0;
    } catch (error) {
      // A key may; a signature for one container may not.
      if (factsOf(error).status === 403) return undefined;
      throw error;
    }
  });
}

async function publicOf(
  service: AzureService,
  { sample, signal }: Options,
): Promise<Pick<BucketFacts, "publicReads" | "publicLists">> {
  const stranger = service.anonymous();
  const isAnswered = async (call: (abortSignal: AbortSignal) => Promise<unknown>): Promise<boolean> => {
    try {
      await stranger.ask("cannot look", signal, call);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!isFailure(error)) throw error;
      return false;
    }
  };
  try {
    return {
      publicReads:
        sample === undefined
          ? undefined
          : await isAnswered(async (abortSignal) => await stranger.blob(sample).getProperties({ abortSignal })),
      publicLists: await isAnswered(async (abortSignal) => {
        return await stranger.container.listBlobsFlat({ abortSignal }).byPage({ maxPageSize: 1 }).next();
      }),
    };
  } finally {
    stranger.close();
  }
}
