/** Every call of either store goes wrong once, in each way: a copy fails loudly or is whole, and the next one finishes it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { before, test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { silent } from "../../src/base/progress.ts";
import { copy } from "../../src/job/copy.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { CUT, type Fault, FaultyStore, FLIPPED } from "../harness/faulty-store.ts";
import { backUp, copyStore, hasty, newRepository, readFiles, reopen, signal, type Files } from "./small-backup.ts";

const FILES: readonly Files[] = [
  { a: randomBytes(20_000), "folder/b": Buffer.alloc(50_000, "text ") },
  { a: randomBytes(20_000), "folder/c": Buffer.from("c") },
];
const FAULTS: readonly (readonly [string, Fault])[] = [
  ["fails", { how: "fail" }],
  ["is done and fails", { how: "fail-after" }],
  ["gives changed bytes", FLIPPED],
  ["gives cut bytes", CUT],
  ["lists late", { how: "late" }],
];

let source: Repository;
let target: Repository;
let sourceStore: MemoryStore;
let targetStore: MemoryStore;

before(async () => {
  sourceStore = createMemoryStore();
  targetStore = createMemoryStore();
  source = await newRepository(sourceStore);
  target = await newRepository(targetStore);
  for (const [at, files] of FILES.entries()) await backUp(reopen(source), files, `2026-01-0${at + 1}T00:00:00Z`);
});

/** Copies everything; false when it failed or said that a point could not be copied. */
async function copies(from: Repository, to: Repository): Promise<boolean> {
  try {
    const { failed } = await copy({
      from: { repository: from, name: "source" },
      to: { repository: to, name: "target" },
      choose: (snapshots) => snapshots,
      clock: hasty,
      progress: silent,
      signal,
    });
    return failed.length === 0;
  } catch (error) {
    // Loudly: a plain failure with its code, never whatever broke on the way.
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    return false;
  }
}

/** What can be seen in the target is whole. Returns how many points can. */
async function seen(store: MemoryStore): Promise<number> {
  const repository = reopen(target, store);
  const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
  const { snapshots } = await repository.listSnapshots({ signal });
  for (const { snapshot } of snapshots) {
    const expected = FILES[Number(snapshot.time.slice(8, 10)) - 1] ?? {};
    const found = await readFiles(repository, snapshot.tree);
    for (const [path, bytes] of Object.entries(expected)) assert.ok(found[path]?.equals(bytes), path);
  }
  return snapshots.length;
}

for (const side of ["source", "target"] as const) {
  for (const [what, fault] of FAULTS) {
    test(`whichever call of the ${side} ${what}, nothing half is seen, and the next copy finishes`, async (t) => {
      let tried = 0;
      for (let nth = 1; ; nth += 1) {
        const store = copyStore(targetStore);
        const faulty = new FaultyStore(side === "source" ? copyStore(sourceStore) : store);
        let wentWrong = false;
        faulty.script = ({ count }) => {
          if (count === nth) wentWrong = true;
          return count === nth ? fault : undefined;
        };
        const isDone = await copies(
          reopen(source, side === "source" ? faulty : copyStore(sourceStore)),
          reopen(target, side === "target" ? faulty : store),
        );
        if (!wentWrong) break;
        tried += 1;
        const visible = await seen(store);
        // A list that comes late may hide points of the source; then nobody could know.
        if (isDone && what !== "lists late") assert.equal(visible, FILES.length, `call ${nth}`);
        assert.ok(await copies(reopen(source), reopen(target, store)), `call ${nth}`);
        assert.ok((await seen(store)) >= FILES.length, `call ${nth}`);
      }
      t.diagnostic(`${tried} calls tried`);
      assert.ok(tried > 10, String(tried));
    });
  }
}
