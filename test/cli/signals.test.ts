import assert from "node:assert/strict";
import { test } from "node:test";
import type { Failure } from "../../src/base/errors.ts";
import { createInterrupter } from "../../src/cli/signals.ts";
import { createFakeClock } from "./fakes.ts";

function setUp() {
  const clock = createFakeClock();
  const aborted: Failure[] = [];
  const told: string[] = [];
  const exits: number[] = [];
  const interrupt = createInterrupter({
    clock,
    kept: () => "earlier restore points are untouched",
    abort: (reason) => aborted.push(reason),
    tell: (line) => told.push(line),
    exitNow: (status) => exits.push(status),
  });
  return { clock, aborted, told, exits, interrupt };
}

test("the first Ctrl-C asks for a clean stop and says what is kept", () => {
  const { aborted, told, exits, interrupt } = setUp();
  interrupt("SIGINT");
  assert.equal(aborted[0]?.code, "run/cancelled");
  assert.equal(aborted[0].hint, "Earlier restore points are untouched.");
  assert.deepEqual(told, ["stopping cleanly; press Ctrl-C again to stop at once"]);
  assert.deepEqual(exits, []);
});

test("the second one ends the process at once with 130, however late it comes", () => {
  for (const ms of [300, 3_600_000]) {
    const { clock, aborted, exits, interrupt } = setUp();
    interrupt("SIGINT");
    clock.pass(ms);
    interrupt("SIGINT");
    assert.deepEqual(exits, [130]);
    assert.equal(aborted.length, 1);
  }
});

test("a signal that a parent passes on besides the terminal counts once", () => {
  const { clock, exits, interrupt } = setUp();
  interrupt("SIGINT");
  clock.pass(5);
  interrupt("SIGINT");
  assert.deepEqual(exits, []);
});

test("SIGTERM stops cleanly too, and speaks of no key", () => {
  const { aborted, told, interrupt } = setUp();
  interrupt("SIGTERM");
  assert.equal(aborted.length, 1);
  assert.deepEqual(told, ["stopping cleanly"]);
});
