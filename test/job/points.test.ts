import assert from "node:assert/strict";
import { test } from "node:test";
import { pointOf } from "../../src/app/guard.ts";
import { isFailure } from "../../src/base/errors.ts";
import { parseChunkId, parseSnapshotId } from "../../src/base/ids.ts";
import { type Point, type PointList, pointOfSnapshot, resolvePoint, resolveSnapshot } from "../../src/job/points.ts";
import type { ListedSnapshot } from "../../src/repo/repository.ts";

const TREE = parseChunkId("0".repeat(64));

function point(digit: string, time: string, options: { installation?: string; proven?: boolean } = {}): Point {
  const id = parseSnapshotId(digit.repeat(64).slice(0, 64));
  const snapshot = { time, tree: TREE, paths: ["/chatkeep"], hostname: "desk" };
  const proof = { snapshotId: id, snapshot, proven: true, at: time };
  return {
    id,
    snapshotId: id,
    snapshot,
    installationId: options.installation ?? "one",
    takenAtMs: Date.parse(time),
    proof: options.proven === true ? proof : undefined,
    notWhole: undefined,
    shrunk: undefined,
    holds: [],
  };
}

function list(...points: Point[]): PointList {
  return { points, moments: [], continuous: [], records: [], others: 0, damaged: [] };
}

const NEW = point("a", "2026-11-24T12:00:00Z");
const MIDDLE = point("b", "2026-11-23T12:00:00Z", { proven: true });
const OLD = point("c", "2026-11-22T12:00:00Z");
const THREE = list(NEW, MIDDLE, OLD);

for (const [word, expected] of [
  ["latest", NEW],
  ["proven", MIDDLE],
  ["bbbb", MIDDLE],
  ["c".repeat(64), OLD],
  ["2026-11-24T11:59:59Z", MIDDLE],
  ["2026-11-24T12:00:00Z", NEW],
  ["2026-11-24 13:00:00+01:00", NEW],
  ["2026-11-23T12:59+0100", OLD],
] as const) {
  test(`'${word}' means the point of ${expected.snapshot.time}`, () => {
    assert.equal(resolvePoint(THREE, word, "one").id, expected.id);
  });
}

test("what was shown, begun or guarded is found again by its snapshot, where it was made of a moment too", () => {
  const made = point("d", "2026-11-23T13:00:00Z");
  const all = { ...THREE, moments: [made] };
  for (const one of [MIDDLE, made]) {
    const { id, snapshotId: snapshot } = one;
    const guarded = { id, snapshot, repository: "primary", takenAt: one.snapshot.time };
    assert.equal(pointOfSnapshot(all, snapshot), one);
    assert.equal(pointOf(all, guarded), one);
    assert.equal(pointOf(all, { ...guarded, snapshot: "e".repeat(64) }), one);
  }
  assert.equal(pointOfSnapshot(all, "e".repeat(64)), undefined);
});

for (const [word, code] of [
  ["dddd", "point/not-found"],
  ["yesterday", "point/not-found"],
  ["2026-11-24T12:00:00", "usage/invalid"],
  ["2026-11-24", "usage/invalid"],
  ["02:30", "usage/invalid"],
  ["2026-11-31T12:00Z", "point/not-found"],
  ["2020-01-01T00:00:00Z", "point/not-found"],
] as const) {
  test(`'${word}' is refused`, () => {
    assert.throws(
      () => resolvePoint(THREE, word, "one"),
      (error) => isFailure(error, code),
    );
  });
}

test("a time that lacks its zone is refused with the word that would do", () => {
  assert.match(hintOf("2026-11-29 15:03:40"), /^If it was read from .* say 2026-11-29T15:03:40(Z|[+-])/);
  assert.match(hintOf("11:30"), /^Write the day and the time with its offset/);
});

function hintOf(word: string): string {
  try {
    return resolvePoint(THREE, word, "one").id;
  } catch (error) {
    return isFailure(error) ? (error.hint ?? "") : "";
  }
}

test("a word that means a moment is told how to become a point, and any other how a moment is written", () => {
  for (const word of ["now", "-5m", "lsn:0/16B3748"])
    assert.match(hintOf(word), new RegExp(`^'chatkeep show ${word}' makes a restore point`));
  for (const word of ["0/16B3748", "5m", "-5min", "lsn:zzz"])
    assert.match(hintOf(word), /now, -90s,.* or lsn:0\/16B3748/);
});

test("the beginning of two names is refused, and both are named", () => {
  const twins = list(point("ab", "2026-11-24T12:00:00Z"), point("abab0", "2026-11-23T12:00:00Z"));
  assert.throws(
    () => resolvePoint(twins, "abab", "one"),
    (error) => isFailure(error, "usage/invalid") && error.hint?.includes("abababab") === true,
  );
});

/** What `restic rewrite` makes of a point: the same name and time, in another snapshot. */
function rewritten(of: Point, digit: string): Point {
  return { ...of, snapshotId: parseSnapshotId(digit.repeat(64)) };
}

test("a name that two snapshots share means the first of the list, and an exact snapshot id its own", () => {
  const copy = rewritten(NEW, "e");
  const both = list(NEW, copy, OLD);
  assert.equal(resolvePoint(both, "aaaa", "one"), NEW);
  assert.equal(resolvePoint(both, NEW.id, "one"), NEW);
  assert.equal(resolvePoint(list(copy, NEW), NEW.id, "one"), NEW);
  assert.equal(resolvePoint(both, copy.snapshotId, "one"), copy);
  assert.equal(resolvePoint(both, "eeee", "one"), copy);
});

test("names that begin alike are told apart, however many digits that takes", () => {
  const twin = { ...OLD, id: parseSnapshotId("a".repeat(20).padEnd(64, "0")) };
  assert.throws(
    () => resolvePoint(list(NEW, twin), "aaaa", "one"),
    (error) =>
      isFailure(error, "usage/invalid") &&
      error.hint === `Give more digits: ${NEW.id.slice(0, 24)}, ${twin.id.slice(0, 24)}.`,
  );
});

test("'latest' is of one installation, and refused where it is not clear which", () => {
  const other = point("d", "2026-11-25T12:00:00Z", { installation: "two" });
  assert.equal(resolvePoint(list(other, NEW), "latest", "one").id, NEW.id);
  assert.throws(
    () => resolvePoint(list(other, NEW), "latest", undefined),
    (error) => isFailure(error, "usage/invalid"),
  );
});

test("an empty repository says what to do", () => {
  assert.throws(
    () => resolvePoint(list(), "latest", undefined),
    (error) => isFailure(error, "point/not-found") && error.hint?.includes("chatkeep backup") === true,
  );
});

function ofRestic(id: string, time: string, original?: string): ListedSnapshot {
  const snapshot = {
    time,
    tree: TREE,
    paths: ["/srv"],
    ...(original === undefined ? {} : { original: parseSnapshotId(original) }),
  };
  return { id: parseSnapshotId(id), snapshot };
}

test("a snapshot of others is meant by its id alone, and a word that begins several things is refused", () => {
  const [one, two] = [`aaaa1${"0".repeat(59)}`, `dddd2${"0".repeat(59)}`];
  const points = THREE.points.map(({ snapshotId, snapshot }) => {
    return { id: snapshotId, snapshot: { ...snapshot, tags: ["chatkeep", "installation=one"] } };
  });
  const all = [...points, ofRestic(one, "2026-11-25T00:00:00Z"), ofRestic(two, "2026-11-20T00:00:00Z")];
  const meant = (word: string, snapshots = all) => resolveSnapshot(snapshots, THREE, { word, installationId: "one" });
  assert.equal(meant("dddd"), two);
  assert.equal(meant(one), one);
  assert.equal(meant("aaaa1"), one);
  assert.equal(meant("bbbb"), MIDDLE.id);
  assert.equal(meant("latest"), NEW.id, "never one of others");
  assert.throws(
    () => meant("aaaa"),
    (error) => isFailure(error, "usage/invalid") && /begins the names of 2 snapshots/.test(error.message),
  );
  const copied = [
    ofRestic("1".repeat(64), "2026-11-20T00:00:00Z", two),
    ofRestic("2".repeat(64), "2026-11-21T00:00:00Z", two),
  ];
  assert.equal(meant("dddd", copied), "2".repeat(64));
});
