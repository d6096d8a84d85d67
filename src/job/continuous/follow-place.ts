/** A repository that keeps followed files: one snapshot that has all of them since it began, and that the next one replaces. */
import type { Clock } from "../../base/clock.ts";
import type { SnapshotId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { formatGoTime } from "../../format/go-time.ts";
import { FOLLOW, followTags } from "../../point/continuous.ts";
import { isDamage } from "../../repo/chunk.ts";
import { WATCH_USERNAME } from "../../repo/lock.ts";
import type { Repository } from "../../repo/repository.ts";
import { blobNode } from "../capture-storage.ts";
import { type Fetched, fetchBlobs, problemOf } from "../fetch-blobs.ts";
import type { FollowedBlob } from "../list-storage.ts";
import { lockToWrite } from "../lock.ts";
import { PointReader } from "../point-reader.ts";
import { pointListOf } from "../points.ts";
import { Sealing } from "../sealing.ts";
import type { Sources } from "../sources.ts";
import { blobFileName } from "../storage-state.ts";
import type { FollowPlace } from "./follow.ts";
import { removeReplaced } from "./span-place.ts";
import {
  addFiles,
  type FolderPath,
  type FollowedFiles,
  folderOf,
  followsOf,
  readFollowed,
  storeFollowed,
} from "./followed-files.ts";

export interface FollowPlaceOptions {
  /** Opens the repository as it is now: what was pruned since must not count as stored. Called for each look that finds something. */
  readonly open: () => Promise<Repository>;
  /** The ways to the services' files, looked at anew. */
  readonly sources: () => Sources;
  readonly installation: { readonly id: string; readonly name: string };
  readonly program: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** What was followed is there no more: somebody removed its snapshot. Whoever begins anew sees what there is. */
export class FollowedGone extends Error {}

/** Reads what a repository has: its newest point's newest files, and what was followed since. */
export async function openFollowPlace(options: FollowPlaceOptions): Promise<FollowPlace> {
  const repository = await options.open();
  const { signal, installation, clock } = options;
  const listed = await repository.listSnapshots({ signal });
  const { points } = pointListOf(repository, listed);
  const point = points.find(({ installationId }) => installationId === installation.id);
  const reader = point === undefined ? undefined : new PointReader(repository, point, { signal });
  const [found] = followsOf(listed.snapshots, installation.id);
  const begun = { beganMs: clock.now(), files: 0, bytes: 0, folders: new Map() };
  const fresh: Pick<Known, "followed" | "last"> = { followed: begun, last: undefined };
  const known =
    found === undefined
      ? fresh
      : await unlessDamaged(fresh, async () => {
          return { followed: await readFollowed(repository, found, { signal }), last: found.listed.id };
        });
  const notWhole = await unlessDamaged(new Set<string>(), async () => await keysNotWhole(reader));
  return new RepositoryFollowPlace(options, { reader, newest: await newestFolder(reader), notWhole, ...known });
}

/** Of files that a point has as they were found: cut short, or with another checksum. They may have become whole since. */
async function keysNotWhole(reader: PointReader | undefined): Promise<Set<string>> {
  const { storage = [] } = (await reader?.manifest()) ?? {};
  const lists = await Promise.all(storage.map(async (service) => await reader?.missing(service)));
  return new Set(lists.flatMap((list = []) => list.flatMap(({ key, kept }) => (kept === true ? [] : [key]))));
}

/** What cannot be read does not count as kept. */
async function unlessDamaged<T>(otherwise: T, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return otherwise;
  }
}

/** The number of the newest folder of files in a point; -1 where it has none. */
async function newestFolder(reader: PointReader | undefined): Promise<bigint> {
  let newest = -1n;
  for (const service of (await reader?.folder("storage")) ?? []) {
    for (const group of (await reader?.folder(`storage/${service.name}`)) ?? []) {
      for (const { name } of (await reader?.folder(`storage/${service.name}/${group.name}`)) ?? []) {
        if (BigInt(name) > newest) newest = BigInt(name);
      }
    }
  }
  return newest;
}

interface Known {
  readonly reader: PointReader | undefined;
  readonly newest: bigint;
  /** Keys of files that the point has and that do not count. */
  readonly notWhole: ReadonlySet<string>;
  readonly followed: FollowedFiles;
  /** The snapshot that has them. */
  readonly last: SnapshotId | undefined;
}

class RepositoryFollowPlace implements FollowPlace {
  readonly firstId: bigint;
  readonly #o: FollowPlaceOptions;
  readonly #reader: PointReader | undefined;
  readonly #notWhole: ReadonlySet<string>;
  /** Names of files in the point's newest folders, which are read when they are asked for. */
  readonly #inPoint = new Map<FolderPath, Promise<ReadonlySet<string>>>();
  #followed: FollowedFiles;
  #last: SnapshotId | undefined;

  constructor(options: FollowPlaceOptions, { reader, newest, notWhole, followed, last }: Known) {
    this.#o = options;
    this.#notWhole = notWhole;
    this.#reader = reader;
    this.#followed = followed;
    this.#last = last;
    const end = (newest + 1n) << BigInt(LIMITS.blobFolderBits);
    const first = end - BigInt(LIMITS.followedIds);
    this.firstId = first < 0n ? 0n : first;
  }

  async has(blob: FollowedBlob): Promise<boolean> {
    const path = folderOf(blob);
    const name = blobFileName(blob.key);
    if (this.#followed.folders.get(path)?.has(name) === true) return true;
    return !this.#notWhole.has(blob.key) && (await this.#namesInPoint(path)).has(name);
  }

  async #namesInPoint(path: FolderPath): Promise<ReadonlySet<string>> {
    const known = this.#inPoint.get(path);
    if (known !== undefined) return await known;
    const none: ReadonlySet<string> = new Set();
    const names = unlessDamaged(none, async () => {
      return new Set(((await this.#reader?.folder(`storage/${path}`)) ?? []).map(({ name }) => name));
    });
    this.#inPoint.set(path, names);
    names.catch(() => this.#inPoint.delete(path));
    return await names;
  }

  async keep(blobs: readonly FollowedBlob[], options: { signal: AbortSignal }): Promise<Fetched<FollowedBlob>[]> {
    const { open, clock, installation, program } = this.#o;
    const repository = await open();
    await repository.expectSame(options);
    await using lock = await lockToWrite(repository, { clock, signal: options.signal, lockedAs: WATCH_USERNAME });
    const signal = AbortSignal.any([options.signal, lock.signal]);
    await this.#expectLast(repository, signal);
    // Files are new, so hardly anything is taken for stored: that no pack was lost is for the next backup to look at.
    const small = { expectedChunks: blobs.length, workers: 1, isPrepared: true };
    await using sealing = await Sealing.open({ repository, address: undefined, lock, signal, ...small });
    const fetched = await this.#fetch(blobs, sealing);
    const added = fetched.flatMap(({ blob, file }) => {
      const isWhole = file.kind === "stored" && problemOf(blob, file) === undefined;
      return isWhole ? [{ path: folderOf(blob), node: blobNode(blob, file) }] : [];
    });
    if (added.length === 0) return fetched;
    const followed = addFiles(this.#followed, added, clock.now());
    const tree = await storeFollowed(followed, sealing);
    await sealing.finish();
    await lock.confirm({ signal });
    const snapshot = {
      time: formatGoTime(BigInt(clock.now()) * 1_000_000n),
      tree,
      paths: [FOLLOW.path],
      hostname: installation.name,
      tags: followTags({ installation: installation.id, ...followed }),
      programVersion: program,
    };
    const id = await repository.saveSnapshot(snapshot, { signal });
    const isSameRow = followed.beganMs === this.#followed.beganMs;
    if (isSameRow && this.#last !== undefined) await removeReplaced(repository, this.#last, signal);
    this.#followed = followed;
    this.#last = id;
    return fetched;
  }

  /** What only a snapshot held that is gone may have been pruned: nothing new may ask for it. @throws FollowedGone. */
  async #expectLast({ store }: Repository, signal: AbortSignal): Promise<void> {
    if (this.#last === undefined) return;
    const found = await store.stat({ kind: "snapshots", name: this.#last }, { signal });
    if (found === undefined) throw new FollowedGone("the snapshot of followed files was removed");
  }

  async #fetch(blobs: readonly FollowedBlob[], sealing: Sealing): Promise<Fetched<FollowedBlob>[]> {
    await using sources = this.#o.sources();
    const ports = {
      sources,
      storeFiles: async (files: Parameters<Sealing["storeFiles"]>[0]) => await sealing.storeFiles(files),
      storeObjects: async (task: Parameters<Sealing["storeObjects"]>[0]) => await sealing.storeObjects(task),
      rereadAll: false,
      onFile() {},
      startedAt: formatGoTime(BigInt(this.#o.clock.now()) * 1_000_000n),
    };
    const fetched: Fetched<FollowedBlob>[] = [];
    for (const [service, wanted] of Map.groupBy(blobs, (blob) => blob.service)) {
      fetched.push(...(await fetchBlobs(ports, service, wanted)));
    }
    return fetched;
  }
}
