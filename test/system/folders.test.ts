import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeFolders } from "../../src/system/folders.ts";
import { temporaryFolder } from "../harness/temporary.ts";

test("a folder is made with all that are above it, and one that is there is left as it is", async () => {
  await using folder = await temporaryFolder("chatkeep-folders");
  const deep = folder.at("a", "b", "c");
  await makeFolders(deep, 0o700);
  for (const path of [deep, join(deep, ".."), folder.at("a")]) assert.equal(statSync(path).mode & 0o777, 0o700);
  await makeFolders(deep, 0o755);
  await makeFolders(`${deep}/`);
  assert.equal(statSync(deep).mode & 0o777, 0o700);
});

test("what stands in the way is told", async () => {
  await using folder = await temporaryFolder("chatkeep-folders");
  writeFileSync(folder.at("file"), "");
  await assert.rejects(makeFolders(folder.at("file")), { code: "EEXIST" });
  await assert.rejects(makeFolders(folder.at("file", "below", "it")), { code: "ENOTDIR" });
});

test("where a folder that is there takes none and says that it is not there, it ends", async () => {
  await assert.rejects(makeFolders("/proc/chatkeep/x"), { code: "ENOENT" });
});
