/**
 * Frees what no snapshot needs: a plan first, then its steps, in an order that leaves a whole repository wherever it is
 * stopped: new packs, a new index, away with the old index, away with the packs.
 *
 * Needed is what any snapshot uses, whoever made it. Where that cannot be known to the last tree, or where something of
 * it is lacking, nothing is done at all; nor where there is no snapshot, which is more likely lost than meant.
 */
import { randomBytes } from "node:crypto";
import { plural, listSome } from "../base/bytes.ts";
import { formatInstant } from "../base/clock.ts";
import { mapConcurrent } from "../base/concurrent.ts";
import { Failure, isFailure } from "../base/errors.ts";
import { shortId, type FileId, type PackId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import type { Progress } from "../base/progress.ts";
import type { ChunkIndex } from "./index.ts";
import { readIndexFiles } from "./load-index.ts";
import { readWhileSettling, type ExclusiveLock } from "./lock.ts";
import type { PackRecord } from "./pack-record.ts";
import { PACK_ACTION, planPrune, type MaxUnused, type PrunePlan } from "./prune-plan.ts";
import { copyChunks, openRepacking } from "./repack.ts";
import { type ListedSnapshot, Repository } from "./repository.ts";
import { removeFiles, rewriteIndex } from "./rewrite-index.ts";
import { checkTrees } from "./verify-trees.ts";

export interface PruneOptions {
  maxUnused: MaxUnused;
  maxRepackBytes?: number | undefined;
  /** False for a snapshot that only says something about others: where none but such are left, the others are lost. */
  isContent?: ((listed: ListedSnapshot) => boolean) | undefined;
  /** Given every snapshot; throws where something that is not among them must not be freed. */
  assertComplete?: ((snapshots: ListedSnapshot[]) => void) | undefined;
  isDryRun: boolean;
  /** Nothing is changed before it has settled. */
  lock: ExclusiveLock & { readonly settled?: Promise<void> };
  progress: Progress;
  signal: AbortSignal;
}

export interface PruneResult {
  readonly snapshots: number;
  readonly packs: {
    readonly kept: number;
    readonly removed: number;
    readonly repacked: number;
    /** That no index file named: left by runs that were interrupted. */
    readonly unindexed: number;
    /** New ones; 0 for a dry run. */
    readonly written: number;
  };
  readonly bytes: {
    /** All packs, before. */
    readonly before: number;
    readonly freed: number;
    readonly copied: number;
    /** What nobody needs and stays. */
    readonly unused: number;
  };
  /** Of what goes, that which the place keeps as old versions until its retention has ended. */
  readonly retained?: { readonly packs: number; readonly bytes: number; readonly until: string };
}

/** @throws Failure `repo/damaged` where anything that is needed is lacking, `store/denied` without the right to delete. */
export async function pruneRepository(repository: Repository, options: PruneOptions): Promise<PruneResult> {
  const { isDryRun, progress, signal } = options;
  if (!isDryRun) {
    await assertMayRemove(repository, signal);
    await repository.store.removeLeftovers({ signal });
  }
  progress.stage("reading what is needed");
  const known = await readWhileSettling(options.lock, async () => await learn(repository, options));
  const { index, plan, unindexed } = known;
  const goes = [...goingPacks(known), ...unindexed];
  const retained = await retainedOf(repository, goes, known, options);
  const result: PruneResult = {
    snapshots: known.snapshots,
    ...(retained === undefined ? {} : { retained }),
    packs: {
      kept: plan.kept,
      removed: plan.removed,
      repacked: plan.repacked,
      unindexed: unindexed.length,
      written: 0,
    },
    bytes: {
      before: known.storedBytes,
      freed: plan.freedBytes + known.unindexedBytes,
      copied: plan.copiedBytes,
      unused: plan.unusedBytes,
    },
  };
  if (isDryRun) return result;
  const written = await repack(repository, known, options);
  const stays = (pack: number) => plan.actions[pack] === PACK_ACTION.keep;
  if (written.length > 0 || plan.actions.some((action) => action !== PACK_ACTION.keep)) {
    progress.stage("writing the index");
    const records = (function* () {
      yield* index.packs(stays);
      yield* written;
    })();
    await rewriteIndex(repository, { records, old: known.indexFiles, lock: options.lock, signal });
  }
  await options.lock.confirm({ signal });
  progress.stage("removing packs");
  await removeFiles(repository, "data", { names: goes, lock: options.lock, signal });
  return { ...result, packs: { ...result.packs, written: written.length } };
}

/** Packs that are removed once the index names them no more. */
function* goingPacks({ plan, index }: Known): Generator<PackId> {
  for (const [pack, action] of plan.actions.entries()) {
    if (action === PACK_ACTION.remove || action === PACK_ACTION.repack) yield index.packName(pack);
  }
}

/** A place that keeps files for a time keeps them as old versions: they are out of the way, and not lost before that. */
async function retainedOf(
  { store: { retention } }: Repository,
  names: readonly string[],
  { sizes }: Known,
  { signal, progress }: PruneOptions,
): Promise<PruneResult["retained"]> {
  if (retention === undefined) return undefined;
  progress.stage("asking what is locked");
  let [packs, bytes, untilMs] = [0, 0, 0];
  await mapConcurrent(
    names,
    LIMITS.retentionCalls,
    async (name) => {
      const until = await retention.until({ kind: "data", name }, { signal });
      if (until === undefined) return;
      packs += 1;
      bytes += sizes.get(name) ?? 0;
      untilMs = Math.max(untilMs, until);
    },
    { signal },
  );
  return packs === 0 ? undefined : { packs, bytes, until: formatInstant(untilMs) };
}

/** A right that is lacking is known before anything is done: most places refuse to remove even what is not there. */
async function assertMayRemove(repository: Repository, signal: AbortSignal): Promise<void> {
  try {
    await repository.store.remove({ kind: "data", name: randomBytes(32).toString("hex") }, { signal });
  } catch (error) {
    if (!isFailure(error, "store/denied")) throw error;
    throw new Failure("store/denied", `nothing may be removed in '${repository.store.location}': ${error.message}`, {
      hint: "Run it where the repository lies, or with credentials that may delete; backups go on without.",
      cause: error,
    });
  }
}

interface Known {
  snapshots: number;
  index: ChunkIndex;
  indexFiles: readonly FileId[];
  plan: PrunePlan;
  unindexed: string[];
  unindexedBytes: number;
  storedBytes: number;
  /** Of every pack in the store. */
  sizes: ReadonlyMap<string, number>;
}

/** Snapshots first, then the index, then the packs. */
async function learn(repository: Repository, options: PruneOptions): Promise<Known> {
  const { signal, maxUnused, maxRepackBytes, isContent = () => true } = options;
  const { snapshots, damaged } = await repository.listSnapshots({ signal });
  for (const { id, reason } of damaged) {
    throw refusal(`snapshot ${shortId(id)} cannot be read, so nobody knows what it needs: ${reason}`, VERIFY);
  }
  const { index, files, damaged: damagedIndexes } = await readIndexFiles(repository, { signal });
  for (const { id, reason } of damagedIndexes) {
    throw refusal(`index file ${shortId(id)} cannot be read: ${reason}`, INDEX);
  }
  const sizes = new Map<string, number>();
  const unindexed: string[] = [];
  let [storedBytes, unindexedBytes] = [0, 0];
  for await (const { name, sizeBytes } of repository.store.list("data", { signal })) {
    storedBytes += sizeBytes;
    sizes.set(name, sizeBytes);
    if (!index.hasPack(name as PackId)) {
      unindexed.push(name);
      unindexedBytes += sizeBytes;
    }
  }
  if (!snapshots.some(isContent) && sizes.size > 0) {
    const what = snapshots.length === 0 ? "no snapshot" : "no snapshot but of proofs and holds";
    throw refusal(
      `there is ${what}, so all of the repository would go: ${plural(sizes.size, "pack")}`,
      "Was the folder 'snapshots' lost, or its disk not mounted? If nothing of it is wanted any more, remove the repository itself.",
    );
  }
  options.assertComplete?.(snapshots);
  const { store, keys, config, keyId } = repository;
  const fresh = new Repository({ store, keys, config, keyId, index });
  const trees = await checkTrees(fresh, [...new Set(snapshots.map(({ snapshot }) => snapshot.tree))], {
    signal,
    index,
  });
  if (trees.problems.length > 0) {
    const missing = trees.problems.some(({ kind }) => kind !== "tree-damaged");
    const named = listSome(trees.problems.map(({ message }) => message));
    throw refusal(`something that snapshots need is lacking: ${named}`, missing ? INDEX : VERIFY);
  }
  const plan = planPrune(index, { isUsed: trees.isUsed, sizes, maxUnused, maxRepackBytes });
  if (plan.lacking.length > 0) {
    const named = listSome(plan.lacking.map((id) => `pack ${shortId(id)}`));
    throw refusal(
      `${plural(plan.lacking.length, "pack")} that snapshots need ${plan.lacking.length === 1 ? "is" : "are"} gone or cut: ${named}`,
      VERIFY,
    );
  }
  return { snapshots: snapshots.length, index, indexFiles: files, plan, unindexed, unindexedBytes, storedBytes, sizes };
}

const VERIFY = "Run 'chatkeep verify' to see what it touches, and 'chatkeep repair packs' to take it from a copy.";
const INDEX =
  "Run 'chatkeep repair index', which reads the packs themselves, and then this again. What that does not bring back 'chatkeep repair packs --from NAME' takes from a copy; points that stay 'not whole' in 'chatkeep list' can be forgotten by their name.";

function refusal(message: string, hint: string): Failure {
  return new Failure("repo/damaged", message, { hint: `Nothing was removed. ${hint}` });
}

/** The new packs, all durable. */
async function repack(repository: Repository, { index, plan }: Known, options: PruneOptions): Promise<PackRecord[]> {
  const { progress, signal } = options;
  const written: PackRecord[] = [];
  if (plan.repacked === 0) return written;
  progress.stage("packing anew", { total: plan.copiedBytes, unit: "bytes" });
  const packs = (function* () {
    for (const { id, rows } of index.packRows((pack) => plan.actions[pack] === PACK_ACTION.repack)) {
      const kept = rows.filter(plan.isKept);
      yield { id, entries: Array.from(kept, (row) => index.entryOf(row)).sort((a, b) => a.offset - b.offset) };
    }
  })();
  const sealer = openRepacking(repository, { signal, onPack: (record) => written.push(record) });
  try {
    await copyChunks(repository, { index, packs, sealer, progress, signal });
    await sealer.flush();
  } finally {
    await sealer.abort();
  }
  return written;
}
