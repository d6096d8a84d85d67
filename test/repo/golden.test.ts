/**
 * Frozen repositories of ours and of stock restic: every version opens, lists and verifies them, and gives every file back
 * byte for byte. They are never made anew: what a version once wrote, all later ones read.
 */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { listVerb } from "../../src/job/look.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { restoreTree } from "../../src/repo/restore-tree.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { systemClock } from "../../src/base/clock.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { runRestic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFiles, signal } from "./small-backup.ts";

interface Expected {
  time: string;
  tags: string[];
  /** path → SHA-256. */
  files: Record<string, string>;
}

const GOLDEN = join(import.meta.dirname, "../golden/repository");
const NAMES = ["chatkeep-0.1", "restic-0.14", "restic-0.19"];

test("there is a frozen repository of each kind, and a list of what is in it", () => {
  assert.deepEqual(readdirSync(GOLDEN).toSorted(), NAMES.flatMap((name) => [name, `${name}.json`]).toSorted());
});

for (const name of NAMES) {
  const expected = JSON.parse(readFileSync(join(GOLDEN, `${name}.json`), "utf8")) as Record<string, Expected>;

  test(`the frozen repository ${name} opens with each of its passwords, is whole, and restores`, async () => {
    await using folder = await temporaryFolder();
    const path = folder.at("repository");
    cpSync(join(GOLDEN, name), path, { recursive: true });
    const store = openLocalStore(path);
    const repository = await openRepository(store, { password: "golden pässword", signal });
    const other = await openRepository(store, { password: "another", signal });
    assert.notEqual(other.keyId, repository.keyId);
    const { problems, notes } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
    assert.deepEqual({ problems, notes }, { problems: [], notes: [] });
    const { snapshots, damaged } = await repository.listSnapshots({ signal });
    assert.deepEqual(damaged, []);
    assert.deepEqual(snapshots.map(({ id }) => id as string).toSorted(), Object.keys(expected).toSorted());
    for (const { id, snapshot } of snapshots) {
      const { time, tags, files } = expected[id] ?? assert.fail(id);
      assert.deepEqual([snapshot.time, snapshot.tags ?? []], [time, tags]);
      const read = Object.entries(await readFiles(repository, snapshot.tree)).map(([at, bytes]) => [at, sha256(bytes)]);
      assert.deepEqual(Object.fromEntries(read), files);
      const to = folder.at(id);
      assert.deepEqual((await restoreTree(repository, snapshot.tree, to, { signal, progress: silent })).problems, []);
      for (const [at, sum] of Object.entries(files)) assert.equal(sha256(readFileSync(join(to, at))), sum, at);
    }
    await runRestic(["check", "--read-data"], { repo: path, password: "golden pässword" });
  });
}

test("the restore points of the frozen repository of ours are listed with all that is known of them", async () => {
  await using folder = await temporaryFolder();
  cpSync(join(GOLDEN, "chatkeep-0.1"), folder.at("repository"), { recursive: true });
  const repository = await openRepository(openLocalStore(folder.at("repository")), { password: "another", signal });
  const { points, otherSnapshots } = await listVerb(repository, "golden", undefined, { clock: systemClock, signal });
  assert.equal(otherSnapshots, 0);
  assert.deepEqual(
    points.map(({ chatwoot, blobs, failedDrill, provenAt, holds }) => [
      chatwoot,
      blobs,
      failedDrill,
      provenAt !== null,
      holds.length,
    ]),
    [
      ["4.15.1", 3, false, true, 1],
      ["4.15.1", 3, false, false, 0],
    ],
  );
});

function sha256(bytes: Uint8Array): string {
  return hash("sha256", bytes);
}
