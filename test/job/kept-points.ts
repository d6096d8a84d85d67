/** Restore points that have a name, a time and a tree, and nothing in it: for verbs that only look at their snapshots. */
import { type Clock, formatInstant, systemClock } from "../../src/base/clock.ts";
import { Failure } from "../../src/base/errors.ts";
import type { SnapshotId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import type { ForgetOptions } from "../../src/job/forget.ts";
import type { HoldOptions } from "../../src/job/hold.ts";
import { proofTags } from "../../src/job/records.ts";
import type { Repository } from "../../src/repo/repository.ts";
import type { MemoryStore } from "../../src/store/memory-store.ts";
import { backUp, type Files, signal } from "../repo/small-backup.ts";

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const NOW = Date.parse("2026-11-24T12:00:00Z");
export const ONE = "0a61c0de-0000-4000-8000-000000000001";
export const TWO = "0a61c0de-0000-4000-8000-000000000002";

/** The system's clock, but for the date, and for the pause between writing a lock and looking again. */
export function clockAt(nowMs = NOW): Clock {
  return {
    ...systemClock,
    now: () => nowMs,
    async sleep(ms, stop) {
      if (ms > 1000) await systemClock.sleep(ms, stop);
    },
  };
}

export interface NewPoint {
  installation?: string;
  name?: string;
  proven?: boolean;
  tags?: string[];
  original?: SnapshotId;
  /** What it holds beside a manifest. */
  files?: Files;
}

/** A point of a time, whose content is its time and what is given. */
export async function addPoint(repository: Repository, timeMs: number, options: NewPoint = {}): Promise<SnapshotId> {
  const time = formatInstant(timeMs);
  const files = { "chatkeep/manifest.json": Buffer.from(time), ...options.files };
  const plain = await backUp(repository, files, time);
  const { snapshots } = await repository.listSnapshots({ signal });
  const tree = snapshots.find(({ id }) => id === plain)?.snapshot.tree;
  if (tree === undefined) throw new Error("the snapshot is gone");
  await repository.store.remove({ kind: "snapshots", name: plain }, { signal });
  const tags = ["chatkeep", `installation=${options.installation ?? ONE}`, ...(options.tags ?? [])];
  const { original, name = "desk" } = options;
  const id = await repository.saveSnapshot(
    { time, tree, paths: ["/chatkeep"], hostname: name, tags, ...(original === undefined ? {} : { original }) },
    { signal },
  );
  if (options.proven !== undefined) await addProof(repository, { point: id, tree, proven: options.proven, timeMs });
  return id;
}

export async function addProof(
  repository: Repository,
  { point, tree, proven, timeMs }: { point: SnapshotId; tree: string; proven: boolean; timeMs: number },
): Promise<void> {
  const at = formatInstant(timeMs + HOUR);
  const id = await backUp(repository, { "chatkeep-proof/proof.json": Buffer.from("{}") }, at);
  const { snapshots } = await repository.listSnapshots({ signal });
  const snapshot = snapshots.find((listed) => listed.id === id)?.snapshot;
  if (snapshot === undefined) throw new Error("the snapshot is gone");
  await repository.store.remove({ kind: "snapshots", name: id }, { signal });
  const where = { host: "", server: "", serverVersion: "" };
  const facts = {
    schema: 1,
    program: "test",
    repository: repository.config.id,
    where,
    checks: [],
    stages: {},
  } as const;
  const tags = [...proofTags({ ...facts, checks: [], point, tree, at, proven }), `installation=${ONE}`];
  await repository.saveSnapshot({ ...snapshot, paths: ["/chatkeep-proof"], tags }, { signal });
}

export function forgetting(repository: Repository, request: ForgetOptions["request"]): ForgetOptions {
  return {
    repository,
    repositoryName: "primary",
    request,
    program: "test",
    clock: clockAt(),
    progress: silent,
    signal,
  };
}

export function holding(repository: Repository, nowMs = NOW): HoldOptions {
  return { repository, repositoryName: "primary", installationId: ONE, clock: clockAt(nowMs), signal };
}

/** Takes files and gives none back, as append-only credentials do. */
export function denyRemovals(store: MemoryStore, isDenied: (kind: string) => boolean = () => true): void {
  store.beforeWrite = ({ action, ref }) => {
    if (action === "remove" && isDenied(ref?.kind ?? "")) throw new Failure("store/denied", "deleting is not allowed");
  };
}
