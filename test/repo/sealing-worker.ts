/** What the sealer's test has its worker threads do: store files, as a backup's do. */
import { threadId } from "node:worker_threads";
import type { Keys } from "../../src/format/crypto.ts";
import { ClaimTable, type ClaimTableParts } from "../../src/repo/claim-table.ts";
import { SharedIndexView, type SharedIndexParts } from "../../src/repo/index.ts";
import { type PackRecord, Sealer } from "../../src/repo/sealer.ts";
import { makeFileBuffer, storeFile, type StoredFile } from "../../src/repo/store-file.ts";
import { serveWork, type WorkHandler, type WorkTools } from "../../src/repo/work.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { StoreSpec } from "../../src/store/store.ts";

export type Task = { paths: string[] } | "flush";

export interface Init {
  spec: StoreSpec;
  keys: Keys;
  known: SharedIndexParts;
  claims: ClaimTableParts;
}

export async function openSealing(
  init: Init,
  { post, signal }: WorkTools<PackRecord>,
): Promise<WorkHandler<Task, StoredFile[]>> {
  const sealer = new Sealer({
    keys: init.keys,
    store: await openStore(init.spec),
    known: new SharedIndexView(init.known),
    claims: new ClaimTable(init.claims),
    signal,
    onPack: post,
  });
  const buffer = makeFileBuffer();
  return {
    run: async (task) => {
      if (task === "flush") {
        await sealer.flush();
        return [];
      }
      const stored: StoredFile[] = [];
      for (const path of task.paths) stored.push(await storeFile(sealer, path, buffer));
      return stored;
    },
    close: async () => await sealer.abort(),
  };
}

if (threadId !== 0) serveWork(openSealing);
