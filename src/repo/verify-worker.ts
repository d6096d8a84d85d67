/** A worker thread that reads packs for a verification. */
import type { Keys } from "../format/crypto.ts";
import { openStore } from "../store/open-store.ts";
import type { StoreSpec } from "../store/store.ts";
import { makePackChecker, type PackTask, type PackVerdict } from "./verify-pack.ts";
import { serveWork } from "./work.ts";

export interface VerifyWorkerInit {
  readonly keys: Keys;
  readonly spec: StoreSpec | undefined;
}

serveWork<PackTask, PackVerdict, VerifyWorkerInit, never>(async ({ keys, spec }, tools) => {
  if (spec === undefined) throw new TypeError("a store that lives in one thread was sent to another");
  const store = await openStore(spec);
  return { ...makePackChecker({ store, keys }, tools), close: () => store.close() };
});
