import assert from "node:assert/strict";
import { test } from "node:test";
import { plainLook } from "../../src/cli/look.ts";
import { formatPairs, formatTable, type Column } from "../../src/cli/table.ts";

interface Row {
  name: string;
  size: string;
  tags: string;
}

const COLUMNS: Column<Row>[] = [
  { title: "name", cell: (row) => row.name },
  { title: "size", cell: (row) => row.size, align: "right", leaveOut: 1 },
  { title: "tags", cell: (row) => row.tags, leaveOut: 2 },
];
const ROWS: Row[] = [
  { name: "a", size: "1.0 KiB", tags: "daily" },
  { name: "日本", size: "9 B", tags: "" },
];

test("columns are aligned, numbers at the right, and no line ends in spaces", () => {
  assert.deepEqual(formatTable(COLUMNS, ROWS, plainLook(0)), [
    "name     size  tags",
    "a     1.0 KiB  daily",
    "日本      9 B",
  ]);
});

test("on a narrow terminal the least important columns go first, the others stay whole", () => {
  assert.deepEqual(formatTable(COLUMNS, ROWS, plainLook(0, 19)), ["name     size", "a     1.0 KiB", "日本      9 B"]);
  assert.deepEqual(formatTable(COLUMNS, ROWS, plainLook(0, 8)), ["name", "a", "日本"]);
  assert.deepEqual(formatTable(COLUMNS, ROWS, plainLook(0, 1)), ["name", "a", "日本"]);
});

test("a table without rows is its headings", () => {
  assert.deepEqual(formatTable(COLUMNS, [], plainLook(0)), ["name  size  tags"]);
});

test("pairs stand below each other", () => {
  assert.deepEqual(
    formatPairs(
      [
        ["one", "1"],
        ["three", "3"],
      ],
      plainLook(0),
      "  ",
    ),
    ["  one    1", "  three  3"],
  );
});
