/** What is told of sessions that somebody ended, and what is not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../../src/base/limits.ts";
import { Failure } from "../../../src/base/errors.ts";
import { EndedSessions } from "../../../src/job/continuous/ended-sessions.ts";

const HOUR_MS = 3_600_000;

function failed(state: string): Failure {
  return new Failure("database/unreachable", "it ended", {
    cause: Object.assign(new Error("it ended"), { code: state }),
  });
}

test("of sessions that are ended, and of a name that is missing meanwhile, nobody is told at first; of one that goes on long the count begins anew", () => {
  let now = 0;
  const ended = new EndedSessions({ monotonic: () => now });
  assert.ok(ended.isQuiet(failed("57P01"), HOUR_MS));
  now += 500;
  assert.ok(ended.isQuiet(failed("57P01"), 100));
  assert.ok(ended.isQuiet(failed("3D000"), 100));
  now += LIMITS.endedSessionMs;
  assert.ok(!ended.isQuiet(failed("57P01"), 100), "somebody goes on ending them");
  assert.ok(!ended.isQuiet(failed("3D000"), 100), "the database is gone");
  assert.ok(ended.isQuiet(failed("57P01"), HOUR_MS));
});

test("a server that is down, starts or stops is told at once, also behind a session that it ended, and so is a database that is not there", () => {
  const ended = new EndedSessions({ monotonic: () => 0 });
  assert.ok(!ended.isQuiet(failed("3D000"), HOUR_MS));
  assert.ok(ended.isQuiet(failed("57P01"), HOUR_MS));
  for (const state of ["57P03", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "53300", "28P01"]) {
    assert.ok(!ended.isQuiet(failed(state), 10), state);
  }
});
