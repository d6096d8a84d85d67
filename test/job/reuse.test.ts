/** What may be taken over from a parent, and each reason for reading all the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import type { ChunkId } from "../../src/base/ids.ts";
import { LIMITS } from "../../src/base/limits.ts";
import {
  isItsTurn,
  isStamped,
  ParentRanges,
  type Present,
  type RangeSource,
  STAMPS_VERSION,
  whyReadAll,
} from "../../src/job/reuse.ts";
import { CUTTER_VERSION, type Manifest } from "../../src/point/manifest.ts";
import { formatRanges, type RangeEntry } from "../../src/point/ranges.ts";
import type { TableFacts } from "../../src/postgres/catalogue.ts";
import type { TablePlan } from "../../src/postgres/ranges.ts";
import type { ServerFacts } from "../../src/postgres/server-facts.ts";
import { DAY, idOf } from "./captures.ts";

const SERVER = {
  version: "15.20",
  major: 15,
  systemIdentifier: "7300000000000000001",
  timeline: 1,
  postmasterStartedAt: "2026-11-01T00:00:00.000001Z",
  databaseOid: "16384",
  isStandby: false,
  extensions: [{ name: "pgcrypto", version: "1.3", schema: "public" }],
} as unknown as ServerFacts;

const PRESENT: Present = {
  server: SERVER,
  lsn: "1/20",
  text: "aa",
  startedAt: "2026-11-07T23:59:59.000000000Z",
  fullEveryMs: 7 * DAY,
};

const STAMPS = { version: STAMPS_VERSION, text: "aa", fullReadAt: "2026-11-01T00:00:00.000000000Z", turn: 3 };

const PARENT = {
  cutter: CUTTER_VERSION,
  server: { ...SERVER, lsn: "1/20" },
  stamps: STAMPS,
} as unknown as Manifest;

function present(changes: Partial<ServerFacts>): Present {
  return { ...PRESENT, server: { ...SERVER, ...changes } };
}

function parent(changes: object): Manifest {
  return { ...PARENT, ...changes };
}

test("where nothing speaks against it, ranges may be taken over", () => {
  assert.equal(whyReadAll(PARENT, PRESENT), undefined);
  assert.equal(whyReadAll(PARENT, { ...PRESENT, lsn: "2/0" }), undefined);
  assert.equal(whyReadAll(PARENT, { ...PRESENT, lsn: "1/A0" }), undefined);
  assert.equal(whyReadAll(PARENT, present({ sizeBytes: 1, roles: [] })), undefined);
});

const REASONS: readonly [what: string, parent: Manifest | undefined, now: Present][] = [
  ["there is no earlier restore point", undefined, PRESENT],
  ["PostgreSQL 13 cannot tell what changed", PARENT, present({ major: 13 })],
  ["the parent does not tell what it read", parent({ stamps: undefined }), PRESENT],
  ["the parent does not tell what it read", parent({ stamps: { ...STAMPS, version: STAMPS_VERSION + 1 } }), PRESENT],
  ["rows are cut in another way now", parent({ cutter: CUTTER_VERSION + 1 }), PRESENT],
  ["it is another server", PARENT, present({ systemIdentifier: "7300000000000000002" })],
  ["the server is on another timeline", PARENT, present({ timeline: 2 })],
  ["a standby is read, and it was its primary before", PARENT, present({ isStandby: true })],
  [
    "a standby was read before, and this is none",
    parent({ server: { ...PARENT.server, standby: { lagSeconds: null } } }),
    PRESENT,
  ],
  ["it is another database of that name", PARENT, present({ databaseOid: "16385" })],
  ["the server has another version", PARENT, present({ version: "15.21" })],
  ["the server was restarted", PARENT, present({ postmasterStartedAt: "2026-11-01T00:00:00.000002Z" })],
  ["an extension changed", PARENT, present({ extensions: [{ name: "pgcrypto", version: "1.4", schema: "public" }] })],
  ["an extension changed", PARENT, present({ extensions: [] })],
  ["values are written in another way now", PARENT, { ...PRESENT, text: "bb" }],
  ["the server's log is behind where it was", PARENT, { ...PRESENT, lsn: "1/1F" }],
  // As text it would be later.
  ["the server's log is behind where it was", PARENT, { ...PRESENT, lsn: "0/FFFFFFFF" }],
  ["the server's log is behind where it was", PARENT, { ...PRESENT, lsn: "1/9" }],
  [
    "the parent does not tell when every row was read",
    parent({ stamps: { ...STAMPS, fullReadAt: "last week" } }),
    PRESENT,
  ],
  ["the clock was put back", PARENT, { ...PRESENT, startedAt: "2026-10-31T23:59:59.000000000Z" }],
  [
    "the last time is longer ago than database.full-every says",
    PARENT,
    { ...PRESENT, startedAt: "2026-11-08T00:00:00.000000000Z" },
  ],
  ["the last time is longer ago than database.full-every says", PARENT, { ...PRESENT, fullEveryMs: 0 }],
];

for (const [at, [reason, before, now]] of REASONS.entries()) {
  test(`everything is read because ${reason} (${at + 1})`, () => assert.equal(whyReadAll(before, now), reason));
}

test("small tables, tables that a crash empties and tables whose text comes from elsewhere get no stamps", () => {
  const table = { bytes: LIMITS.stampedTableBytes, isSelfContained: true, isUnlogged: false };
  assert.equal(isStamped(table, { major: 14 }), true);
  assert.equal(isStamped(table, { major: 13 }), false);
  assert.equal(isStamped({ ...table, bytes: table.bytes - 1 }, { major: 14 }), false);
  assert.equal(isStamped({ ...table, bytes: 1 }, { major: 14 }, 1), true);
  assert.equal(isStamped({ ...table, isSelfContained: false }, { major: 14 }), false);
  assert.equal(isStamped({ ...table, isUnlogged: true }, { major: 14 }), false);
});

test("each range has its turn once in seven points, and each point has about a seventh of them", () => {
  const table = { schema: "public", name: "messages" };
  const buckets = Array.from({ length: 700 }, (_, at) => String(at - 100));
  const turns = Array.from({ length: LIMITS.rereadOneIn }, (_, at) => 40 + at);
  const read = turns.map((turn) => buckets.filter((bucket) => isItsTurn(table, bucket, turn)));
  assert.deepEqual(read.flat().toSorted(), buckets.toSorted());
  for (const some of read) assert.ok(some.length > 60 && some.length < 140, `${some.length} of 700`);
  const [first = []] = read;
  assert.deepEqual(
    buckets.filter((bucket) => isItsTurn(table, bucket, 47)),
    first,
  );
  assert.notDeepEqual(
    buckets.filter((bucket) => isItsTurn({ ...table, name: "conversations" }, bucket, 40)),
    first,
  );
});

const chunk = (text: string): ChunkId => idOf(Buffer.from(text));

const RANGES: RangeEntry[] = ["-1", "0", "7"].map((bucket) => ({
  bucket,
  rows: 2,
  bytes: 10,
  sha256: `sha of ${bucket}`,
  stamp: `stamp of ${bucket}`,
}));

const COLUMN = { isText: false, isGenerated: false, isIdentity: false, isNullable: false, hasMissingValue: false };

const FACTS = {
  schema: "public",
  name: "messages",
  form: "f0",
  key: { kind: "integer", column: "id", type: "bigint" },
  columns: [
    { ...COLUMN, name: "body", attnum: 1, type: "text" },
    { ...COLUMN, name: "id", attnum: 2, type: "bigint" },
  ],
} as unknown as TableFacts;

const PLAN = { k: 10, j: 5 } as unknown as TablePlan;

const ENTRY = {
  schema: "public",
  name: "messages",
  form: "f0",
  key: { kind: "integer", columns: ["id"] },
  columns: ["id", "body"],
  k: 10,
  j: 5,
};

interface Point {
  ranges?: RangeEntry[];
  entry?: object;
  nodes?: object[];
  stored?: (id: ChunkId) => boolean;
  source?: Partial<RangeSource>;
}

const NODES = RANGES.map(({ bucket, bytes }) => ({
  name: `${bucket}.copy`,
  size: bytes,
  content: [chunk(`${bucket} a`), chunk(`${bucket} b`)],
}));

function parentRanges({ ranges = RANGES, entry = ENTRY, nodes = NODES, stored, source }: Point): ParentRanges {
  const paths = { folder: "database/data/public.messages", list: "ranges/database/public.messages.json" };
  const reader = {
    folder: async (path: string) => (path === paths.folder ? nodes : undefined),
    readText: async (path: string) => {
      if (path !== paths.list) throw new Failure("point/invalid", "no such file");
      return formatRanges(ranges);
    },
    ...source,
  } as unknown as RangeSource;
  return new ParentRanges(reader, { tables: [entry] } as unknown as Manifest, stored ?? (() => true));
}

async function taken(point: Point, facts: TableFacts = FACTS, plan: TablePlan = PLAN): Promise<string[]> {
  return [...(await parentRanges(point).of(facts, plan)).keys()];
}

test("the parent's ranges come with what they consist of", async () => {
  const found = await parentRanges({}).of(FACTS, PLAN);
  assert.deepEqual([...found.keys()], ["-1", "0", "7"]);
  assert.deepEqual(found.get("7"), { ...RANGES[2], chunks: [chunk("7 a"), chunk("7 b")] });
});

const without = (name: string) => NODES.filter((node) => node.name !== name);
const replaced = (changes: object) => [...without("0.copy"), { ...NODES[1], ...changes }];

const ONE_LESS: Readonly<Record<string, Point>> = {
  "has no stamp": {
    ranges: RANGES.map((range) => (range.bucket === "0" ? { ...range, stamp: undefined } : range)) as RangeEntry[],
  },
  "has no file": { nodes: without("0.copy") },
  "has a file of another size": { nodes: replaced({ size: 9 }) },
  "has a file of no known size": { nodes: replaced({ size: undefined }) },
  "has a file that consists of nothing": { nodes: replaced({ content: null }) },
  "has a chunk that is not in the repository": { stored: (id) => id !== chunk("0 b") },
};

for (const [what, point] of Object.entries(ONE_LESS)) {
  test(`a range that ${what} is not taken over, and the others are`, async () => {
    assert.deepEqual((await taken(point)).toSorted(), ["-1", "7"]);
  });
}

const NOTHING: Readonly<Record<string, Point>> = {
  "is not in the parent": { entry: { ...ENTRY, name: "other" } },
  "lies in another schema": { entry: { ...ENTRY, schema: "other" } },
  "had another form": { entry: { ...ENTRY, form: "f1" } },
  "had no form": { entry: { ...ENTRY, form: undefined } },
  "was cut into other ranges": { entry: { ...ENTRY, k: 11 } },
  "was cut into other chunks": { entry: { ...ENTRY, j: 4 } },
  "was ordered by other columns": { entry: { ...ENTRY, key: { kind: "columns", columns: ["id"] } } },
  "was ordered by another column": { entry: { ...ENTRY, key: { kind: "integer", columns: ["body"] } } },
  "had other columns": { entry: { ...ENTRY, columns: ["id", "text"] } },
  "had its columns in another order": { entry: { ...ENTRY, columns: ["body", "id"] } },
  "has a list that is no list": { source: { readText: async () => "{}" } },
  "has a damaged list": {
    source: {
      readText: async () => {
        throw new Failure("repo/damaged", "a chunk is damaged");
      },
    },
  },
};

for (const [what, point] of Object.entries(NOTHING)) {
  test(`nothing is taken over of a table that ${what}`, async () => assert.deepEqual(await taken(point), []));
}

test("a place that cannot be reached is no damage", async () => {
  const failure = new Failure("store/unreachable", "gone");
  const source = {
    folder: async () => {
      throw failure;
    },
  };
  await assert.rejects(taken({ source }), failure);
});
