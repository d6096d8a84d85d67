/**
 * Reads a QR code back from its modules, by ISO/IEC 18004: versions 1 to 3 with one block of codewords, byte mode. It
 * corrects no errors: what we print has none.
 */
import assert from "node:assert/strict";
import type { QrModules } from "../../src/point/recovery-kit.ts";

const MASKS: readonly ((row: number, column: number) => boolean)[] = [
  (r, c) => (r + c) % 2 === 0,
  (r) => r % 2 === 0,
  (_r, c) => c % 3 === 0,
  (r, c) => (r + c) % 3 === 0,
  (r, c) => (Math.floor(r / 2) + Math.floor(c / 3)) % 2 === 0,
  (r, c) => ((r * c) % 2) + ((r * c) % 3) === 0,
  (r, c) => (((r * c) % 2) + ((r * c) % 3)) % 2 === 0,
  (r, c) => (((r + c) % 2) + ((r * c) % 3)) % 2 === 0,
];
/** How the bits that name level and mask are hidden, and where they stand beside the upper left finder. */
const FORMAT_MASK = 0b101_0100_0001_0010;
const LEVEL_M = 0b00;

function formatBits(modules: QrModules): number {
  const places = [0, 1, 2, 3, 4, 5, 7, 8].map((column) => [8, column] as const);
  const upwards = [7, 5, 4, 3, 2, 1, 0].map((row) => [row, 8] as const);
  let bits = 0;
  for (const [row, column] of [...places, ...upwards]) bits = bits * 2 + (modules[row]?.[column] === true ? 1 : 0);
  return bits ^ FORMAT_MASK;
}

/** True for finders, timing, alignment and format: modules that carry no data. */
function isReserved(row: number, column: number, size: number): boolean {
  if (row === 6 || column === 6) return true;
  if (row < 9 && (column < 9 || column >= size - 8)) return true;
  if (row >= size - 8 && column < 9) return true;
  const centre = size - 7;
  return size > 21 && Math.abs(row - centre) <= 2 && Math.abs(column - centre) <= 2;
}

export function readQr(modules: QrModules): string {
  const size = modules.length;
  assert.ok([21, 25, 29].includes(size), `version ${(size - 17) / 4} is not read here`);
  for (const [top, left] of [
    [0, 0],
    [0, size - 7],
    [size - 7, 0],
  ] as const) {
    for (let at = 0; at < 49; at += 1) {
      const [row, column] = [Math.floor(at / 7), at % 7];
      const ring = Math.max(Math.abs(row - 3), Math.abs(column - 3));
      assert.equal(modules[top + row]?.[left + column], ring !== 2, "a finder pattern");
    }
  }
  const format = formatBits(modules);
  assert.equal(format >> 13, LEVEL_M);
  const mask = MASKS[(format >> 10) & 7];
  const bits: boolean[] = [];
  let upwards = true;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const row = upwards ? size - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (isReserved(row, column, size)) continue;
        bits.push((modules[row]?.[column] === true) !== mask?.(row, column));
      }
    }
    upwards = !upwards;
  }
  let at = 0;
  const take = (count: number) => {
    let value = 0;
    for (const end = at + count; at < end; at += 1) value = value * 2 + (bits[at] === true ? 1 : 0);
    return value;
  };
  assert.equal(take(4), 0b0100, "byte mode");
  const length = take(8);
  return Buffer.from(Array.from({ length }, () => take(8))).toString("utf8");
}
