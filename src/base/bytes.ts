/** Sizes, counts and durations as people read them. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? "B"}`;
}

/** `1234567` → `1,234,567`. */
export function formatCount(count: number): string {
  // Not by `toLocaleString`, which takes twenty times as long, and 20 ms the first time.
  return String(Math.round(count)).replaceAll(/\B(?=(?:\d{3})+$)/g, ",");
}

/** `1 table`, `2 tables`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** `95.2` seconds → `1 min 35 s`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** As {@link formatSeconds}, and days from two on: for what nobody times. */
export function formatSpan(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  return days < 2 ? formatSeconds(seconds) : plural(days, "day");
}

/** The first few of a list: `a, b, c and 14 more`. */
export function listSome(items: readonly string[], limit = 3): string {
  if (items.length <= limit + 1) return items.join(", ");
  return `${items.slice(0, limit).join(", ")} and ${formatCount(items.length - limit)} more`;
}

const SIZE = /^(\d{1,15}(?:\.\d{1,6})?)\s?([KMGTP]?)(?:i?B)?$/i;

/** `2G`, `500 MiB`, `1024` → bytes, by 1,024 as restic counts; undefined for what is no size. */
export function parseBytes(text: string): number | undefined {
  const [, amount, unit = ""] = SIZE.exec(text.trim()) ?? [];
  if (amount === undefined) return undefined;
  const bytes = Math.floor(Number(amount) * 1024 ** ["", "K", "M", "G", "T", "P"].indexOf(unit.toUpperCase()));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/**
 * Gives the memory of a large buffer back at once, where the buffer is all of it: the collector sees a small object, and
 * would let hundreds of MiB gather. Nobody may use the bytes afterwards.
 */
export function releaseBytes({ buffer, byteOffset, length }: Buffer): void {
  if (byteOffset === 0 && buffer.byteLength === length && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/**
 * The same for what `node:zlib` gave: the first part of a buffer of its own. What is small may lie in Node's pool, which
 * is a little longer than it says and belongs to others, too.
 */
export function releaseUnpacked({ buffer, byteLength }: Uint8Array): void {
  if (byteLength > 0 && buffer.byteLength > 2 * Buffer.poolSize && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
