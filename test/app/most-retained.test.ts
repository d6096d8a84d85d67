/** How much of its log a server may keep for a watch goes by its disk, where that can be seen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { freeForServer, mostRetained } from "../../src/app/most-retained.ts";
import { LIMITS } from "../../src/base/limits.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const GIB = 1024 ** 3;

async function mostOf(free: number | undefined, isTemporary: boolean): Promise<number> {
  const most = mostRetained({}, async () => free);
  assert.ok(typeof most === "function");
  return await most({
    name: "chatkeep_a",
    isPhysical: true,
    isTemporary,
    activePid: undefined,
    restart: undefined,
    walStatus: undefined,
    safeBytes: undefined,
  });
}

test("it is a quarter of what is free, neither too little to be of use nor more than 4 GiB", async () => {
  assert.equal(await mostOf(3 * GIB, true), 0.75 * GIB);
  assert.equal(await mostOf(3 * GIB, false), 0.75 * GIB);
  assert.equal(await mostOf(100 * GIB, true), LIMITS.retainedBytes);
  assert.equal(await mostOf(0, true), LIMITS.retainedLeastBytes);
});

test("where the disk cannot be seen it is little, unless the server has a bound of its own", async () => {
  assert.equal(await mostOf(undefined, true), LIMITS.retainedUnseenBytes);
  assert.equal(await mostOf(undefined, false), LIMITS.retainedBytes);
  assert.equal(await freeForServer({}), undefined);
  await using folder = await temporaryFolder();
  const free = await freeForServer({ dataFolders: [{ server: "PostgreSQL", path: folder.path }] });
  assert.ok(free !== undefined && free > 0);
});
