/** Names that somebody may have meant. */

/** At most so many are offered. */
const OFFERED = 3;

/** The known names that are most like the given one, the nearest first; none that shares too little with it. */
export function nearNames(given: string, known: readonly string[]): string[] {
  const limit = Math.max(1, Math.floor(given.length * 0.4));
  return known
    .map((name) => ({ name, distance: name.includes(given) ? 1 : distance(given, name) }))
    .filter((one) => one.distance <= limit)
    .toSorted((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, OFFERED)
    .map(({ name }) => name);
}

/** Levenshtein's: letters to add, leave out or change; by the table of Wagner and Fischer, one row at a time. */
function distance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, change));
    }
    above = row;
  }
  return above[b.length] ?? 0;
}
