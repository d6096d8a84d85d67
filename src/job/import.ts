/**
 * Takes what an exported file holds into a repository: the same copying as between any two, then a look whether
 * everything below the points can be found there. Points keep their names, so importing twice adds nothing.
 */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { Repository } from "../repo/repository.ts";
import { checkTrees } from "../repo/verify-trees.ts";
import { isCopyOf } from "../repo/copy.ts";
import { copy, type NamedRepository } from "./copy.ts";
import { lockToRead } from "./lock.ts";
import { recordOf, tagValue } from "./records.ts";
import type { ImportSummary } from "./summaries.ts";

export interface ImportOptions {
  /** The repository in the file; its name is the file's. */
  from: NamedRepository;
  to: NamedRepository;
  /** Whose points `list` shows without being asked for more; undefined for everybody's. */
  installationId: string | undefined;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/**
 * @throws Failure `repo/damaged` when the target lacks something afterwards; points that are damaged in the file are
 * in the summary.
 */
export async function importFile(options: ImportOptions): Promise<ImportSummary> {
  const { from, to, clock, installationId } = options;
  const startedMs = clock.monotonic();
  // What is recorded about a point is about it in one repository.
  const { copied, skipped, failed, added } = await copy({
    ...options,
    choose: (snapshots) => snapshots.filter(({ id, snapshot }) => recordOf(id, snapshot) === undefined),
  });
  const points = await checkImported(options);
  return {
    type: "summary",
    verb: "import",
    file: from.name,
    to: to.name,
    imported: copied,
    skipped,
    failed,
    others: points.filter((id) => installationId !== undefined && id !== installationId).length,
    added,
    seconds: (clock.monotonic() - startedMs) / 1000,
  };
}

/** Reads every tree of what was imported from the target, as another process would. Returns whose points they are. */
async function checkImported(options: ImportOptions): Promise<string[]> {
  const { from, to, progress } = options;
  progress.stage("checking what was imported");
  const { store, keys, config, keyId } = to.repository;
  const fresh = new Repository({ store, keys, config, keyId });
  await using lock = await lockToRead(fresh, options);
  const signal = AbortSignal.any([options.signal, lock.signal]);
  const { snapshots: wanted } = await from.repository.listSnapshots({ signal });
  const { snapshots } = await fresh.listSnapshots({ signal });
  const there = snapshots.filter((known) => wanted.some((one) => isCopyOf(known, one)));
  const roots = there.map(({ snapshot }) => snapshot.tree);
  const { problems } = await checkTrees(fresh, roots, { signal, index: await fresh.loadIndex({ signal }) });
  const [first] = problems;
  if (first === undefined) return there.flatMap(({ snapshot }) => tagValue(snapshot, "installation") ?? []);
  throw new Failure("repo/damaged", `'${to.name}' lacks something of what was imported: ${first.message}`, {
    hint: "The file is untouched. Run 'chatkeep verify --read-data' on the repository, and look at its disk.",
  });
}
