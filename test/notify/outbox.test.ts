import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import type { Notice } from "../../src/notify/notice.ts";
import { dropKept, keepNotice, readKept } from "../../src/notify/outbox.ts";
import { temporaryFolder } from "../harness/temporary.ts";

function notice(title: string): Notice {
  return { outcome: "failure", title, text: "text\n", facts: {} };
}

test("notices are kept in the order in which they were to be told, until they are dropped", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("notices");
  assert.deepEqual(await readKept(path), []);
  await keepNotice(path, "ops", notice("second"), 2_000);
  await keepNotice(path, "ops", notice("first"), 1_000);
  const kept = await readKept(path);
  assert.deepEqual(
    kept.map(({ channel, atMs, notice: { title } }) => [channel, atMs, title]),
    [
      ["ops", 1_000, "first"],
      ["ops", 2_000, "second"],
    ],
  );
  for (const one of kept) await dropKept(one);
  assert.deepEqual(await readdir(path), []);
});

test("what is damaged goes, what is somebody else's stays, and no more than a few are kept", async () => {
  await using folder = await temporaryFolder();
  for (let at = 0; at < LIMITS.noticesKept + 3; at += 1) await keepNotice(folder.path, "ops", notice(`${at}`), at);
  const [oldest = ""] = (await readdir(folder.path)).toSorted();
  await writeFile(folder.at("README"), "hands off");
  const kept = await readKept(folder.path);
  assert.equal(kept.length, LIMITS.noticesKept);
  assert.equal(kept[0]?.notice.title, "3");
  await writeFile(kept[0]?.path ?? "", "{");
  assert.equal((await readKept(folder.path)).length, LIMITS.noticesKept - 1);
  const left = await readdir(folder.path);
  assert.ok(left.includes("README") && !left.includes(oldest));
  assert.equal(left.length, LIMITS.noticesKept);
});
