import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { isFailure } from "../../src/base/errors.ts";
import { ownMark } from "../../src/system/leftovers.ts";
import { lockRun } from "../../src/system/run-lock.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const TOOLS = { clock: systemClock };

async function holderOf(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
}

test("a second run says which process runs since when, and a third begins when the first is over", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("run.lock");
  {
    await using first = await lockRun(path, TOOLS);
    assert.equal(first.takenOverFrom, undefined);
    const { since } = await holderOf(path);
    await assert.rejects(lockRun(path, TOOLS), (error) => {
      assert.ok(isFailure(error, "run/locked"));
      assert.equal(error.message, `another run is under way: process ${process.pid}, since ${String(since)}`);
      return true;
    });
  }
  assert.deepEqual(await readdir(folder.path), [], "nothing is left");
  await using third = await lockRun(path, TOOLS);
  assert.equal(third.takenOverFrom, undefined);
});

const DEAD = spawnSync("true").pid;
const SINCE = "2026-11-28T02:30:00.000Z";

for (const [what, holder] of [
  ["a process that is gone", { mark: ownMark().replace(/\d+$/, String(DEAD)), pid: DEAD, began: "1" }],
  ["another process that has got its number", { mark: ownMark(), pid: process.pid, began: "1" }],
  ["an earlier start of this machine", { mark: ownMark().replace(/\.[0-9a-f]{6}\./, ".000000."), pid: 1, began: "" }],
] as const) {
  test(`the lock of ${what} is taken over`, async () => {
    await using folder = await temporaryFolder();
    const path = folder.at("run.lock");
    await writeFile(path, JSON.stringify({ id: "x", since: SINCE, ...holder }));
    await using lock = await lockRun(path, TOOLS);
    assert.equal(lock.takenOverFrom, SINCE);
    assert.equal((await holderOf(path))["pid"], process.pid);
    assert.deepEqual(await readdir(folder.path), ["run.lock"]);
  });
}

test("the lock of another container is left as long as it is touched, and taken over when it was not for long", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("run.lock");
  const mark = ownMark().replace(/^[0-9a-f]{6}/, "000000");
  await writeFile(path, JSON.stringify({ id: "x", since: SINCE, mark, pid: 1, began: "1" }));
  await assert.rejects(lockRun(path, TOOLS), (error) => isFailure(error, "run/locked"));
  const old = new Date(Date.now() - 11 * 60_000);
  await utimes(path, old, old);
  await using lock = await lockRun(path, TOOLS);
  assert.equal(lock.takenOverFrom, SINCE);
});

test("a lock that cannot be read is nobody's, and of many that come at once one gets it", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("run.lock");
  await writeFile(path, "{");
  const all = await Promise.allSettled(Array.from({ length: 8 }, async () => await lockRun(path, TOOLS)));
  const got = all.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  assert.equal(got.length, 1);
  for (const lock of got) await lock[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(folder.path), []);
});

test("a folder that cannot be written to is a matter of the configuration", async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(lockRun(folder.at("missing", "run.lock"), TOOLS), (error) => isFailure(error, "config/invalid"));
});
