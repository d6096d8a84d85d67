/** Lock files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../../src/base/errors.ts";
import { decodeLock, encodeLock, type LockFile } from "../../src/format/lock-file.ts";
import { hostile, refusal, survives, withEachFieldReplaced } from "./refusal.ts";

const FULL: LockFile = {
  time: "2026-02-03T04:05:06.7Z",
  exclusive: true,
  hostname: "a<b",
  username: "root",
  pid: 4711,
  uid: 1000,
  gid: 1001,
};
const SAMPLE =
  '{"time":"2026-02-03T04:05:06.7Z","exclusive":true,"hostname":"a\\u003cb","username":"root","pid":4711,"uid":1000,"gid":1001}';

test("a lock is written with restic's fields in restic's order, and comes back", () => {
  assert.equal(encodeLock(FULL), SAMPLE);
  assert.deepEqual(decodeLock(SAMPLE), FULL);
});

test("root's lock has neither user nor group, and a shared one says so", () => {
  const { uid: _u, gid: _g, ...rest } = { ...FULL, exclusive: false };
  const json = encodeLock({ ...rest, uid: 0, gid: 0 });
  assert.match(json, /"exclusive":false.*"pid":4711\}$/);
  assert.deepEqual(decodeLock(json), rest);
});

test("a lock without time, or with anything unusable in it, is refused", () => {
  for (const [from, to] of [
    ["2026-02-03", "yesterday"],
    ["true", '"true"'],
    ["4711", "-1"],
    ["1000", "4294967296"],
    ['"root"', "{}"],
  ] as const) {
    refusal(() => decodeLock(SAMPLE.replace(from, to)));
  }
  refusal(() => decodeLock("{}"));
  refusal(() => decodeLock(""));
  assert.throws(
    () => encodeLock({ ...FULL, time: "" }),
    (error) => isFailure(error, "internal/bug"),
  );
});

test("hostile locks are refused or read, and nothing else", () => {
  for (const changed of withEachFieldReplaced(SAMPLE)) survives(() => encodeLock(decodeLock(changed)));
  fc.assert(
    fc.property(hostile(SAMPLE), (json) => survives(() => decodeLock(json))),
    { numRuns: 500 },
  );
});
