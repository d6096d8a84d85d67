/** A worker thread of a copy. */
import { openStore } from "../store/open-store.ts";
import { makeCopier, type CopyInit, type CopyOutcome, type CopyTask } from "./copy-tasks.ts";
import type { PackRecord } from "./pack-record.ts";
import { serveWork } from "./work.ts";

serveWork<CopyTask, CopyOutcome, CopyInit, PackRecord>(async (init, tools) => {
  const [from, to] = [init.from.spec, init.to.spec];
  if (from === undefined || to === undefined) {
    throw new TypeError("a store that lives in one thread was sent to another");
  }
  const stores = { from: await openStore(from), to: await openStore(to) };
  const copier = makeCopier(init, stores, tools);
  return {
    run: (task) => copier.run(task),
    async close() {
      await copier.close?.();
      await Promise.all([stores.from.close(), stores.to.close()]);
    },
  };
});
