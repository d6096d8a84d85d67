/** The entry of a sealing thread for what others read; what reads a database is not loaded. All it does is in `sealing-tasks.ts`. */
import type { PackRecord } from "../repo/sealer.ts";
import { serveWork } from "../repo/work.ts";
import { openSealingHandler, type SealingInit, type SealingResult, type SealingTask } from "./sealing-tasks.ts";

serveWork<SealingTask, SealingResult, SealingInit, PackRecord>(
  async (init, tools) => await openSealingHandler(init, tools),
);
