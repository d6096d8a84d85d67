/** Copies between repositories that restic made and ours: by worker threads, on disk, judged by restic. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { copy } from "../../src/job/copy.ts";
import type { CopySummary } from "../../src/job/summaries.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { judges, resticPaths, runRestic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { backUpFolder, hasty, newRepository, PASSWORD as OURS, reopen, signal } from "./small-backup.ts";

const THEIRS = "their password";

function makeFolder(path: string): void {
  mkdirSync(`${path}/deep/er`, { recursive: true });
  writeFileSync(`${path}/random`, randomBytes(2 << 20));
  writeFileSync(`${path}/text`, "the quick brown fox\n".repeat(100_000));
  writeFileSync(`${path}/deep/er/leaf`, "leaf");
}

/** Copies as two new processes would, without paying for scrypt each time. */
async function copyAll(from: Repository, to: Repository): Promise<CopySummary> {
  return await copy({
    from: { repository: reopen(from), name: "from" },
    to: { repository: reopen(to), name: "to" },
    choose: (snapshots) => snapshots,
    clock: hasty,
    progress: silent,
    signal,
  });
}

for (const { path: restic, version } of judges()) {
  test(`what restic ${version} saved is copied into ours, and its own copy sees that it is there`, async () => {
    await using folder = await temporaryFolder();
    makeFolder(folder.at("source"));
    const theirs = { repo: folder.at("theirs"), password: THEIRS, restic };
    const ours = { repo: folder.at("ours"), password: OURS, restic };
    await runRestic(["init"], theirs);
    await runRestic(["backup", "."], { ...theirs, cwd: folder.at("source") });
    const [from, to] = await Promise.all([
      openRepository(openLocalStore(theirs.repo), { password: THEIRS, signal }),
      newRepository(openLocalStore(ours.repo)),
    ]);

    const first = await copyAll(from, to);
    assert.deepEqual([first.copied.length, first.failed], [1, []]);
    await runRestic(["check", "--read-data"], ours);
    await runRestic(["restore", "latest", "--target", folder.at("restored")], ours);
    assert.deepEqual(await readFolder(folder.at("restored")), await readFolder(folder.at("source")));

    const FROM = { RESTIC_FROM_REPOSITORY: theirs.repo, RESTIC_FROM_PASSWORD: THEIRS };
    await runRestic(["copy"], { ...ours, env: FROM });
    assert.equal((await to.listSnapshots({ signal })).snapshots.length, 1);
  });
}

test("what restic copied from ours is there for our copy, in either direction", async () => {
  await using folder = await temporaryFolder();
  makeFolder(folder.at("source"));
  const restic = resticPaths().at(-1)?.path ?? "";
  const theirs = { repo: folder.at("theirs"), password: THEIRS, restic };
  const ours = { repo: folder.at("ours"), password: OURS };
  await runRestic(["init"], theirs);
  const [from, to] = await Promise.all([
    newRepository(openLocalStore(ours.repo)),
    openRepository(openLocalStore(theirs.repo), { password: THEIRS, signal }),
  ]);
  await backUpFolder(from, folder.at("source"));
  await runRestic(["copy"], { ...theirs, env: { RESTIC_FROM_REPOSITORY: ours.repo, RESTIC_FROM_PASSWORD: OURS } });
  const forth = await copyAll(from, to);
  assert.deepEqual([forth.copied, forth.skipped], [[], 1]);
  const back = await copyAll(to, from);
  assert.deepEqual([back.copied, back.skipped], [[], 1]);
  await runRestic(["check", "--read-data"], theirs);
});

test("trees that format version 1 stored raw are compressed in the copy, as restic's prune would have them", async () => {
  await using folder = await temporaryFolder();
  makeFolder(folder.at("source"));
  const theirs = { repo: folder.at("theirs"), password: THEIRS };
  await runRestic(["init", "--repository-version", "1"], theirs);
  await runRestic(["backup", "."], { ...theirs, cwd: folder.at("source") });
  await runRestic(["migrate", "upgrade_repo_v2"], theirs);
  const to = await newRepository(openLocalStore(folder.at("ours")));
  await copyAll(await openRepository(openLocalStore(theirs.repo), { password: THEIRS, signal }), to);
  const index = await reopen(to).loadIndex({ signal });
  const entries = [...index.packs()].flatMap((pack) => pack.entries);
  assert.ok(entries.some(({ type }) => type === "tree"));
  for (const { type, uncompressedLength } of entries) assert.ok(type === "data" || uncompressedLength > 0);
  await runRestic(["check", "--read-data"], { repo: folder.at("ours"), password: OURS });
});
