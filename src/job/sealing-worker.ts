/** The entry of a sealing thread that may read a database: everything it does is in `sealing-tasks.ts`. */
import { openRangeReader } from "../postgres/range-reader.ts";
import type { PackRecord } from "../repo/sealer.ts";
import { serveWork } from "../repo/work.ts";
import { openSealingHandler, type SealingInit, type SealingResult, type SealingTask } from "./sealing-tasks.ts";

serveWork<SealingTask, SealingResult, SealingInit, PackRecord>(
  async (init, tools) => await openSealingHandler(init, { ...tools, openReader: openRangeReader }),
);
