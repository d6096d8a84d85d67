import assert from "node:assert/strict";
import { test } from "node:test";
import { hasNetwork, watchNetwork } from "../../src/app/watch-network.ts";
import { isFailure } from "../../src/base/errors.ts";
import { HandClock } from "../harness/hand-clock.ts";

const loopback = [{ address: "127.0.0.1", internal: true }] as never;
const other = [{ address: "172.18.0.2", internal: false }] as never;

test("loopback alone is no network", () => {
  assert.equal(hasNetwork({ lo: loopback }), false);
  assert.equal(hasNetwork({ lo: loopback, eth0: other }), true);
  assert.equal(hasNetwork({}), false);
});

test("a network that goes for good ends the watch, and one that comes back does not", async () => {
  const { signal } = new AbortController();
  const looks = [true, false, false, true, false, false, false];
  const clock = new HandClock({ wakesAtOnce: true });
  await assert.rejects(
    watchNetwork({ clock, signal }, () => looks.shift() ?? assert.fail("it looked on")),
    (error) => isFailure(error, "database/unreachable") && /network of this container is gone/.test(error.message),
  );
  assert.equal(looks.length, 0);
});
