/** Irreducible polynomials over GF(2). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isIrreducible, randomIrreducible } from "../../src/format/polynomial.ts";

/** Multiplication without carries. */
function product(a: bigint, b: bigint): bigint {
  let sum = 0n;
  for (let bit = 0n; b >> bit > 0n; bit++) if ((b >> bit) & 1n) sum ^= a << bit;
  return sum;
}

test("up to degree 8 exactly those are irreducible that no product gives", () => {
  const reducible = new Set<bigint>();
  for (let a = 2n; a < 256n; a++) for (let b = 2n; b < 256n; b++) reducible.add(product(a, b));
  for (let candidate = 2n; candidate < 512n; candidate++) {
    assert.equal(isIrreducible(candidate), !reducible.has(candidate), candidate.toString(2));
  }
});

test("constants are not irreducible", () => {
  for (const constant of [0n, 1n]) assert.equal(isIrreducible(constant), false);
});

test("polynomials that stock restic drew are irreducible, and their products with others are not", () => {
  for (const drawn of [0x28423bdef34727n, 0x3c880f09a69c6dn]) {
    assert.equal(isIrreducible(drawn), true);
    assert.equal(isIrreducible(drawn ^ 1n), false);
  }
  assert.equal(isIrreducible(product(0x11bn, 0x3c880f09a69c6dn)), false);
  assert.equal(isIrreducible(product(randomIrreducible(), randomIrreducible())), false);
});

test("those we draw are of degree 53 and differ", () => {
  const drawn = Array.from({ length: 5 }, randomIrreducible);
  for (const polynomial of drawn) {
    assert.equal(polynomial.toString(2).length, 54);
    assert.equal(isIrreducible(polynomial), true);
  }
  assert.equal(new Set(drawn).size, drawn.length);
});
