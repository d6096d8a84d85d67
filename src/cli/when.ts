/** Instants as people read them: how long ago, and exactly, in UTC. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Milliseconds since 1970-01-01Z of an RFC 3339 text; NaN when it is none. */
function parseInstant(text: string): number {
  return Date.parse(text); // oxlint-disable-line no-restricted-globals -- parses, reads no clock
}

/** `2026-11-23T16:58:50.123Z` → `2026-11-23 16:58:50 UTC`; what is no instant comes back as it is. */
export function formatUtc(text: string): string {
  const ms = parseInstant(text);
  if (Number.isNaN(ms)) return text;
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`; // oxlint-disable-line no-restricted-globals -- formats, reads no clock
}

/** `3 h ago`, `2 days ago`. A clock that disagrees with the repository's shows as `in the future`. */
export function formatAge(text: string, nowMs: number): string {
  const age = nowMs - parseInstant(text);
  if (Number.isNaN(age)) return "";
  if (age < -MINUTE) return "in the future";
  if (age < MINUTE) return "just now";
  if (age < HOUR) return `${Math.floor(age / MINUTE)} min ago`;
  if (age < 2 * DAY) return `${Math.floor(age / HOUR)} h ago`;
  return `${Math.floor(age / DAY)} days ago`;
}
