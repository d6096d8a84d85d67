/** A worker thread of a restore. */
import type { Keys } from "../format/crypto.ts";
import { openStore } from "../store/open-store.ts";
import type { StoreSpec } from "../store/store.ts";
import type { CheckTask } from "./restore-check.ts";
import { makeRestorer, type RestoreOutcome, type RestoreTask } from "./restore-files.ts";
import { serveWork } from "./work.ts";

export interface RestoreWorkerInit {
  readonly keys: Keys;
  readonly root: string;
  readonly spec: StoreSpec | undefined;
}

serveWork<RestoreTask | CheckTask, RestoreOutcome, RestoreWorkerInit, never>(async (init, tools) => {
  if (init.spec === undefined) throw new TypeError("a store that lives in one thread was sent to another");
  return makeRestorer(init, await openStore(init.spec), tools);
});
