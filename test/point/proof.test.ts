/** The time to recover follows from what a drill measured, and says what it cannot tell. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { timeToRecover } from "../../src/point/proof.ts";

const STAGES = { server: 2, load: 60, rows: 25, schema: 1, files: 4, keys: 0.1 };
const MIB = 1024 * 1024;

test("where every file was read, database and files together are the time to recover", () => {
  const read = { bytes: 400 * MIB, covered: 0 };
  assert.deepEqual(timeToRecover(STAGES, read, 400 * MIB), { seconds: 64, database: 60, files: 4, compare: 25 });
});

test("where a part was read, the others take as long as they; too small a part tells nothing", () => {
  assert.deepEqual(timeToRecover(STAGES, { bytes: 40 * MIB, covered: 900 }, 400 * MIB), {
    seconds: 100,
    database: 60,
    files: 40,
    compare: 25,
  });
  assert.deepEqual(timeToRecover(STAGES, { bytes: 15 * MIB, covered: 900 }, 400 * MIB), {
    seconds: 60,
    database: 60,
    files: null,
    compare: 25,
  });
});

test("a drill that loaded nothing, or read no files, has no time to tell", () => {
  assert.equal(timeToRecover({ server: 1 }, { bytes: 1, covered: 0 }, 1), undefined);
  assert.equal(timeToRecover(STAGES, undefined, 1), undefined);
});
