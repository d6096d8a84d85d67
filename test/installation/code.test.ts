import assert from "node:assert/strict";
import { chmod, chown, copyFile, mkdir, readFile, symlink, truncate, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { verifyBundle } from "../../src/installation/bundle.ts";
import { captureCode, type CodeCapture, type CodeOptions, stripCredentials } from "../../src/installation/code.ts";
import { walkFiles } from "../../src/installation/code-files.ts";
import { readCodeInfo } from "../../src/installation/code-info.ts";
import { serverUser } from "../harness/postgres.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { commit, git, makeCheckout, makeUpstream, ORIGIN, write } from "./checkout.ts";

const signal = new AbortController().signal;

async function prepare(): Promise<{ folder: TestFolder; checkout: string; upstream: string }> {
  const folder = await temporaryFolder();
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), folder.at("app"));
  return { folder, checkout: folder.at("app"), upstream: folder.at("upstream") };
}

let captures = 0;
async function capture(
  folder: TestFolder,
  options: Partial<CodeOptions> = {},
  root = folder.at("app"),
): Promise<CodeCapture> {
  captures += 1;
  return await captureCode(root, { signal, into: folder.at(`into-${captures}`), ...options });
}

function pathsOf(code: CodeCapture): string[] {
  return code.files.map((file) => file.path);
}

async function contentOf(code: CodeCapture, path: string): Promise<string> {
  return await readFile(code.files.find((file) => file.path === path)?.absolute ?? "", "utf8");
}

test("a clean checkout of upstream needs no bundle, only its description", async () => {
  const { folder } = await prepare();
  await using _ = folder;
  const code = await capture(folder);
  assert.deepEqual(pathsOf(code), ["info.json"]);
  assert.deepEqual(
    [code.isDirty, code.hasBundle, code.findings, code.origin, code.branch],
    [false, false, [], ORIGIN, "master"],
  );
  assert.equal(code.head, await git(folder.at("app"), "rev-parse", "HEAD"));
  const info = await readCodeInfo(dirname(code.files[0]?.absolute ?? ""));
  assert.deepEqual([info.head, info.hasBundle, info.isShallow], [code.head, false, false]);
});

test("commits of every local branch, of a detached HEAD and of the newest stash are bundled, and nothing that upstream has", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  const base = await git(checkout, "rev-parse", "HEAD");
  await git(checkout, "checkout", "--quiet", "-b", "custom");
  await write(checkout, "custom/mine.rb", "1\n");
  const custom = await commit(checkout, "mine");
  await git(checkout, "checkout", "--quiet", "--detach");
  await write(checkout, "custom/detached.rb", "2\n");
  const detached = await commit(checkout, "detached");
  await write(checkout, "README.md", "stashed\n");
  await git(checkout, "stash");
  const code = await capture(folder);
  assert.deepEqual([code.hasBundle, code.isDirty, code.branch, code.head], [true, false, undefined, detached]);
  const bundle = code.files.find((file) => file.path === "commits.bundle")?.absolute ?? "";
  const verdict = await verifyBundle(bundle, { signal });
  assert.equal(verdict.ok, true);
  assert.deepEqual(verdict.header?.prerequisites, [base]);
  const refs = Object.fromEntries((verdict.header?.refs ?? []).map(({ name, commit }) => [name, commit]));
  assert.equal(refs["refs/heads/custom"], custom);
  assert.equal(refs["HEAD"], detached);
  assert.ok("refs/stash" in refs);
});

test("staged and unstaged changes, binary ones too, and untracked files are saved apart", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await write(checkout, "README.md", "staged\n");
  await git(checkout, "add", "README.md");
  await write(checkout, "app/models/message.rb", "unstaged\n");
  await write(checkout, "logo.bin", Buffer.from([9, 0, 255]));
  await write(checkout, 'new dir/ünïcode "quoted".txt', "new\n");
  await write(checkout, ".env", "SECRET=1\n");
  await write(checkout, "storage/ab/cd/abcd", "blob");
  await symlink("../README.md", join(checkout, "new dir/link"));
  const code = await capture(folder);
  assert.deepEqual(pathsOf(code), [
    "info.json",
    "staged.diff",
    "unstaged.diff",
    "untracked/new dir/link",
    'untracked/new dir/ünïcode "quoted".txt',
  ]);
  assert.match(await contentOf(code, "staged.diff"), /^\+staged$/m);
  assert.doesNotMatch(await contentOf(code, "staged.diff"), /unstaged/);
  assert.match(await contentOf(code, "unstaged.diff"), /GIT binary patch/);
  assert.equal(code.isDirty, true);
  assert.deepEqual(
    code.findings.map(({ kind, level }) => ({ kind, level })),
    [{ kind: "code-dirty", level: "note" }],
  );
});

test("an edit that assume-unchanged or skip-worktree hides from git is saved all the same", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await git(checkout, "update-index", "--assume-unchanged", "README.md");
  await git(checkout, "update-index", "--skip-worktree", "logo.bin");
  await write(checkout, "README.md", "hidden edit\n");
  await write(checkout, "logo.bin", "hidden too\n");
  assert.equal(await git(checkout, "status", "--porcelain"), "");
  const diff = await contentOf(await capture(folder), "unstaged.diff");
  assert.match(diff, /^\+hidden edit$/m);
  assert.match(diff, /^diff --git a\/logo\.bin/m);
});

test("an edit of the very moment at which git wrote its index, that changes no length, is saved", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  // What of a file's times says that it was edited must be the same before and after.
  await git(checkout, "config", "core.trustctime", "false");
  const moment = new Date("2026-01-02T03:04:05Z");
  await utimes(join(checkout, "README.md"), moment, moment);
  await git(checkout, "update-index", "--refresh");
  await write(checkout, "README.md", "# CHATWOOT\n\nLive chat.\n");
  for (const path of ["README.md", ".git/index"]) await utimes(join(checkout, path), moment, moment);
  assert.match(await contentOf(await capture(folder), "unstaged.diff"), /^\+# CHATWOOT$/m);
});

test("upstream is the remote named origin, or else the first; a branch is told by its own name, whatever is named so too", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await git(checkout, "tag", "master");
  for (const name of ["ours", "a.b"]) await git(checkout, "remote", "add", name, `https://example.com/${name}.git`);
  const code = await capture(folder);
  assert.deepEqual([code.origin, code.branch], [ORIGIN, "master"]);
  await git(checkout, "remote", "remove", "origin");
  assert.equal((await capture(folder)).origin, "https://example.com/a.b.git");
});

test("the checkout is left exactly as it was, its index and times of files included", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await write(checkout, "README.md", "edited\n");
  // Touched and not changed: git would like to write that into its index.
  await copyFile(join(checkout, "logo.bin"), join(checkout, "logo.copy"));
  await copyFile(join(checkout, "logo.copy"), join(checkout, "logo.bin"));
  await git(checkout, "update-index", "--assume-unchanged", "app/models/message.rb");
  const before = await readFolder(checkout, { folders: true });
  const code = await capture(folder);
  assert.deepEqual(await readFolder(checkout, { folders: true }), before);
  assert.doesNotMatch(await contentOf(code, "unstaged.diff"), /logo\.bin/);
});

test("saving the same code twice makes the same bytes", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await write(checkout, "a.rb", "a\n");
  await commit(checkout, "mine");
  await write(checkout, "README.md", "edited\n");
  const [first, second] = [await capture(folder), await capture(folder)];
  assert.deepEqual(pathsOf(first), pathsOf(second));
  for (const path of pathsOf(first)) assert.equal(await contentOf(first, path), await contentOf(second, path), path);
});

test("without a remote, or with one on this machine, everything is bundled", async () => {
  const { folder, checkout, upstream } = await prepare();
  await using _ = folder;
  for (const act of [
    ["remote", "set-url", "origin", upstream],
    ["remote", "remove", "origin"],
  ]) {
    await git(checkout, ...act);
    const code = await capture(folder);
    const bundle = code.files.find((file) => file.path === "commits.bundle")?.absolute ?? "";
    const verdict = await verifyBundle(bundle, { signal });
    assert.deepEqual([verdict.ok, verdict.unpacked, verdict.header?.prerequisites], [true, true, []]);
  }
});

test("a shallow clone bundles its own commits, and without a remote its files are saved", async () => {
  const { folder, upstream } = await prepare();
  await using _ = folder;
  const shallow = folder.at("shallow");
  await git(folder.path, "clone", "--quiet", "--depth", "1", `file://${upstream}`, shallow);
  await git(shallow, "remote", "set-url", "origin", ORIGIN);
  await write(shallow, "mine.rb", "mine\n");
  await commit(shallow, "mine");
  const code = await capture(folder, {}, shallow);
  assert.ok(pathsOf(code).includes("commits.bundle"));
  await git(shallow, "remote", "remove", "origin");
  const alone = await capture(folder, {}, shallow);
  assert.equal(alone.hasBundle, false);
  assert.ok(pathsOf(alone).includes("files/mine.rb") && pathsOf(alone).includes("files/README.md"));
  assert.ok(alone.findings.some((finding) => finding.kind === "code-shallow"));
});

test("a repository without a single commit is saved", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.at("app"));
  await git(folder.at("app"), "init", "--quiet");
  await write(folder.at("app"), "staged.rb", "s\n");
  await git(folder.at("app"), "add", "--all");
  await write(folder.at("app"), "untracked.rb", "u\n");
  const code = await capture(folder);
  assert.deepEqual(pathsOf(code), ["info.json", "staged.diff", "untracked/untracked.rb"]);
  assert.deepEqual([code.head, code.branch], [undefined, "master"]);
});

test("what is saved elsewhere is left out of the untracked files", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await write(checkout, ".gitignore", "");
  await write(checkout, "storage/ab/cd/abcd", "blob");
  await write(checkout, "st[o]rage.txt", "kept");
  await write(checkout, ".env", "S=1");
  const code = await capture(folder, {
    except: [join(checkout, "storage"), join(checkout, ".env"), "/somewhere/else"],
  });
  assert.deepEqual(
    pathsOf(code).filter((path) => path.startsWith("untracked/")),
    ["untracked/st[o]rage.txt"],
  );
});

test("large files, repositories inside and conflicts are told, never skipped in silence", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await write(checkout, "dump.sql", "");
  await truncate(join(checkout, "dump.sql"), LIMITS.codeFileMaxBytes + 1);
  await mkdir(join(checkout, "plugin"));
  await git(join(checkout, "plugin"), "init", "--quiet");
  await write(checkout, "plugin/x.rb", "x\n");
  await commit(join(checkout, "plugin"), "x");
  await git(checkout, "checkout", "--quiet", "-b", "other", "HEAD~1");
  await write(checkout, "README.md", "another way\n");
  await git(checkout, "add", "README.md");
  await git(checkout, "commit", "--quiet", "--message", "other");
  await assert.rejects(git(checkout, "merge", "master"));
  const code = await capture(folder);
  const told = code.findings.map((finding) => `${finding.kind} ${finding.level}`);
  assert.deepEqual(told.toSorted(), [
    "code-conflicts warning",
    "code-dirty note",
    "code-file-not-saved warning",
    "code-file-not-saved warning",
  ]);
  assert.ok(pathsOf(code).includes("conflicted/README.md"));
  assert.match(await contentOf(code, "unstaged.diff"), /^diff --git a\/README\.md/);
  assert.match(
    code.findings.map((finding) => finding.message).join("\n"),
    /dump\.sql is not saved: it is an untracked file of 256 MiB/,
  );
});

test("submodules are named with their commits", async () => {
  const { folder, checkout, upstream } = await prepare();
  await using _ = folder;
  await git(checkout, "submodule", "--quiet", "add", upstream, "engine");
  await commit(checkout, "a submodule");
  const code = await capture(folder);
  const info = await readCodeInfo(dirname(code.files[0]?.absolute ?? ""));
  assert.deepEqual(info.submodules, [{ path: "engine", commit: await git(upstream, "rev-parse", "HEAD") }]);
  assert.ok(code.findings.some((finding) => finding.kind === "code-submodules" && finding.level === "note"));
});

test("nothing that a hostile checkout names is run", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  const touched = folder.at("touched");
  const script = folder.at("run.sh");
  await write(folder.path, "run.sh", `#!/bin/sh\ntouch ${touched}\ncat\n`);
  await chmod(script, 0o755);
  await write(checkout, ".gitattributes", "* filter=evil diff=evil\n");
  for (const [name, value] of [
    ["core.fsmonitor", script],
    ["core.hooksPath", folder.path],
    ["core.pager", script],
    ["core.sshCommand", script],
    ["diff.external", script],
    ["diff.evil.command", script],
    ["diff.evil.textconv", script],
    ["filter.evil.clean", script],
    ["filter.evil.smudge", script],
    ["filter.evil.required", "true"],
    ["remote.origin.uploadpack", script],
    ["credential.helper", script],
  ] as const) {
    await git(checkout, "config", name, value);
  }
  for (const hook of ["post-index-change", "pre-auto-gc", "reference-transaction", "post-checkout"]) {
    await copyFile(script, join(checkout, ".git/hooks", hook));
  }
  await write(checkout, "README.md", "edited\n");
  const code = await capture(folder);
  assert.match(await contentOf(code, "unstaged.diff"), /^\+edited$/m);
  await assert.rejects(readFile(touched), { code: "ENOENT" });
});

test("git's own variables of whoever runs us are not obeyed", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  const saved = process.env["GIT_DIR"];
  process.env["GIT_DIR"] = "/nowhere";
  try {
    const code = await capture(folder);
    assert.equal(code.branch, "master");
  } finally {
    if (saved === undefined) delete process.env["GIT_DIR"];
    else process.env["GIT_DIR"] = saved;
  }
  assert.ok(checkout.length > 0);
});

const other = serverUser();
test(
  "another user's checkout is read, as that user where we are root",
  { skip: other === undefined && "only root can own files of others" },
  async () => {
    const { folder, checkout } = await prepare();
    await using _ = folder;
    assert.ok(other !== undefined);
    await chmod(folder.path, 0o755);
    await write(checkout, "README.md", "edited\n");
    await write(checkout, "only-root.txt", "secret of root\n");
    for (const path of await everyPath(checkout)) await chown(path, other.uid, other.gid);
    await chown(join(checkout, "only-root.txt"), 0, 0);
    await write(checkout, "custom/hidden.rb", "secret of root\n");
    await chmod(join(checkout, "custom"), 0o700);
    const code = await capture(folder);
    assert.match(await contentOf(code, "unstaged.diff"), /^\+edited$/m);
    // What its user may not look into is told, for git only warns of it.
    const [unsaved] = code.findings.filter(({ kind }) => kind === "code-file-not-saved");
    assert.equal(unsaved?.message, `${join(checkout, "custom")} is not saved: git may not look into it`);
    const elsewhere = await capture(folder, { except: [join(checkout, "custom")] });
    assert.ok(elsewhere.findings.every(({ kind }) => kind !== "code-file-not-saved"));
    // Behind a folder that only root may pass, it is read as root.
    await chmod(folder.path, 0o700);
    assert.match(await contentOf(await capture(folder), "unstaged.diff"), /^\+edited$/m);
  },
);

async function everyPath(root: string): Promise<string[]> {
  const below = Object.keys(await readFolder(root, { folders: true }));
  return [root, ...below.map((path) => join(root, path))];
}

test("a checkout that git does not understand is a finding, not the end of the backup", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/.git", "gitdir: /nowhere\n");
  const code = await capture(folder);
  assert.deepEqual([code.files, code.findings[0]?.kind, code.findings[0]?.level], [[], "code-not-saved", "warning"]);
});

test("without git, all files of the folder are saved but what installing makes again", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/lib/a.rb", "a");
  await write(folder.path, "app/b.rb", "b");
  await write(folder.path, "app/node_modules/x/index.js", "x");
  await write(folder.path, "app/lib/tmp/kept.rb", "k");
  await write(folder.path, "app/storage/ab/cd/abcd", "blob");
  await symlink("b.rb", folder.at("app/c.rb"));
  const code = await capture(folder, { except: [folder.at("app/storage")] });
  assert.deepEqual(pathsOf(code), ["info.json", "files/b.rb", "files/c.rb", "files/lib/a.rb", "files/lib/tmp/kept.rb"]);
  assert.deepEqual(
    code.findings.map((finding) => finding.kind),
    ["code-folders-left-out"],
  );
  assert.equal(code.kind, "files");
});

test("a file that goes while the folder is looked through is no error", async () => {
  // The folder of our own open files lists the handle that it is being read through, which is closed by then.
  const { paths, findings } = await walkFiles("/proc/self/fd", { signal });
  assert.ok(paths.length > 0);
  assert.deepEqual(findings, []);
});

test("credentials are taken out of an origin's address", () => {
  for (const [url, expected] of [
    ["https://github.com/a/b.git", "https://github.com/a/b.git"],
    ["https://user:token@github.com/a/b.git", "https://github.com/a/b.git"],
    ["https://token@github.com/a/b.git?private_token=x#y", "https://github.com/a/b.git"],
    ["https://user:p@ss@host/a", "https://host/a"],
    ["ssh://git:secret@host:22/a/b.git", "ssh://git@host:22/a/b.git"],
    ["git@github.com:a/b.git", "git@github.com:a/b.git"],
    ["user:secret@host:a/b.git", "user@host:a/b.git"],
    ["/srv/git/a.git", "/srv/git/a.git"],
    ["../up", "../up"],
  ] as const) {
    assert.equal(stripCredentials(url), expected);
  }
});

test("a token in the origin's address is saved nowhere", async () => {
  const { folder, checkout } = await prepare();
  await using _ = folder;
  await git(checkout, "remote", "set-url", "origin", "https://me:t0ps3cret@github.com/chatwoot/chatwoot.git");
  await write(checkout, "mine.rb", "mine\n");
  await commit(checkout, "mine");
  const code = await capture(folder);
  assert.equal(code.origin, ORIGIN);
  for (const file of code.files) assert.equal((await readFile(file.absolute)).includes("t0ps3cret"), false, file.path);
  assert.equal(JSON.stringify(code).includes("t0ps3cret"), false);
});
