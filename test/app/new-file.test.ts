import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { test } from "node:test";
import { writeNew } from "../../src/app/new-file.ts";
import { isFailure } from "../../src/base/errors.ts";
import { temporaryFolder } from "../harness/temporary.ts";

/** What every open file answers by. */
async function handles(path: string): Promise<{ sync(): Promise<void> }> {
  const handle = await open(path);
  await handle.close();
  return Object.getPrototypeOf(handle) as { sync(): Promise<void> };
}

test("a new file is its owner's alone, on the disk with its name when it is done, and never written over", async (t) => {
  await using folder = await temporaryFolder();
  const sync = t.mock.method(await handles(folder.path), "sync");
  const path = folder.at("made", "password");
  await writeNew(path, "secret\n");
  assert.equal(sync.mock.callCount(), 2, "the file and its folder");
  assert.deepEqual([await readFile(path, "utf8"), (await stat(path)).mode & 0o777], ["secret\n", 0o600]);
  assert.equal((await stat(folder.at("made"))).mode & 0o777, 0o700);
  await assert.rejects(writeNew(path, "other\n"), (error) => isFailure(error, "config/invalid"));
  assert.equal(await readFile(path, "utf8"), "secret\n");
});

test("a disk that is full leaves no half of a new file behind", async (t) => {
  await using folder = await temporaryFolder();
  t.mock.method(await handles(folder.path), "sync", async () => {
    throw Object.assign(new Error("ENOSPC: no space left on device, fsync"), { code: "ENOSPC" });
  });
  await assert.rejects(writeNew(folder.at("password"), "secret\n"), /cannot write '.*password': ENOSPC/);
  assert.deepEqual(await readdir(folder.path), []);
});

test("a run that is killed while it writes leaves no file of that name, and what it left goes with the next", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("password");
  const script = `
    import fs from "node:fs/promises";
    const handle = await fs.open(${JSON.stringify(folder.path)});
    Object.getPrototypeOf(handle).sync = async () => process.kill(process.pid, "SIGKILL");
    const { writeNew } = await import(${JSON.stringify(import.meta.resolve("../../src/app/new-file.ts"))});
    await writeNew(${JSON.stringify(path)}, "never used\\n");`;
  const { signal } = spawnSync(process.execPath, ["--input-type=module", "--eval", script]);
  assert.equal(signal, "SIGKILL");
  const [left = "", ...others] = await readdir(folder.path);
  assert.deepEqual([left.startsWith("password.part-"), others], [true, []]);
  await writeNew(path, "secret\n");
  assert.deepEqual(await readdir(folder.path), ["password"]);
  assert.equal(await readFile(path, "utf8"), "secret\n");
});
