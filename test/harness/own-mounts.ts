/** Test files whose tests mount disks: they run once more as a process with mounts of its own, which are gone when it ends. */
import assert from "node:assert/strict";
import { appendFile, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { cannotMount, IS_ROOT } from "./namespace.ts";
import { mustRun, run } from "./run.ts";

const MARK = "CHATKEEP_TEST_OWN_MOUNTS";

/** True in the process that may mount. */
export const hasOwnMounts = process.env[MARK] === "1";

/**
 * Outside, one test that runs the whole file in mounts of its own; inside, nothing.
 * @param file of the caller.
 */
export function runAgainWithMounts(file: string): void {
  if (hasOwnMounts) return;
  test(`${basename(file)}, in mounts of its own`, async (t: TestContext) => {
    const why = IS_ROOT ? await cannotMount() : "only root may mount disks for a server of its own";
    if (why !== undefined) return t.skip(why);
    const env = { [MARK]: "1", NODE_TEST_CONTEXT: undefined };
    const { status, stdout, stderr } = await run("unshare", ["--mount", process.execPath, "--test", file], { env });
    t.diagnostic(stdout);
    assert.equal(status, 0, `${stdout}${stderr}`);
  });
}

const FILLER = ".others";
const ZEROES = Buffer.alloc(64 * 1024);

export interface SmallDisk {
  readonly path: string;
  /** Fills it until no more than so many bytes are free. */
  leave(bytes: number): Promise<void>;
  /** Makes room again. */
  clear(): Promise<void>;
  free(): Promise<number>;
  /** Who still works on it keeps what he has open. */
  unmount(): Promise<void>;
}

/** Mounts a disk of that size in a folder's place, with what lies in the folder, and its owner and mode. */
export async function mountDisk(path: string, bytes: number): Promise<SmallDisk> {
  assert.ok(hasOwnMounts, "only with mounts of one's own");
  const aside = await mkdtemp(join(tmpdir(), "chatkeep-disk-"));
  await mustRun("cp", ["-a", `${path}/.`, aside]);
  await mustRun("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path]);
  await mustRun("cp", ["-a", `${aside}/.`, path]);
  await rm(aside, { recursive: true, force: true });
  const free = async () => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  };
  const filler = join(path, FILLER);
  return {
    path,
    free,
    async leave(bytes) {
      for (let left = (await free()) - bytes; left > 0; left -= ZEROES.length)
        await appendFile(filler, ZEROES.subarray(0, Math.min(left, ZEROES.length)));
    },
    async clear() {
      await rm(filler, { force: true });
    },
    async unmount() {
      await mustRun("umount", ["--lazy", path]);
    },
  };
}
