/**
 * Polynomials over GF(2), as bits of a BigInt. A repository carries one that is irreducible: stock restic cuts files
 * where a Rabin fingerprint modulo that polynomial says so, and refuses a repository whose polynomial is not irreducible.
 */
import { randomBytes } from "node:crypto";

/** The degree that restic draws. */
const DEGREE = 53n;

/** −1n for the zero polynomial. */
function degree(polynomial: bigint): bigint {
  return BigInt(polynomial.toString(2).length) - (polynomial === 0n ? 2n : 1n);
}

function remainder(dividend: bigint, divisor: bigint): bigint {
  const divisorDegree = degree(divisor);
  let rest = dividend;
  for (let excess = degree(rest) - divisorDegree; excess >= 0n; excess = degree(rest) - divisorDegree) {
    rest ^= divisor << excess;
  }
  return rest;
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  let [left, right] = [a, b];
  while (right !== 0n) [left, right] = [right, remainder(left, right)];
  return left;
}

/** Squaring over GF(2) puts a zero between any two bits. */
function squareModulo(value: bigint, modulus: bigint): bigint {
  const spread = value.toString(2).split("").join("0");
  return remainder(BigInt(`0b${spread}`), modulus);
}

/**
 * Ben-Or's test: a polynomial of degree n is irreducible when it shares no factor with `x^(2^i) − x` for
 * any i up to n/2 (M. Ben-Or, "Probabilistic algorithms in finite fields", 1981).
 */
export function isIrreducible(polynomial: bigint): boolean {
  const half = degree(polynomial) / 2n;
  if (degree(polynomial) < 1n) return false;
  let power = 2n;
  for (let i = 1n; i <= half; i++) {
    power = squareModulo(power, polynomial);
    if (greatestCommonDivisor(polynomial, power ^ 2n) !== 1n) return false;
  }
  return true;
}

/** A random irreducible polynomial of degree 53; about one in 26 candidates is. */
export function randomIrreducible(): bigint {
  for (;;) {
    const bits = randomBytes(8).readBigUInt64BE() & ((1n << DEGREE) - 1n);
    // Without the constant term, x would be a factor.
    const candidate = (1n << DEGREE) | bits | 1n;
    if (isIrreducible(candidate)) return candidate;
  }
}
