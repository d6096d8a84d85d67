import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { silent } from "../../../src/base/progress.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import { readBase } from "../../../src/job/continuous/read-base.ts";
import { type BaseEntry, saveBase } from "../../../src/job/continuous/save-base.ts";
import { openLocalStore } from "../../../src/store/local-store.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { judges, runRestic } from "../../harness/restic.ts";
import { temporaryFolder } from "../../harness/temporary.ts";
import { readFolder } from "../../harness/tree.ts";
import { newRepository, PASSWORD, reopen, signal } from "../../repo/small-backup.ts";
import { BASE_OF_TEST, factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT, writerOf } from "./spans.ts";

const PAGE = 8192;

/** Files of every length that matters, empty folders, modes, a link. */
function makeCluster(root: string): void {
  mkdirSync(`${root}/base/16384`, { recursive: true });
  for (const folder of ["pg_notify", "pg_tblspc", "pg_wal/archive_status"])
    mkdirSync(`${root}/${folder}`, { recursive: true });
  const lengths = [0, 1, 8191, 65_535, 65_536, 65_537, 3 * 65_536, 5_000_000];
  for (const [at, length] of lengths.entries()) writeFileSync(`${root}/base/16384/${2000 + at}`, randomBytes(length));
  writeFileSync(`${root}/PG_VERSION`, "15\n", { mode: 0o600 });
  writeFileSync(`${root}/base/16384/name with ümlaut`, "x");
  symlinkSync("/elsewhere/space", `${root}/pg_tblspc/16999`);
  chmodSync(`${root}/base`, 0o750);
  utimesSync(`${root}/PG_VERSION`, 1_700_000_000, 1_700_000_000.123);
}

test("a base is brought back as it was, by us and by stock restic, and its list says what it is", async () => {
  await using folder = await temporaryFolder();
  makeCluster(folder.at("cluster"));
  const store = openLocalStore(folder.at("repo"));
  const repository = await newRepository(store);
  const manifest = Buffer.from('{ "PostgreSQL-Backup-Manifest-Version": 1 }\n');
  const { snapshotId, addedBytes } = await putBase(repository, folder.at("cluster"), { manifest });
  assert.ok(addedBytes > 5_000_000);
  const { bases } = await listContinuous(reopen(repository), LINE.installation, { signal });
  assert.deepEqual(
    bases.map(({ id, base }) => [id, base]),
    [[snapshotId, BASE_OF_TEST]],
  );
  const [base] = bases;
  assert.ok(base);
  const read = await readBase(reopen(repository), base, folder.at("back"), { signal, progress: silent });
  assert.deepEqual(read.facts, factsOf());
  assert.ok(readFileSync(folder.at("back", "backup_manifest")).equals(manifest));
  writeFileSync(folder.at("cluster", "backup_manifest"), manifest);
  chmodSync(folder.at("cluster", "backup_manifest"), 0o644);
  const folders = { folders: true };
  assert.deepEqual(await readFolder(folder.at("back"), folders), await readFolder(folder.at("cluster"), folders));
  for (const path of ["base", "PG_VERSION", "base/16384/2003"]) {
    const [there, back] = ["cluster", "back"].map((root) => statSync(folder.at(root, path)));
    assert.deepEqual([back?.mode, back?.mtimeMs], [there?.mode, there?.mtimeMs && Math.floor(there.mtimeMs)], path);
  }
  for (const { path } of judges()) {
    const restic = { repo: folder.at("repo"), password: PASSWORD, restic: path };
    const target = folder.at("restic");
    await runRestic(["check", "--read-data"], restic);
    await runRestic(["restore", snapshotId, "--target", target], restic);
    const ours = readFileSync(folder.at("cluster", "base/16384/2007"));
    assert.ok(readFileSync(`${target}/chatkeep-base/data/base/16384/2007`).equals(ours));
  }
});

test("of a second base only pieces that changed are stored", async () => {
  await using folder = await temporaryFolder();
  const repository = await newRepository(createMemoryStore());
  mkdirSync(folder.at("cluster"));
  const pages = 4000;
  const table = randomBytes(pages * PAGE);
  writeFileSync(folder.at("cluster", "1"), table);
  const first = await putBase(repository, folder.at("cluster"));
  // One page in a hundred, scattered; the pattern is a fixed one.
  for (let page = 7; page < pages; page += 100) randomBytes(100).copy(table, page * PAGE + 500);
  writeFileSync(folder.at("cluster", "1"), table);
  const scattered = await putBase(repository, folder.at("cluster"));
  assert.ok(scattered.addedBytes < 0.1 * first.addedBytes, `${scattered.addedBytes} of ${first.addedBytes}`);
  randomBytes((pages / 100) * PAGE).copy(table, 1000 * PAGE);
  writeFileSync(folder.at("cluster", "1"), table);
  const together = await putBase(repository, folder.at("cluster"));
  assert.ok(together.addedBytes < 0.03 * first.addedBytes, `${together.addedBytes} of ${first.addedBytes}`);
});

function file(path: string, size: number, bytes: number): BaseEntry {
  return { kind: "file", path, mode: 0o600, mtimeMs: 0, size, bytes: [Buffer.alloc(bytes)] };
}

test("a file that ends early, comes twice or would lead out of the folder ends the base, and nothing is listed", async () => {
  const repository = await newRepository(createMemoryStore());
  const wrongs: Record<string, BaseEntry[]> = {
    short: [file("a", 10, 9)],
    long: [file("a", 10, 11)],
    twice: [file("a", 1, 1), file("a", 1, 1)],
    outside: [file("../a", 1, 1)],
    "a folder's name": [file("a/b", 1, 1), file("a", 1, 1)],
  };
  for (const [what, entries] of Object.entries(wrongs)) {
    const toSave = {
      files: (async function* () {
        yield* entries;
      })(),
      expectedBytes: 10,
      facts: async () => ({ facts: factsOf(), manifest: Buffer.alloc(0) }),
    };
    await assert.rejects(saveBase(writerOf(repository), toSave), (error) => isFailure(error, "database/failed"), what);
  }
  const { bases } = await listContinuous(repository, LINE.installation, { signal });
  assert.deepEqual(bases, []);
});

test("a base of which something is lost is no base", async () => {
  await using folder = await temporaryFolder();
  const store = createMemoryStore();
  const repository = await newRepository(store);
  makeCluster(folder.at("cluster"));
  await putBase(repository, folder.at("cluster"));
  const { bases } = await listContinuous(repository, LINE.installation, { signal });
  const packs = [...store.files].filter(([key]) => key.startsWith("data/"));
  const [largest] = packs.toSorted(([, a], [, b]) => b.length - a.length);
  const [base] = bases;
  assert.ok(base && largest);
  const damaged = Buffer.from(largest[1]);
  damaged.fill(0, 1000, 200_000);
  store.files.set(largest[0], damaged);
  await assert.rejects(readBase(repository, base, folder.at("back"), { signal, progress: silent }), (error) =>
    isFailure(error, "repo/damaged"),
  );
});

test("what is another installation's, or has tags that make no sense, is not listed as this one's", async () => {
  const repository = await newRepository(createMemoryStore());
  const id = await putSpan(repository, { at: 0, bytes: randomBytes(SEGMENT) });
  const { snapshots } = await repository.listSnapshots({ signal });
  const [listed] = snapshots;
  assert.ok(listed);
  const retagged = (tags: readonly string[]) => repository.saveSnapshot({ ...listed.snapshot, tags }, { signal });
  const { tags = [] } = listed.snapshot;
  await retagged(tags.map((tag) => tag.replace(LINE.installation, "another")));
  const odd = await retagged(tags.filter((tag) => !tag.startsWith("from=")));
  const found = await listContinuous(repository, LINE.installation, { signal });
  assert.deepEqual([found.spans.map((span) => span.id), found.odd.map((each) => each.id)], [[id], [odd]]);
});
