/** Claims every number's id in an order of its own, and says which it won. */
import { createHash } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { ClaimTable, type ClaimTableParts } from "../../src/repo/claim-table.ts";

const { parts, start, ids, seed } = workerData as {
  parts: ClaimTableParts;
  start: SharedArrayBuffer;
  ids: number;
  seed: number;
};
const table = new ClaimTable(parts);
const numbers = Array.from({ length: ids }, (_, at) => (at * 7919 + seed * 13) % ids);
const digests = numbers.map((number) => createHash("sha256").update(String(number)).digest());
parentPort?.postMessage("ready", []);
Atomics.wait(new Int32Array(start), 0, 0);
parentPort?.postMessage(
  numbers.filter((_, at) => table.claim(digests[at] ?? Buffer.alloc(32))),
  [],
);
