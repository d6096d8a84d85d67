import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, readlink, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { captureCode } from "../../src/installation/code.ts";
import { restoreCode } from "../../src/installation/restore-code.ts";
import { mustRun } from "../harness/run.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { commit, git, makeCheckout, makeUpstream, write } from "./checkout.ts";

const signal = new AbortController().signal;

/** Saves a checkout's code as a restore point would give it back: the pieces in one folder. */
async function save(folder: TestFolder, root = folder.at("app")): Promise<string> {
  const code = await captureCode(root, { signal, into: folder.at("into") });
  const pieces = folder.at("pieces");
  for (const file of code.files) {
    const target = join(pieces, file.path);
    await mkdir(dirname(target), { recursive: true });
    const link = await readlink(file.absolute).catch(() => undefined);
    if (link === undefined) await copyFile(file.absolute, target);
    else await symlink(link, target);
  }
  return pieces;
}

async function workTree(root: string): Promise<Record<string, string>> {
  return await readFolder(root, { except: (path) => path === ".git" });
}

/** A checkout with everything that can be special about it. */
async function customise(checkout: string): Promise<void> {
  await git(checkout, "checkout", "--quiet", "-b", "side");
  await write(checkout, "side.rb", "side\n");
  await commit(checkout, "side");
  await git(checkout, "checkout", "--quiet", "master");
  await write(checkout, "custom/mine.rb", "mine\n");
  await commit(checkout, "mine");
  await write(checkout, "README.md", "staged\r\n\n trailing \n");
  await write(checkout, "added.bin", Buffer.from([0, 200, 13, 10]));
  await git(checkout, "add", "--all");
  await write(checkout, "README.md", "staged\r\n\n trailing \nand unstaged, without a line end");
  await git(checkout, "rm", "--quiet", "--cached", "logo.bin");
  await write(checkout, "app/models/message.rb", "");
  await write(checkout, "new/ü.txt", "new\n");
  await mustRun("chmod", ["755", join(checkout, "config/app.yml")]);
  await symlink("../README.md", join(checkout, "new/link"));
}

test("a checkout with everything special comes back into a clone of upstream, the same in every part", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), folder.at("app"));
  await customise(folder.at("app"));
  const pieces = await save(folder);
  await makeCheckout(folder.at("upstream"), folder.at("target"));
  const restored = await restoreCode(pieces, folder.at("target"), { signal });
  assert.deepEqual(restored.conflicts, []);
  assert.equal(restored.complete, true);
  assert.deepEqual(await workTree(folder.at("target")), await workTree(folder.at("app")));
  for (const question of [
    ["status", "--porcelain"],
    ["rev-parse", "HEAD", "master", "side"],
    ["symbolic-ref", "HEAD"],
    ["diff", "--cached"],
    ["diff"],
  ]) {
    assert.equal(
      await git(folder.at("target"), ...question),
      await git(folder.at("app"), ...question),
      question.join(" "),
    );
  }
});

test("code that no other place has comes back into an empty folder", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("app"));
  await write(folder.at("app"), "README.md", "edited\n");
  const pieces = await save(folder);
  const restored = await restoreCode(pieces, folder.at("deep/target"), { signal });
  assert.deepEqual(restored.conflicts, []);
  assert.deepEqual(await workTree(folder.at("deep/target")), await workTree(folder.at("app")));
  assert.equal(
    await git(folder.at("deep/target"), "log", "--oneline", "master"),
    await git(folder.at("app"), "log", "--oneline"),
  );
});

test("without upstream's commits nothing is applied, and it is said which are lacking", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), folder.at("app"));
  await write(folder.at("app"), "mine.rb", "mine\n");
  await commit(folder.at("app"), "mine");
  const pieces = await save(folder);
  const restored = await restoreCode(pieces, folder.at("target"), { signal });
  assert.equal(restored.complete, false);
  assert.match(restored.conflicts[0] ?? "", /lacks commit [0-9a-f]{10} of https:\/\/github\.com\/chatwoot/);
  assert.deepEqual(await workTree(folder.at("target")), {});
});

test("changes of the target are never overwritten", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), folder.at("app"));
  await customise(folder.at("app"));
  const pieces = await save(folder);
  await makeCheckout(folder.at("upstream"), folder.at("target"));
  await write(folder.at("target"), "README.md", "precious\n");
  const before = await readFolder(folder.at("target"));
  const restored = await restoreCode(pieces, folder.at("target"), { signal });
  assert.match(restored.conflicts[0] ?? "", /has changes of its own/);
  assert.deepEqual(await readFolder(folder.at("target")), before);
  const strange = folder.at("strange");
  await write(strange, "file", "x");
  assert.match((await restoreCode(pieces, strange, { signal })).conflicts[0] ?? "", /not empty and no git checkout/);
});

test("a branch that went another way and an untracked file that differs are left, and told", async () => {
  await using folder = await temporaryFolder();
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), folder.at("app"));
  await write(folder.at("app"), "mine.rb", "mine\n");
  const saved = await commit(folder.at("app"), "mine");
  await write(folder.at("app"), "notes.txt", "saved\n");
  await write(folder.at("app"), "outside/x.txt", "saved\n");
  const pieces = await save(folder);
  await makeCheckout(folder.at("upstream"), folder.at("target"));
  await write(folder.at("target"), "other.rb", "other\n");
  const present = await commit(folder.at("target"), "other");
  await write(folder.at("target"), "notes.txt", "present\n");
  await mkdir(folder.at("beyond"));
  await symlink(folder.at("beyond"), folder.at("target/outside"));
  const restored = await restoreCode(pieces, folder.at("target"), { signal });
  assert.equal(restored.conflicts.length, 3);
  assert.match(restored.conflicts[0] ?? "", /branch master .* has other commits/);
  assert.equal(await git(folder.at("target"), "rev-parse", "master"), present);
  assert.equal(await git(folder.at("target"), "rev-parse", "HEAD"), saved);
  assert.equal(await readFile(folder.at("target/notes.txt"), "utf8"), "present\n");
  assert.deepEqual(await readFolder(folder.at("beyond")), {});
});

test("files saved without git are put where nothing is", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/lib/a.rb", "a\n");
  await write(folder.path, "app/b.rb", "b\n");
  const pieces = await save(folder);
  await write(folder.path, "target/b.rb", "another\n");
  const restored = await restoreCode(pieces, folder.at("target"), { signal });
  assert.equal(restored.conflicts.length, 1);
  assert.equal(await readFile(folder.at("target/lib/a.rb"), "utf8"), "a\n");
  assert.equal(await readFile(folder.at("target/b.rb"), "utf8"), "another\n");
});

test("pieces without a description are refused", async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(restoreCode(folder.path, folder.at("t"), { signal }), (error) =>
    isFailure(error, "point/invalid"),
  );
  await write(folder.path, "info.json", '{"schema":2}');
  await assert.rejects(restoreCode(folder.path, folder.at("t"), { signal }), (error) =>
    isFailure(error, "point/invalid"),
  );
});
