/**
 * Keeps the files of an immutable repository locked for as long as they are used: every file that the index names, the
 * index itself, snapshots, keys and config. What no index names any more is left to its time, and so are copies that
 * somebody wrote over: only what a name stands for now is extended.
 */
import { type Clock, formatInstant } from "../base/clock.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { parsePackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import type { Repository } from "../repo/repository.ts";
import { extended as extendedTo, type Retained } from "../store/retention.ts";
import type { FileRef } from "../store/store.ts";
import type { RetentionOutcome } from "./summaries.ts";

export interface RetentionOptions {
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** @throws Failure `usage/invalid` when the repository is to be immutable and its place cannot do that. */
export async function assertRetention({ store }: Repository, { signal }: { signal: AbortSignal }): Promise<void> {
  await store.retention?.check({ signal });
}

/**
 * Extends what ends within half the time. Undefined for a repository that is not to be immutable.
 * @throws Failure of the store: then some files may be extended, and the next call does the others.
 */
export async function extendRetention(
  repository: Repository,
  { clock, progress, signal }: RetentionOptions,
): Promise<RetentionOutcome | undefined> {
  const { retention } = repository.store;
  if (retention === undefined) return undefined;
  progress.stage("keeping files locked", { unit: "files" });
  const nowMs = clock.now();
  let [files, extended, untilMs] = [0, 0, Number.POSITIVE_INFINITY];
  await mapConcurrent(
    filesInUse(repository, signal),
    LIMITS.retentionCalls,
    async ({ ref, retained }) => {
      try {
        const isEnough = retained !== undefined && extendedTo(retained, retention.policy, nowMs) === undefined;
        const kept = isEnough
          ? { untilMs: retained.untilMs, wasExtended: false }
          : await retention.keep(ref, { nowMs, signal });
        files += 1;
        if (kept.wasExtended) extended += 1;
        untilMs = Math.min(untilMs, kept.untilMs);
      } catch (error) {
        // What is gone is told by whoever needs it.
        if (!isFailure(error, "store/not-found")) throw error;
      }
      progress.advance(1);
    },
    { signal },
  );
  return { files, extended, until: files === 0 ? null : formatInstant(untilMs) };
}

interface FileInUse {
  readonly ref: FileRef;
  /** Where a listing told. */
  readonly retained?: Retained | undefined;
}

async function* filesInUse(repository: Repository, signal: AbortSignal): AsyncGenerator<FileInUse> {
  const { store } = repository;
  yield { ref: { kind: "config", name: "" } };
  for (const kind of ["keys", "snapshots", "index"] as const) {
    for await (const { name, retained } of store.list(kind, { signal })) yield { ref: { kind, name }, retained };
  }
  const index = await repository.loadIndex({ signal });
  if (store.retention?.isListed !== true) {
    for (const { id } of index.packSizes()) yield { ref: { kind: "data", name: id } };
    return;
  }
  for await (const { name, retained } of store.list("data", { signal })) {
    if (index.hasPack(parsePackId(name))) yield { ref: { kind: "data", name }, retained };
  }
}

/** For a run that made its points and could not keep the older files locked. */
export function retentionFinding(
  name: string,
  { message, hint }: { message: string; hint: string | undefined },
): Finding {
  return {
    kind: "retention-not-extended",
    level: "alarm",
    message: `the files of repository '${name}' could not be kept locked: ${message}`,
    hint: `${hint ?? "See what the place says."} The restore point was made; the next backup tries again.`,
  };
}
