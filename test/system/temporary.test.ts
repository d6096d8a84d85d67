import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { ownMark } from "../../src/system/leftovers.ts";
import { openTemporaryFolder } from "../../src/system/temporary.ts";
import { temporaryFolder } from "../harness/temporary.ts";

/** This machine's mark with another process's number. */
function markOf(pid: number): string {
  return ownMark().replace(/\d+$/, String(pid));
}

test("a temporary folder is private, and gone at the end with everything in it", async () => {
  await using parent = await temporaryFolder();
  let path = "";
  {
    await using folder = await openTemporaryFolder("chatkeep-code", parent.path);
    path = folder.path;
    writeFileSync(`${path}/file`, "x");
  }
  assert.equal(existsSync(path), false);
});

test("a folder for temporary files that is not there is said with what to do, and is no fault of ours", async () => {
  await using parent = await temporaryFolder();
  await assert.rejects(openTemporaryFolder("chatkeep-code", parent.at("gone")), (error: unknown) => {
    assert.ok(isFailure(error, "store/denied"), String(error));
    assert.match(`${error.message} ${error.hint}`, /cannot make a temporary folder in '.*gone'.*Set TMPDIR/);
    return true;
  });
});

test("what killed runs of this machine left goes when the next one begins, and nothing else", async () => {
  await using parent = await temporaryFolder();
  const dead = spawnSync("true").pid;
  const [machine = "", boot = "", processes = ""] = ownMark().split(".");
  const gone = [`chatkeep-code-${markOf(dead)}-AbCd12`, `chatkeep-git-${machine}.000000.${processes}.1-AbCd12`];
  const kept = [
    `chatkeep-code-${markOf(process.pid)}-AbCd12`,
    `chatkeep-code-000000.${boot}.${processes}.${dead}-AbCd12`,
    `chatkeep-code-${machine}.${boot}.000000.${dead}-AbCd12`,
    `chatkeep-AbCd12`,
    `other-code-${markOf(dead)}-AbCd12`,
  ];
  for (const name of [...gone, ...kept]) {
    mkdirSync(parent.at(name));
    writeFileSync(parent.at(`${name}/file`), "x");
  }
  await using folder = await openTemporaryFolder("chatkeep-drill", parent.path);
  assert.deepEqual(readdirSync(parent.path).toSorted(), [...kept, basename(folder.path)].toSorted());
});

test("what was given to another user goes where that user is named, and stays otherwise", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("only root can give folders away");
  await using parent = await temporaryFolder();
  const left = parent.at(`chatkeep-server-${markOf(spawnSync("true").pid)}-AbCd12`);
  mkdirSync(left);
  chownSync(left, 65_534, 65_534);
  await using first = await openTemporaryFolder("chatkeep-drill", parent.path);
  assert.equal(existsSync(left), true, first.path);
  await using second = await openTemporaryFolder("chatkeep-server", parent.path, { owner: 65_534 });
  assert.equal(existsSync(left), false, second.path);
});
