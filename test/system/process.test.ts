/** A program that is stopped, and what it started. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { readProgram } from "../../src/system/process.ts";
import { isAlive } from "../../src/system/alive.ts";
import { untilGone } from "../harness/until-gone.ts";

for (const hasOwnGroup of [false, true]) {
  test(`a program that is stopped is not waited for by what it started, which ${hasOwnGroup ? "ends with it" : "goes on"}`, async () => {
    const stop = new AbortController();
    let left = 0;
    const reading = async () => {
      const options = { signal: stop.signal, hasOwnGroup };
      for await (const printed of readProgram("/bin/sh", ["-c", "sleep 600 & echo $!; wait"], options)) {
        left = Number(printed.toString("utf8"));
        stop.abort(new Failure("run/cancelled", "enough"));
      }
    };
    await assert.rejects(reading, /enough/);
    if (hasOwnGroup) return await untilGone(left);
    assert.ok(isAlive(left));
    process.kill(left, "SIGKILL");
  });
}
