/** Stock restic is the judge: what we write, it checks, lists, restores and prunes; what it writes, we restore. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { ChunkId } from "../../src/base/ids.ts";
import { silent } from "../../src/base/progress.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { restoreTree } from "../../src/repo/restore-tree.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { judges, resticPaths, runRestic } from "../harness/restic.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { firstOf } from "../harness/whole.ts";
import { backUpFolder, newRepository, PASSWORD, signal } from "./small-backup.ts";

const NASTY = [
  "plain",
  'quote"and\\backslash',
  "new\nline and\ttab",
  "ünïcödé",
  "e\u0301 combining",
  "\u{1f600} astral",
  "\uffee halfwidth",
  "<html> & more",
  "\u2028 separator",
  "\u200b invisible",
  "trailing space ",
  "-rf",
  "%41",
  "x".repeat(255),
];

function text(bytes: number): Buffer {
  return Buffer.from("The quick brown fox jumps over the lazy dog. ".repeat(Math.ceil(bytes / 45))).subarray(0, bytes);
}

/** Files small, large, empty, compressible, random, alike; folders deep, empty, with nasty names; links, modes, times. */
function makeFolder(root: string): void {
  mkdirSync(root);
  const put = (name: string, bytes: Uint8Array) => writeFileSync(join(root, name), bytes);
  put("empty", Buffer.alloc(0));
  put("one", Buffer.from("1"));
  put("text", text(300_000));
  put("zeros", Buffer.alloc(3 << 20));
  put("random", randomBytes(1 << 20));
  put("large", Buffer.concat([randomBytes(9 << 20), text(9 << 20), Buffer.alloc(8 << 20), Buffer.alloc(8 << 20)]));
  put("exactly one chunk", text(8 << 20));
  mkdirSync(join(root, "empty folder"));
  mkdirSync(join(root, "deep/a/b/c/d/e/f"), { recursive: true });
  put("deep/a/b/c/d/e/f/leaf", Buffer.from("deep"));
  mkdirSync(join(root, "nasty"));
  for (const name of NASTY) put(join("nasty", name), Buffer.from(name));
  writeFileSync(Buffer.concat([Buffer.from(join(root, "nasty/raw-")), Buffer.from([0xff, 0xfe])]), "not UTF-8");
  mkdirSync(join(root, "many"));
  for (let at = 0; at < 500; at += 1) put(`many/${at}`, text(at * 7));
  symlinkSync("text", join(root, "link"));
  symlinkSync("/nowhere/at all", join(root, "dangling"));
  chmodSync(join(root, "text"), 0o640);
  chmodSync(join(root, "one"), 0o400);
  chmodSync(join(root, "empty folder"), 0o750);
  utimesSync(join(root, "text"), 1_000_000_000.123, 1_000_000_000.123);
  utimesSync(join(root, "deep"), 1_200_000_000, 1_200_000_000);
}

/** What it is, by path. The one name that is not text is looked at apart. */
async function contentsOf(root: string): Promise<Record<string, string>> {
  const raw = Buffer.concat([Buffer.from(join(root, "nasty/raw-")), Buffer.from([0xff, 0xfe])]);
  const rest = await readFolder(root, { folders: true, except: (path) => path.includes("\ufffd") });
  return { ...rest, raw: readFileSync(raw, "utf8") };
}

/** Path → mode and time: what {@link readFolder} does not look at. */
async function factsOf(root: string): Promise<Record<string, string>> {
  const facts: Record<string, string> = {};
  const { raw: _, ...contents } = await contentsOf(root);
  for (const path of Object.keys(contents)) {
    const { mode, mtimeMs } = lstatSync(join(root, path));
    facts[path] = `${(mode & 0o7777).toString(8)} ${Math.floor(mtimeMs)}`;
  }
  return facts;
}

// The newest one checks what we wrote in test/scenario/kill-verbs.test.ts.
for (const { path: restic, version } of judges()) {
  test(`restic ${version} checks, lists and restores what we wrote; after its own backup and prune ours is whole`, async (t) => {
    await using folder = await temporaryFolder();
    makeFolder(folder.at("source"));
    const repo = folder.at("repository");
    const store = openLocalStore(repo);
    const id = await backUpFolder(await newRepository(store), folder.at("source"));
    // What a run of ours is writing right now must not disturb restic either.
    const half = await store.begin("data", { signal });
    await half.write(randomBytes(100_000));
    t.after(async () => await half.abort());

    const options = { repo, password: PASSWORD, restic };
    const checked = await runRestic(["check", "--read-data"], options);
    assert.doesNotMatch(checked.stdout + checked.stderr, /tmp|unexpected|chatkeep|warning/i);
    const listed = JSON.parse((await runRestic(["snapshots", "--json"], options)).stdout) as { id: string }[];
    assert.deepEqual(
      listed.map((snapshot) => snapshot.id),
      [id],
    );
    await runRestic(["restore", id, "--target", folder.at("restored")], options);
    assert.deepEqual(await contentsOf(folder.at("restored")), await contentsOf(folder.at("source")));
    assert.deepEqual(await factsOf(folder.at("restored")), await factsOf(folder.at("source")));

    mkdirSync(folder.at("other"));
    writeFileSync(folder.at("other", "file"), randomBytes(2 << 20));
    await runRestic(["backup", "--host", "theirs", folder.at("other")], options);
    await runRestic(["forget", "--host", "test-host", "--keep-last", "1"], options);
    await runRestic(["backup", "--host", "theirs", folder.at("source")], options);
    await runRestic(["forget", "--host", "theirs", "--keep-last", "1", "--prune", "--group-by", "host"], options);

    writeFileSync(folder.at("second"), "second password\n");
    await runRestic(["key", "add", "--new-password-file", folder.at("second")], options);
    for (const password of [PASSWORD, "second password"]) await openRepository(store, { password, signal });
    const after = await openRepository(store, { password: "second password", signal });
    const { problems } = await verifyRepository(after, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, []);
    const { snapshots } = await after.listSnapshots({ signal });
    assert.deepEqual(new Set(snapshots.map(({ snapshot }) => snapshot.hostname)), new Set(["test-host", "theirs"]));
    const ours = snapshots.find((snapshot) => snapshot.id === id);
    assert.ok(ours);
    await restoreTree(after, ours.snapshot.tree, folder.at("again"), { signal, progress: silent });
    assert.deepEqual(await contentsOf(folder.at("again")), await contentsOf(folder.at("source")));

    // And we go on from there: nothing is stored twice.
    const packs = (await after.loadIndex({ signal })).packCount;
    await backUpFolder(after, folder.at("source"));
    assert.equal((await after.loadIndex({ signal })).packCount, packs);
    await runRestic(["check", "--read-data"], options);
  });
}

for (const { path: restic, version } of firstOf(resticPaths().toReversed(), 1)) {
  test(`we restore what restic ${version} wrote, its Rabin-cut files and hard links too`, async () => {
    await using folder = await temporaryFolder();
    makeFolder(folder.at("source"));
    linkSync(join(folder.at("source"), "text"), join(folder.at("source"), "hard link"));
    const options = { repo: folder.at("repository"), password: PASSWORD, restic };
    await runRestic(["init"], options);
    await runRestic(["backup", "."], { ...options, cwd: folder.at("source") });

    const repository = await openRepository(openLocalStore(options.repo), { password: PASSWORD, signal });
    const result = await restoreTree(repository, await rootOf(repository), folder.at("restored"), {
      signal,
      progress: silent,
    });
    assert.deepEqual(result.problems, []);
    assert.deepEqual(await contentsOf(folder.at("restored")), await contentsOf(folder.at("source")));
    assert.deepEqual(await factsOf(folder.at("restored")), await factsOf(folder.at("source")));
    const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, []);
  });
}

test("what restic left of format version 1 is read, once the repository was upgraded", async () => {
  await using folder = await temporaryFolder();
  mkdirSync(folder.at("source"));
  writeFileSync(folder.at("source", "text"), text(2 << 20));
  const options = { repo: folder.at("repository"), password: PASSWORD };
  await runRestic(["init", "--repository-version", "1"], options);
  await runRestic(["backup", "."], { ...options, cwd: folder.at("source") });
  const store = openLocalStore(options.repo);
  await assert.rejects(openRepository(store, { password: PASSWORD, signal }), { code: "repo/unsupported" });
  await runRestic(["migrate", "upgrade_repo_v2"], options);
  const repository = await openRepository(store, { password: PASSWORD, signal });
  const result = await restoreTree(repository, await rootOf(repository), folder.at("restored"), {
    signal,
    progress: silent,
  });
  assert.deepEqual({ files: result.files, problems: result.problems }, { files: 1, problems: [] });
  const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
  assert.deepEqual(problems, []);
});

/** The root tree of the only snapshot. */
async function rootOf(repository: Repository): Promise<ChunkId> {
  const { snapshots, damaged } = await repository.listSnapshots({ signal });
  assert.deepEqual([snapshots.length, damaged.length], [1, 0]);
  const [only] = snapshots;
  assert.ok(only);
  return only.snapshot.tree;
}

test("a restic that can be run is there", async () => {
  assert.ok(resticPaths().length > 0);
});
