/** Waits until a process is gone, however busy the machine is. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "../../src/system/alive.ts";

const PATIENCE_MS = 120_000;

export async function untilGone(pid: number): Promise<void> {
  for (const late = performance.now() + PATIENCE_MS; isAlive(pid); await sleep(10)) {
    assert.ok(performance.now() < late, `process ${pid} is still there`);
  }
}
