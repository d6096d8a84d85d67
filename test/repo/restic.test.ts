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
import { silent } from "../../src/base/progress.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { restoreTree } from "../../src/repo/restore-tree.ts";
import { verifyRepository } from "../../src/repo/verify.ts";
import { findPath } from "../../src/repo/walk.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { resticPaths, runRestic } from "../harness/restic.ts";
import { run } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
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

for (const { path: restic, version } of resticPaths()) {
  test(`restic ${version} checks, lists and restores what we wrote`, async () => {
    await using folder = await temporaryFolder();
    makeFolder(folder.at("source"));
    const repo = folder.at("repository");
    const repository = await newRepository(openLocalStore(repo));
    const id = await backUpFolder(repository, folder.at("source"));
    const options = { repo, password: PASSWORD, restic };

    await runRestic(["check", "--read-data"], options);
    const listed = JSON.parse((await runRestic(["snapshots", "--json"], options)).stdout) as { id: string }[];
    assert.deepEqual(
      listed.map((snapshot) => snapshot.id),
      [id],
    );
    await runRestic(["restore", id, "--target", folder.at("restored")], options);
    assert.deepEqual(await contentsOf(folder.at("restored")), await contentsOf(folder.at("source")));
    assert.deepEqual(await factsOf(folder.at("restored")), await factsOf(folder.at("source")));
  });

  test(`we restore what restic ${version} wrote`, async () => {
    await using folder = await temporaryFolder();
    makeFolder(folder.at("source"));
    linkSync(join(folder.at("source"), "text"), join(folder.at("source"), "hard link"));
    const options = { repo: folder.at("repository"), password: PASSWORD, restic };
    await runRestic(["init"], options);
    await runRestic(["backup", "."], { ...options, cwd: folder.at("source") });

    const repository = await openRepository(openLocalStore(options.repo), { password: PASSWORD, signal });
    const { snapshots, damaged } = await repository.listSnapshots({ signal });
    assert.deepEqual(damaged, []);
    const [only] = snapshots;
    assert.ok(only);
    const below = folder.at("source").split("/").filter(Boolean).join("/");
    const found = await findPath(repository, only.snapshot.tree, "large", { signal });
    const root =
      found === undefined
        ? (await findPath(repository, only.snapshot.tree, below, { signal }))?.subtree
        : only.snapshot.tree;
    assert.ok(root);
    const result = await restoreTree(repository, root, folder.at("restored"), { signal, progress: silent });
    assert.deepEqual(result.problems, []);
    assert.deepEqual(await contentsOf(folder.at("restored")), await contentsOf(folder.at("source")));
    assert.deepEqual(await factsOf(folder.at("restored")), await factsOf(folder.at("source")));
    const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, []);
  });

  test(`after restic ${version} has backed up, forgotten and pruned in it, all of ours still verifies and restores`, async () => {
    await using folder = await temporaryFolder();
    makeFolder(folder.at("source"));
    const repo = folder.at("repository");
    const options = { repo, password: PASSWORD, restic };
    const repository = await newRepository(openLocalStore(repo));
    await backUpFolder(repository, folder.at("source"));
    mkdirSync(folder.at("other"));
    writeFileSync(folder.at("other", "file"), randomBytes(2 << 20));
    await runRestic(["backup", folder.at("other")], options);
    await runRestic(["forget", "--host", "test-host", "--keep-last", "1"], options);
    const all = JSON.parse((await runRestic(["snapshots", "--json"], options)).stdout) as {
      id: string;
      hostname: string;
    }[];
    const theirs = all.find((snapshot) => snapshot.hostname !== "test-host");
    assert.ok(theirs);
    await runRestic(["forget", theirs.id, "--prune"], options);
    await runRestic(["check", "--read-data"], options);

    const after = await openRepository(openLocalStore(repo), { password: PASSWORD, signal });
    const { problems } = await verifyRepository(after, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, []);
    const { snapshots } = await after.listSnapshots({ signal });
    assert.equal(snapshots.length, 1);
    const [only] = snapshots;
    assert.ok(only);
    await restoreTree(after, only.snapshot.tree, folder.at("restored"), { signal, progress: silent });
    assert.deepEqual(await contentsOf(folder.at("restored")), await contentsOf(folder.at("source")));
    // And we go on from there: nothing is stored twice.
    const packs = (await after.loadIndex({ signal })).packCount;
    await backUpFolder(after, folder.at("source"));
    assert.equal((await after.loadIndex({ signal })).packCount, packs);
    await runRestic(["check", "--read-data"], options);
  });

  test(`keys that restic ${version} adds open the repository, and the first one still does`, async () => {
    await using folder = await temporaryFolder();
    const repo = folder.at("repository");
    const repository = await newRepository(openLocalStore(repo));
    writeFileSync(folder.at("second"), "second password\n");
    await runRestic(["key", "add", "--new-password-file", folder.at("second")], { repo, password: PASSWORD, restic });
    for (const password of [PASSWORD, "second password"]) {
      const opened = await openRepository(openLocalStore(repo), { password, signal });
      assert.equal(opened.config.id, repository.config.id);
    }
    await runRestic(["check"], { repo, password: "second password", restic });
  });

  test(`what restic ${version} left of format version 1 is read`, async () => {
    await using folder = await temporaryFolder();
    mkdirSync(folder.at("source"));
    writeFileSync(folder.at("source", "text"), text(2 << 20));
    const options = { repo: folder.at("repository"), password: PASSWORD, restic };
    await runRestic(["init", "--repository-version", "1"], options);
    await runRestic(["backup", "."], { ...options, cwd: folder.at("source") });
    const store = openLocalStore(options.repo);
    await assert.rejects(openRepository(store, { password: PASSWORD, signal }), { code: "repo/unsupported" });
    await runRestic(["migrate", "upgrade_repo_v2"], options);
    const repository = await openRepository(store, { password: PASSWORD, signal });
    const { snapshots } = await repository.listSnapshots({ signal });
    const [only] = snapshots;
    assert.ok(only);
    const result = await restoreTree(repository, only.snapshot.tree, folder.at("restored"), {
      signal,
      progress: silent,
    });
    assert.equal(result.files, 1);
    assert.deepEqual(result.problems, []);
    const { problems } = await verifyRepository(repository, { readData: "all", signal, progress: silent });
    assert.deepEqual(problems, []);
  });

  test(`restic ${version} is not disturbed by half-written files of ours`, async (t) => {
    await using folder = await temporaryFolder();
    const repo = folder.at("repository");
    const store = openLocalStore(repo);
    const repository = await newRepository(store);
    mkdirSync(folder.at("source"));
    writeFileSync(folder.at("source", "a"), "a");
    await backUpFolder(repository, folder.at("source"));
    const half = await store.begin("data", { signal });
    await half.write(randomBytes(100_000));
    t.after(async () => await half.abort());
    const options = { repo, password: PASSWORD, restic };
    const { stdout, stderr } = await runRestic(["check", "--read-data"], options);
    assert.doesNotMatch(stdout + stderr, /tmp|unexpected|chatkeep|warning/i);
    await runRestic(["prune"], options);
  });
}

test("a restic that can be run is there", async () => {
  assert.ok(resticPaths().length > 0);
  for (const { path } of resticPaths()) assert.equal((await run(path, ["version"])).status, 0);
});
