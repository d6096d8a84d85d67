import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { placeFindings, tryPlace } from "../../src/job/doctor-store.ts";
import { createMemoryStore } from "../../src/store/memory-store.ts";
import type { StoreProbe } from "../../src/store/probe.ts";
import { HandClock } from "../harness/hand-clock.ts";

const { signal } = new AbortController();
const WELL: StoreProbe = {
  latencyMs: 30,
  writeRate: 8_000_000,
  readRate: 20_000_000,
  canDelete: true,
  putsOnce: true,
  clockAheadMs: -1500,
  publicAccess: { reads: false, lists: false },
  left: undefined,
};

const OFF = LIMITS.clockOffMs;

const TABLE: readonly [what: string, probe: Partial<StoreProbe>, finding: RegExp | undefined][] = [
  ["all is well", {}, undefined],
  ["no clock is told", { clockAheadMs: undefined }, undefined],
  ["the clock differs a little", { clockAheadMs: OFF }, undefined],
  [
    "the clock there is ahead",
    { clockAheadMs: OFF + 1 },
    /^warning clock-differs: .*2 min.* behind that of repository 'far'/,
  ],
  [
    "the clock there is behind",
    { clockAheadMs: -3_600_000 },
    /^warning clock-differs: .* ahead of that of repository 'far'/,
  ],
  [
    "nothing can be deleted",
    { canDelete: false, left: "chatkeep/probe/x" },
    /^note store-append-only: .*'chatkeep\/probe\/x' stays/,
  ],
  ["writing was not tried", { canDelete: undefined, writeRate: undefined }, /^note store-not-tried: /],
  ["who can read it was not asked", { publicAccess: undefined }, undefined],
  [
    "anybody gets in",
    { publicAccess: { reads: true, lists: true } },
    /^alarm store-public: anybody can list and read the files of repository 'far'/,
  ],
  [
    "anybody reads",
    { publicAccess: { reads: true, lists: false } },
    /^alarm store-public: anybody can read the files of/,
  ],
  [
    "anybody lists",
    { publicAccess: { reads: false, lists: true } },
    /^alarm store-public: anybody can list the files of/,
  ],
  ["it overwrites", { putsOnce: false }, /^note store-overwrites: /],
  [
    "it answers late",
    { latencyMs: LIMITS.slowAnswerMs + 1 },
    /^note store-slow: .*answers in 501 ms, takes 7\.6 MiB\/s/,
  ],
  ["it takes little", { writeRate: LIMITS.slowRate - 1 }, /^note store-slow: /],
  ["it gives little", { readRate: LIMITS.slowRate - 1 }, /^note store-slow: /],
];

for (const [what, probe, finding] of TABLE) {
  test(`what doctor says of a place where ${what}`, () => {
    const told = placeFindings("far", { ...WELL, ...probe }).map(({ kind, level, message }) => {
      return `${level} ${kind}: ${message}`;
    });
    assert.equal(told.length, finding === undefined ? 0 : 1, told.join("\n"));
    if (finding !== undefined) assert.match(told[0] ?? "", finding);
  });
}

test("what was tried stands in the summary in plain units, what was not as null", async () => {
  const ports = { clock: new HandClock(), signal };
  const store = { ...createMemoryStore(), location: "sftp:nas:/x" };
  assert.deepEqual(await tryPlace("far", store, ports), { facts: [], places: [], findings: [] });
  const tried = { ...WELL, latencyMs: 0.26, readRate: undefined };
  const { facts, places } = await tryPlace("far", { ...store, probe: async () => tried }, ports);
  assert.deepEqual(facts, [
    { name: "place of 'far'", value: "answers within 1 ms, takes 7.6 MiB/s", from: "sftp:nas:/x" },
  ]);
  assert.deepEqual(places, [
    {
      repository: "far",
      latencyMs: 0.3,
      writeBytesPerSecond: 8_000_000,
      readBytesPerSecond: null,
      canDelete: true,
      putsOnce: true,
      clockAheadSeconds: -1,
      anybodyReads: false,
      anybodyLists: false,
      left: null,
    },
  ]);
});
