/** Temporary folders of tests: gone at the end of their block, and at the latest when the process ends. */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestFolder extends AsyncDisposable {
  readonly path: string;
  /** A path below the folder. */
  at(...parts: string[]): string;
}

const open = new Set<string>();

process.on("exit", () => {
  for (const path of open) rmSync(path, { recursive: true, force: true });
});

/** Makes an empty folder (mode 0700); use it with `await using`. */
export async function temporaryFolder(prefix = "chatkeep-test"): Promise<TestFolder> {
  const path = await mkdtemp(join(tmpdir(), `${prefix}-`));
  open.add(path);
  return {
    path,
    at: (...parts) => join(path, ...parts),
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
      open.delete(path);
    },
  };
}
