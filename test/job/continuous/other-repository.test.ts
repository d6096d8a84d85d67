/** A repository that a watch holds open may be another one some day, by its place: nothing is written there with the keys of the first. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rename, rm } from "node:fs/promises";
import { test } from "node:test";
import { openFollowPlace } from "../../../src/job/continuous/follow-place.ts";
import { copySnapshots } from "../../../src/job/continuous/share.ts";
import { Sources } from "../../../src/job/sources.ts";
import { openLocalStore } from "../../../src/store/local-store.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { readFolder } from "../../harness/tree.ts";
import { hasty, newRepository, signal } from "../../repo/small-backup.ts";
import { LINE, putJournal, putSpan, SEGMENT } from "./spans.ts";

test("where another disk is mounted, or a repository is made anew, the log and files wait for the one before", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("repository");
  const first = await newRepository(openLocalStore(path));
  const put = async (at: number) => await putSpan(first, { at, bytes: randomBytes(SEGMENT) });
  await put(0);
  const place = await openFollowPlace({
    open: async () => first,
    sources: () => new Sources({ installation: {} as never, progress: {} as never, signal }),
    installation: { id: LINE.installation, name: "desk" },
    program: "chatkeep test",
    clock: hasty,
    signal,
  });
  await rename(path, folder.at("aside"));
  const second = await newRepository(openLocalStore(path));
  const before = await readFolder(path);
  const elsewhere = await newRepository(createMemoryStore());
  await putSpan(elsewhere, { at: 0, bytes: randomBytes(SEGMENT) });
  const { snapshots } = await elsewhere.listSnapshots({ signal });
  const isOther = { code: "store/unreachable", message: /lies another repository than before$/ };
  await assert.rejects(put(SEGMENT), isOther);
  await assert.rejects(putJournal(first, { at: SEGMENT, bytes: randomBytes(100) }), isOther);
  await assert.rejects(place.keep([], { signal }), isOther);
  await assert.rejects(copySnapshots(elsewhere, first, snapshots, { clock: hasty, signal }), isOther);
  assert.deepEqual(await readFolder(path), before);
  assert.deepEqual((await second.listSnapshots({ signal })).damaged, []);

  await rm(path, { recursive: true });
  await rename(folder.at("aside"), path);
  await put(SEGMENT);
  assert.equal((await first.listSnapshots({ signal })).snapshots.length, 2);
});

test("one whose config is damaged is still the same", async () => {
  await using folder = await temporaryFolder();
  const repository = await newRepository(openLocalStore(folder.at("repository")));
  const store = repository.store;
  await store.remove({ kind: "config", name: "" }, { signal });
  await store.put({ kind: "config", name: "" }, randomBytes(64), { signal });
  await putSpan(repository, { at: 0, bytes: randomBytes(SEGMENT) });
  assert.equal((await repository.listSnapshots({ signal })).snapshots.length, 1);
});
