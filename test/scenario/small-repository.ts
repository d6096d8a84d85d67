/** Small repositories on the disk, without an installation, for verbs that are run as processes of their own. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SnapshotId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { recordOf } from "../../src/job/records.ts";
import type { Store } from "../../src/store/store.ts";
import type { MemoryStore } from "../../src/store/memory-store.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import { addPoint, DAY, HOUR, NOW } from "../job/kept-points.ts";
import { type Files, newRepository, PASSWORD, readFiles, reopen, signal } from "../repo/small-backup.ts";

export const ENVIRONMENT = { CHATKEEP_PASSWORD: PASSWORD };

function writeOut(repository: Repository, folder: string): void {
  for (let at = 0; at < 256; at += 1) {
    mkdirSync(join(folder, "data", at.toString(16).padStart(2, "0")), { recursive: true });
  }
  for (const kind of ["index", "keys", "locks", "snapshots"]) mkdirSync(join(folder, kind), { recursive: true });
  for (const [name, bytes] of (repository.store as MemoryStore).files) {
    writeFileSync(join(folder, name.replace(/^data\/(..)/, "data/$1/$1")), bytes);
  }
}

export interface SmallRepositories {
  /** A folder with many points, and snapshots of restic's whose content nobody needs any more. */
  readonly full: string;
  /** Another, with keys of its own and nothing in it. */
  readonly empty: string;
  /** What the points hold, the newest first. */
  readonly points: ReadonlyMap<SnapshotId, Files>;
  /** A copy of one of the two under a new name. */
  copyOf(template: string, name: string): string;
  /** What became of one of the two, at a place of its own. */
  open(template: string, store: Store): Repository;
  /** Reads every byte, and compares every point that is there with what it held. Returns the points. */
  readonly readAll: (repository: Repository) => Promise<SnapshotId[]>;
}

const DAYS = 15;

/** Makes both below a folder. */
export async function makeSmallRepositories(root: string): Promise<SmallRepositories> {
  const random = seededRandom("small repository");
  const [made, other] = [await newRepository(createMemoryStore()), await newRepository(createMemoryStore())];
  const points = new Map<SnapshotId, Files>();
  const shared = random.bytes(200_000);
  for (let at = 0; at < DAYS; at += 1) {
    const files = { "chatkeep/shared": shared, "chatkeep/storage/own": random.bytes(30_000) };
    points.set(await addPoint(reopen(made), NOW - HOUR - at * DAY, { files }), files);
  }
  // Forgotten already: something for prune to do, in packs that others need in part.
  const [, ...old] = [...points.keys()].filter((_, at) => at % 3 === 1);
  for (const id of old) {
    (made.store as MemoryStore).files.delete(`snapshots/${id}`);
    points.delete(id);
  }
  const [full, empty] = [join(root, "full"), join(root, "empty")];
  writeOut(made, full);
  writeOut(other, empty);
  return {
    full,
    empty,
    points,
    copyOf(template, name) {
      const folder = join(root, name);
      mkdirSync(dirname(folder), { recursive: true });
      cpSync(template, folder, { recursive: true });
      return folder;
    },
    open: (template, store) => reopen(template === full ? made : other, store),
    async readAll(repository) {
      const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
      assert.deepEqual(problems, []);
      const { snapshots, damaged } = await repository.listSnapshots({ signal });
      assert.deepEqual(damaged, []);
      const found = snapshots.filter(({ id, snapshot }) => recordOf(id, snapshot) === undefined);
      for (const { id, snapshot } of found) {
        const expected = points.get(snapshot.original ?? id);
        assert.ok(expected, `an unknown point ${id}`);
        const content = await readFiles(repository, snapshot.tree);
        for (const [path, bytes] of Object.entries(expected)) assert.ok(content[path]?.equals(bytes), path);
      }
      return found.map(({ id, snapshot }) => snapshot.original ?? id);
    },
  };
}
