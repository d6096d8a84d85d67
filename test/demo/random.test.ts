import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../src/demo/random.ts";

function draw(seed: number) {
  const random = seededRandom(seed);
  return [
    random.below(1_000_000),
    random.uuid(),
    random.alphanumeric(20),
    random.bytes(200_000).toString("base64"),
    random.base36(28),
    random.fork("a").below(1_000_000),
  ];
}

test("the same seed draws the same, another seed draws something else", () => {
  assert.deepEqual(draw(1), draw(1));
  for (const [at, value] of draw(2).entries()) assert.notEqual(value, draw(1)[at]);
});

test("numbers stay below their limit and reach all of it", () => {
  const random = seededRandom(3);
  const drawn = new Set(Array.from({ length: 2000 }, () => random.below(10)));
  assert.deepEqual(
    [...drawn].toSorted((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
});

test("what one fork draws does not shift what another gets", () => {
  const one = seededRandom(4);
  one.fork("a").bytes(1000);
  assert.equal(one.fork("b").uuid(), seededRandom(4).fork("b").uuid());
});
