/** What trying a real place must tell. */
import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import type { StoreProbe } from "../../src/store/probe.ts";
import type { Store } from "../../src/store/store.ts";

const { signal } = new AbortController();

/** Of a store with a config in it. */
export async function probeOf(opened: Promise<Store>): Promise<StoreProbe> {
  const store = await opened;
  try {
    await store.create({ signal });
    await store.put({ kind: "config", name: "" }, Buffer.from("config"), { signal });
    const probe = await store.probe?.({ clock: systemClock, signal });
    assert.ok(probe !== undefined);
    return probe;
  } finally {
    await store.close();
  }
}

export function assertTold(probe: StoreProbe, putsOnce = true): void {
  assert.ok(probe.latencyMs > 0);
  assert.ok((probe.writeRate ?? 0) > 0);
  assert.deepEqual([probe.canDelete, probe.left, probe.putsOnce], [true, undefined, putsOnce]);
  assert.ok(Math.abs(probe.clockAheadMs ?? Number.POSITIVE_INFINITY) < 60_000, String(probe.clockAheadMs));
}
