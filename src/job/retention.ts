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
import { extended as extendedTo, type Retention } from "../store/retention.ts";
import type { FileRef, ListedFile } from "../store/store.ts";
import { type RecordedFile, type RetentionRecord, sealRecord, unsealRecord } from "./retention-record.ts";
import type { RetentionOutcome } from "./summaries.ts";

export interface RetentionOptions {
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
  /** Which of the recorded files are asked for all the same. */
  random?: () => number;
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
  options: RetentionOptions,
): Promise<RetentionOutcome | undefined> {
  const { store, keys } = repository;
  const { retention, note } = store;
  if (retention === undefined) return undefined;
  options.progress.stage("keeping files locked", { unit: "files" });
  const noted = retention.isListed ? undefined : await note?.read();
  const record = noted === undefined ? NOTHING : unsealRecord(keys, noted);
  let kept = await keepAll(repository, retention, { ...options, record });
  const { extended } = kept;
  // Somebody lifted what was recorded as locked: nothing that is recorded counts.
  if (kept.wasLifted) {
    kept = await keepAll(repository, retention, { ...options, record: NOTHING });
    kept.extended += extended;
  }
  if (!retention.isListed) await note?.write(sealRecord(keys, kept.record));
  const { files, untilMs } = kept;
  return { files, extended: kept.extended, until: files === 0 ? null : formatInstant(untilMs) };
}

const NOTHING: RetentionRecord = new Map();

interface Kept {
  files: number;
  extended: number;
  untilMs: number;
  wasLifted: boolean;
  readonly record: Map<string, RecordedFile>;
}

async function keepAll(
  repository: Repository,
  retention: Retention<FileRef>,
  { clock, progress, signal, record, random = Math.random }: RetentionOptions & { record: RetentionRecord },
): Promise<Kept> {
  const nowMs = clock.now();
  const all: Kept = {
    files: 0,
    extended: 0,
    untilMs: Number.POSITIVE_INFINITY,
    wasLifted: false,
    record: new Map(),
  };
  const keepOne = async ({ ref, retained, writtenAtMs }: FileInUse): Promise<void> => {
    const recorded = recordedOf(record, ref.name, writtenAtMs);
    const known = retained ?? (recorded && { untilMs: recorded.untilMs, mode: retention.policy.mode });
    const isEnough = known !== undefined && extendedTo(known, retention.policy, nowMs) === undefined;
    const isTried = recorded !== undefined && random() * record.size < LIMITS.retentionSample;
    let kept = { untilMs: known?.untilMs ?? 0, wasExtended: false };
    if (!isEnough || isTried) {
      kept = await retention.keep(ref, { nowMs, signal });
      if (isEnough && (kept.wasExtended || kept.untilMs < known.untilMs)) all.wasLifted = true;
    }
    all.files += 1;
    if (kept.wasExtended) all.extended += 1;
    all.untilMs = Math.min(all.untilMs, kept.untilMs);
    if (writtenAtMs !== undefined) all.record.set(ref.name, { writtenAtMs, untilMs: kept.untilMs });
  };
  await mapConcurrent(
    filesInUse(repository, signal),
    LIMITS.retentionCalls,
    async (file) => {
      // What is gone is told by whoever needs it.
      await keepOne(file).catch((error: unknown) => {
        if (!isFailure(error, "store/not-found")) throw error;
      });
      progress.advance(1);
    },
    { signal },
  );
  return all;
}

/** Undefined too for what was written anew since. */
function recordedOf(record: RetentionRecord, name: string, writtenAtMs: number | undefined): RecordedFile | undefined {
  const found = record.get(name);
  return found !== undefined && found.writtenAtMs === writtenAtMs ? found : undefined;
}

type FileInUse = { readonly ref: FileRef } & Pick<ListedFile, "retained" | "writtenAtMs">;

async function* filesInUse(repository: Repository, signal: AbortSignal): AsyncGenerator<FileInUse> {
  const { store } = repository;
  yield { ref: { kind: "config", name: "" } };
  for (const kind of ["keys", "snapshots", "index"] as const) {
    for await (const file of store.list(kind, { signal })) yield { ...file, ref: { kind, name: file.name } };
  }
  const index = await repository.loadIndex({ signal });
  if (store.retention?.isListed !== true && store.note === undefined) {
    for (const { id } of index.packSizes()) yield { ref: { kind: "data", name: id } };
    return;
  }
  for await (const file of store.list("data", { signal })) {
    if (index.hasPack(parsePackId(file.name))) yield { ...file, ref: { kind: "data", name: file.name } };
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
