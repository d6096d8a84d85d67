import assert from "node:assert/strict";
import { test } from "node:test";
import { silent } from "../../../src/base/progress.ts";
import { keepNewest, searchCommits, stretchOf } from "../../../src/job/continuous/search-commits.ts";
import type { ListedWindowBase } from "../../../src/job/continuous/list.ts";
import type { Range } from "../../../src/policy/window.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { newRepository } from "../../repo/small-backup.ts";

const MINUTE_US = 60_000_000n;

/** Of a piece of a hundred bytes for each pair of times: those of its first and its last commit, in minutes. */
function rangeOf(...pieces: readonly (readonly [first: bigint, last: bigint])[]): Range<ListedWindowBase> {
  const to = BigInt(pieces.length * 100);
  return {
    systemId: "7",
    timeline: 1,
    legs: [{ timeline: 1, from: 0n, to }],
    bases: [],
    from: 0n,
    to,
    fromUs: 0n,
    toUs: undefined,
    samples: pieces.flatMap((times, at) =>
      times.map((minute) => ({ us: minute * MINUTE_US, from: BigInt(at * 100), to: BigInt(at * 100 + 100) })),
    ),
  };
}

function usOf(minute: bigint | undefined): bigint | undefined {
  return minute === undefined ? undefined : minute * MINUTE_US;
}

function readOf(range: Range<ListedWindowBase>, since: bigint | undefined, until?: bigint): string {
  const legs = stretchOf(range, { sinceUs: usOf(since), untilUs: usOf(until) })?.legs ?? [];
  return legs.map(({ from, to }) => `${from}-${to}`).join(" ");
}

test("of more commits than are wanted the newest by their times are kept, in whatever order timelines are read", () => {
  const kept: { timeUs: bigint; name: string }[] = [];
  for (const name of ["30 old", "31 old", "1", "2", "32", "31 new", "3"]) {
    keepNewest(kept, { timeUs: BigInt(name.split(" ")[0] ?? ""), name }, 4);
  }
  assert.deepEqual(
    kept.map(({ name }) => name),
    ["30 old", "31 old", "31 new", "32"],
  );
});

test("of the log only that is read which may hold what was committed in a time, ten minutes more before it, and one piece more on either side", () => {
  const range = rangeOf([1n, 9n], [11n, 19n], [21n, 29n], [31n, 39n], [41n, 49n]);
  assert.equal(readOf(range, undefined), "0-500");
  assert.equal(readOf(range, 35n), "100-500");
  assert.equal(readOf(range, 45n), "200-500");
  assert.equal(readOf(range, 50n), "", "behind the last commit there is nothing");
  assert.equal(readOf(range, undefined, 5n), "0-200");
  assert.equal(readOf(range, 15n, 25n), "0-400");
  assert.equal(readOf(range, undefined, 0n), "", "before the first one there is nothing");
});

test("commits of a time that a clock had twice are read both times", () => {
  const range = rangeOf([1n, 9n], [111n, 119n], [21n, 29n], [31n, 39n]);
  assert.equal(readOf(range, 110n), "0-400");
  assert.equal(readOf(range, 35n), "0-400");
  assert.equal(readOf(range, undefined, 35n), "0-400");
  assert.equal(readOf(range, undefined, 22n), "0-400");
});

test("where nothing was committed since a time nothing is read, and that is told apart from a time without log", async () => {
  const range = rangeOf([1n, 9n]);
  const search = {
    repository: await newRepository(createMemoryStore()),
    installationId: "desk",
    continuous: { bases: [], spans: [], follows: [], journal: { objects: [], foreign: [] }, histories: [], odd: [] },
    ranges: [range],
    names: new Map(),
    wanted: { table: undefined, inserted: 0, updated: 0, deleted: 0 },
    limit: 40,
    progress: silent,
    signal: new AbortController().signal,
  };
  const since = await searchCommits({ ...search, sinceUs: 10n * MINUTE_US, untilUs: undefined });
  assert.deepEqual(since.searched, [{ from: "lsn:7.1:0/64", to: "lsn:7.1:0/64", bytes: 0 }]);
  const until = await searchCommits({ ...search, sinceUs: undefined, untilUs: 0n });
  assert.deepEqual([until.searched, until.commits], [[], 0]);
});
