/** An independent account of uploaded files: one at a time is attached as Chatwoot does it, and what it holds is kept outside. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { attachFile } from "../../src/demo/change.ts";
import { onDatabase } from "../../src/demo/database.ts";
import type { DemoInstallation } from "../../src/demo/installation.ts";

import { seededRandom } from "../../src/demo/random.ts";

export interface UploadedFile {
  readonly sha256: string;
  /** When its row was committed and its bytes were there: milliseconds since 1970. */
  readonly doneMs: number;
}

export interface FileAccount extends AsyncDisposable {
  readonly files: readonly UploadedFile[];
  stop(): Promise<void>;
}

/** @param seed of what they hold. */
export function startFileAccount(
  { database, storageRoot }: DemoInstallation,
  { seed, pauseMs }: { seed: string; pauseMs: number },
): FileAccount {
  const over = new AbortController();
  const files: UploadedFile[] = [];
  const random = seededRandom(seed);
  const writing = (async () => {
    while (!over.signal.aborted) {
      try {
        const { content } = await onDatabase(database, async (client) => {
          client.on("error", () => {});
          // The test's servers say "done" before it is written: of one that is killed then, the row would be gone with it.
          await client.query("set synchronous_commit = on");
          return await attachFile(client, random, storageRoot);
        });
        files.push({ sha256: createHash("sha256").update(content).digest("hex"), doneMs: Date.now() });
      } catch {
        // The server is gone, or on its way: what was not acknowledged is not in the account.
      }
      await sleep(pauseMs);
    }
  })();
  const stop = async () => {
    over.abort();
    await writing;
  };
  return { files, stop, [Symbol.asyncDispose]: stop };
}
