/** What people read of a comparison, as a whole, so that a change of its words is seen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { plainLook, widthOf } from "../../src/cli/look.ts";
import { formatDiff, formatNotCompared } from "../../src/cli/reports/diff.ts";
import { DIFF, DIFF_OF_NOTHING, DIFF_OF_TABLE } from "./diff-summaries.ts";

const LOOK = plainLook(Date.parse("2026-11-23T17:00:00Z"));
const TERMINAL = { ...LOOK, width: 80 };
const asText = { serializers: [(text: string) => text] };
const DAMAGED = {
  ...DIFF,
  damaged: [
    { what: "table public.messages, range 3", message: "chunk 11111111 cannot be read: pack 22222222 is not there" },
  ],
};
const NO_KEY = {
  ...DIFF_OF_TABLE,
  rows: { table: "public.portals_members", hasIds: false, added: [], changed: [], removed: [] },
};
const OTHER_KEYS = { ...DIFF_OF_NOTHING, secrets: { ...DIFF.secrets, ...DIFF_OF_NOTHING.secrets, isKnown: false } };

const REPORTS: Record<string, string[]> = {
  "what changed between two points": formatDiff(DIFF, TERMINAL),
  "the same, in a file": formatDiff(DIFF, LOOK),
  "two points that are the same": formatDiff({ ...DIFF_OF_NOTHING, swapped: true }, TERMINAL),
  "secrets that cannot be compared": formatDiff(OTHER_KEYS as typeof DIFF, TERMINAL),
  "what changed in one table": formatDiff(DIFF_OF_TABLE, TERMINAL),
  "what changed in a table without a key": formatDiff(NO_KEY, TERMINAL),
  "nothing that changed in a table": formatDiff({ ...DIFF_OF_TABLE, tables: [] }, TERMINAL),
  "what could not be compared": formatNotCompared(DAMAGED, LOOK),
};

for (const [name, lines] of Object.entries(REPORTS)) {
  test(name, (t) => {
    t.assert.snapshot(lines.join("\n"), asText);
  });
}

test("on a terminal no line is wider than it, and none ends in spaces", () => {
  const accounts = Array.from({ length: 30 }, (_, at) => ({
    ...(DIFF.accounts?.[at % 2] ?? assert.fail()),
    account: `${at}`,
  }));
  const tables = Array.from({ length: 60 }, (_, at) => ({
    ...(DIFF.tables[at % 5] ?? assert.fail()),
    name: `${"long_".repeat(12)}${at}`,
  }));
  for (const summary of [DIFF, { ...DIFF, accounts, tables }, OTHER_KEYS as typeof DIFF, DIFF_OF_TABLE]) {
    for (const width of [80, 100]) {
      for (const line of formatDiff(summary, { ...LOOK, width })) assert.ok(widthOf(line) <= width, line);
    }
    for (const line of formatDiff(summary, LOOK)) assert.equal(line, line.trimEnd());
  }
});
