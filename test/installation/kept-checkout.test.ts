import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, symlink, truncate } from "node:fs/promises";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { clearWay, keepCheckout, keepInTheWay, putCheckoutBack } from "../../src/installation/kept-checkout.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";
import { readFolder } from "../harness/tree.ts";
import { commit, git, makeCheckout, makeUpstream, write } from "./checkout.ts";

const signal = new AbortController().signal;

/** A checkout in which everything is in disorder, and the commit of other code that is to come. */
async function makeDisorder(folder: TestFolder): Promise<{ root: string; other: string }> {
  const root = folder.at("app");
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), root);
  await git(root, "checkout", "--quiet", "-b", "other");
  await write(root, "added.rb", "added\n");
  await write(root, "cache/ignored.txt", "tracked there\n");
  const other = await commit(root, "other");
  await git(root, "checkout", "--quiet", "master");
  await write(root, "README.md", "staged\n");
  await write(root, "new-staged.rb", "new\n");
  await git(root, "add", "--all");
  await write(root, "README.md", "staged and edited\n");
  await git(root, "rm", "--quiet", "--cached", "logo.bin");
  await chmod(`${root}/config/app.yml`, 0o755);
  await write(root, "added.rb", "untracked, in the way\n");
  await write(root, ".git/info/exclude", "/cache\n");
  await write(root, "cache/ignored.txt", "ignored, in the way\n");
  await write(root, "notes/mine.txt", "present\n");
  await mkdir(folder.at("beyond"));
  await write(folder.at("beyond"), "x.txt", "none of ours\n");
  await symlink(folder.at("beyond"), `${root}/outside`);
  return { root, other };
}

async function stateOf(folder: TestFolder, root: string): Promise<unknown> {
  const asked = [["status", "--porcelain=v2"], ["for-each-ref"], ["diff"], ["diff", "--cached"], ["remote", "-v"]];
  return {
    files: await readFolder(root, { except: (path) => path === ".git" }),
    index: (await readFile(`${root}/.git/index`)).toString("hex"),
    head: await readFile(`${root}/.git/HEAD`, "utf8"),
    beyond: await readFolder(folder.at("beyond")),
    said: await Promise.all(asked.map(async (question) => await git(root, ...question))),
  };
}

test("a checkout in disorder gives way to other code, and is put back to the byte, index and branches too", async () => {
  await using folder = await temporaryFolder();
  const { root, other } = await makeDisorder(folder);
  // Git refreshes what it knows of times when it is asked; that is no change.
  await git(root, "status");
  const before = await stateOf(folder, root);
  await write(folder.at("saved"), "notes/mine.txt", "saved\n");
  await write(folder.at("saved"), "outside/x.txt", "saved\n");
  const kept = await keepCheckout(root, folder.at("kept"), { label: "one", signal });
  assert(kept);
  const untracked = ["notes/mine.txt", "outside/x.txt", "not/there.txt"];
  const whole = await keepInTheWay(kept, folder.at("kept"), {
    commit: other,
    saved: folder.at("saved"),
    untracked,
    signal,
  });
  await clearWay(whole, { signal });
  await git(root, "checkout", "--quiet", "--detach", other);
  assert.equal(await readFile(`${root}/cache/ignored.txt`, "utf8"), "tracked there\n");
  await write(root, "not/there.txt", "placed\n");
  await git(root, "branch", "made-meanwhile");
  await git(root, "update-ref", "refs/heads/master", other);
  await git(root, "update-ref", "refs/chatkeep/HEAD", other);
  const plain = JSON.parse(JSON.stringify(whole)) as typeof whole;
  for (let time = 0; time < 2; time += 1) {
    await putCheckoutBack(plain, folder.at("kept"), { signal });
    const now = (await stateOf(folder, root)) as { index: string };
    assert.deepEqual(now, before, `time ${time}`);
  }
});

test("what a git that was cut off left is in nobody's way: its lock, half an index, half a work tree", async () => {
  await using folder = await temporaryFolder();
  const { root, other } = await makeDisorder(folder);
  await git(root, "status");
  const before = await stateOf(folder, root);
  const kept = await keepCheckout(root, folder.at("kept"), { label: "one", signal });
  assert(kept);
  const whole = await keepInTheWay(kept, folder.at("kept"), {
    commit: other,
    saved: folder.at("saved"),
    untracked: [],
    signal,
  });
  await clearWay(whole, { signal });
  await git(root, "checkout", "--quiet", "--detach", other);
  const index = `${root}/.git/index`;
  await truncate(index, 100);
  await write(root, ".git/index.lock", "half of another");
  await write(root, "README.md", "half of");
  await putCheckoutBack(whole, folder.at("kept"), { signal });
  assert.deepEqual(await stateOf(folder, root), before);

  // One that works there is not disturbed: it is waited for.
  await write(root, ".git/index.lock", "its own");
  const works = spawn("git", ["cat-file", "--batch"], { cwd: root, stdio: ["pipe", "ignore", "ignore"] });
  await once(works, "spawn");
  const undone = putCheckoutBack(whole, folder.at("kept"), { signal });
  const first = await Promise.race([undone.then(() => "undone"), sleep(1500, "waits")]);
  assert.deepEqual([first, await readFile(`${root}/.git/index.lock`, "utf8")], ["waits", "its own"]);
  works.stdin.end();
  await undone;
  assert.deepEqual(await stateOf(folder, root), before);
});

test("a checkout without a commit is not kept", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.at("app"));
  await git(folder.at("app"), "init", "--quiet");
  assert.equal(await keepCheckout(folder.at("app"), folder.at("kept"), { label: "one", signal }), undefined);
});
