/** Versions of extensions, as their authors number them. Pure. */

/** Below 0 when the first is older: numbers are compared as numbers, part by part, and what is no number as text. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [partsOf(a), partsOf(b)];
  for (let at = 0; at < Math.max(left.length, right.length); at += 1) {
    const [x = "0", y = "0"] = [left[at], right[at]];
    if (x === y) continue;
    const isNumber = /^\d+$/.test(x) && /^\d+$/.test(y);
    if (isNumber && Number(x) !== Number(y)) return Number(x) - Number(y);
    if (!isNumber) return x < y ? -1 : 1;
  }
  return 0;
}

function partsOf(version: string): string[] {
  return version.match(/\d+|[^\d.\-_]+/g) ?? [];
}
