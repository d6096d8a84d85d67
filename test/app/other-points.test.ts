/** Two machines that make restore points of one installation every few minutes: each sees the other's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OtherPoints, type SeenPoint } from "../../src/app/watch-interval.ts";
import { INTERVAL_TAG } from "../../src/point/layout.ts";

function point(id: string, more: { tags?: string[]; original?: string } = {}): SeenPoint {
  return { id, snapshot: { tags: [INTERVAL_TAG], ...more } } as unknown as SeenPoint;
}

const idsOf = (found: readonly SeenPoint[]) => found.map(({ id }) => id);

test("points of another watch are those that came since the last look and are not ours, whatever their times say", () => {
  const others = new OtherPoints();
  const before = [point("theirs before"), point("ours before")];
  assert.deepEqual(others.look([...before, point("ours 1")], "ours 1"), []);
  const more = [...before, point("ours 1"), point("ours 2"), point("nightly", { tags: [] })];
  assert.deepEqual(others.look(more, "ours 2"), []);
  const theirs = [...more, point("theirs 1"), point("copied", { original: "elsewhere" }), point("ours 3")];
  assert.deepEqual(idsOf(others.look(theirs, "ours 3")), ["theirs 1"]);
  assert.deepEqual(others.look([...theirs, point("ours 4")], "ours 4"), [], "it is told once");
});

test("where the repository could not be looked at, nothing is said of what came meanwhile but by the next look", () => {
  const others = new OtherPoints();
  assert.deepEqual(others.look(undefined, "ours 1"), []);
  assert.deepEqual(others.look([point("ours 2"), point("theirs 1")], "ours 2"), []);
  assert.deepEqual(others.look(undefined, "ours 3"), []);
  const all = [point("ours 2"), point("theirs 1"), point("ours 3"), point("ours 4"), point("theirs 2")];
  assert.deepEqual(idsOf(others.look(all, "ours 4")), ["theirs 2"]);
});
