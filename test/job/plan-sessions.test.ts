/** How many sessions a backup asks for: those that scan only where something can be scanned. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { planSessions } from "../../src/job/plan-sessions.ts";

const LARGE = { bytes: LIMITS.stampedTableBytes, isSelfContained: true, isUnlogged: false };
const SMALL = { ...LARGE, bytes: LARGE.bytes - 1 };

test("two sessions fewer are used on PostgreSQL 13, and while no table can have stamps", () => {
  for (const [major, tables, needed] of [
    [15, [SMALL, LARGE], 5],
    [15, [SMALL], 3],
    [
      15,
      [
        { ...LARGE, isUnlogged: true },
        { ...LARGE, isSelfContained: false },
      ],
      3,
    ],
    [13, [LARGE], 3],
  ] as const) {
    const told: string[] = [];
    const ask = (spare: number) =>
      planSessions(tables, { server: { major }, readers: 2, spare, tellSpare: (line) => void told.push(line) });
    assert.deepEqual(ask(needed), { needed, atOnce: needed });
    assert.deepEqual(told, []);
    assert.deepEqual(ask(needed - 1), { needed, atOnce: needed - 1 });
    assert.deepEqual(ask(0), { needed, atOnce: 1 });
    assert.equal(
      told[0],
      `the server has ${needed - 1} connections left for us, and ${needed} would be used: slower, with fewer`,
    );
  }
});
