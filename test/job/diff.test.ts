/** Comparing two points that were made by hand: how tables are cut, what is read, what cannot be. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { diff } from "../../src/job/diff.ts";
import { PointReader } from "../../src/job/point-reader.ts";
import { listPoints } from "../../src/job/points.ts";
import type { DiffSummary } from "../../src/job/summaries.ts";
import type { Manifest, TableEntry } from "../../src/point/manifest.ts";
import { formatRanges, type RangeEntry } from "../../src/point/ranges.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { createMemoryStore, type MemoryStore } from "../../src/store/memory-store.ts";
import { copyStore, type Files, newRepository, reopen, signal } from "../repo/small-backup.ts";
import { addPoint, DAY, NOW } from "./kept-points.ts";

interface Table {
  columns: string[];
  /** Undefined: no key. */
  k?: number;
  /** Fields as COPY has them. */
  rows: string[][];
}

interface Content {
  /** Of the schema `public`, by name. */
  tables?: Record<string, Table>;
  secrets?: Manifest["secrets"];
  files?: Files;
}

function hashOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A table's entry, and its files in the point. */
function written(name: string, { columns, k, rows }: Table): { entry: TableEntry; files: Files } {
  const bucketOf = ([id = ""]: string[]) => (k === undefined ? "all" : (BigInt(id) >> BigInt(k)).toString());
  const files: Record<string, Uint8Array> = {};
  const ranges: RangeEntry[] = [];
  for (const [bucket, mine] of Map.groupBy(rows, bucketOf)) {
    const text = Buffer.from(mine.map((row) => `${row.join("\t")}\n`).join(""));
    ranges.push({ bucket, rows: mine.length, bytes: text.length, sha256: hashOf(text) });
    files[`chatkeep/database/data/public.${name}/${bucket}.copy`] = text;
  }
  files[`chatkeep/ranges/database/public.${name}.json`] = Buffer.from(formatRanges(ranges));
  const entry: TableEntry = {
    schema: "public",
    name,
    key: k === undefined ? { kind: "none", columns: [] } : { kind: "integer", columns: ["id"] },
    columns,
    k: k ?? null,
    j: k ?? null,
    rows: rows.length,
    bytes: ranges.reduce((sum, range) => sum + range.bytes, 0),
    ranges: ranges.length,
  };
  return { entry, files };
}

async function makePoint(repository: Repository, at: number, { tables = {}, secrets = [], files = {} }: Content) {
  const all = Object.entries(tables).map(([name, table]) => written(name, table));
  const manifest = {
    schema: 1,
    installation: { id: "", name: "desk", kind: "manual" },
    server: { version: "15.1" },
    chatwoot: { version: "4.15.1", migrations: [] },
    tables: all.map(({ entry }) => entry),
    sequences: [],
    filledViews: [],
    storage: [],
    read: {},
    secrets,
    code: { kind: "none", files: 0 },
  };
  await addPoint(repository, at, {
    files: {
      "chatkeep/manifest.json": Buffer.from(JSON.stringify(manifest)),
      "chatkeep/config/env": Buffer.from("A=1\n"),
      ...Object.assign({}, ...all.map((one) => one.files)),
      ...files,
    },
  });
}

/** Made once: to open a repository costs most of a second. */
const made = newRepository(createMemoryStore());

/** Both points in an empty repository. */
async function twoPoints(before: Content, after: Content) {
  const repository = reopen(await made, copyStore((await made).store as MemoryStore));
  await makePoint(repository, NOW - DAY, before);
  await makePoint(repository, NOW, after);
  const fresh = reopen(repository);
  await fresh.loadIndex({ signal });
  const { points } = await listPoints(fresh, { signal });
  const [newer, older] = points.map((point) => new PointReader(fresh, point, { signal }));
  assert.ok(newer && older);
  return { repository: fresh, older, newer };
}

const OPTIONS = { repositoryName: "primary", clock: systemClock, progress: silent, signal };

async function compare(before: Content, after: Content, table?: string): Promise<DiffSummary> {
  const { older, newer } = await twoPoints(before, after);
  return await diff([older, newer], { ...OPTIONS, table });
}

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => [`${from + at}`, "x"]);

function things(rows: string[][], k = 3): Content {
  return { tables: { things: { columns: ["id", "a"], k, rows } } };
}

const ROWS = fc
  .uniqueArray(fc.tuple(fc.integer({ min: -20, max: 60 }), fc.constantFrom("", "\\N", "a")), { selector: ([id]) => id })
  .map((rows) => rows.toSorted(([a], [b]) => a - b).map(([id, value]) => [`${id}`, value]));
const TABLE = fc.tuple(ROWS, ROWS, fc.nat(7), fc.nat(7), fc.boolean());

test("however the two points cut a table, its rows are counted as a comparison in memory counts them", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(TABLE, { minLength: 12, maxLength: 12 }), async (list) => {
      const contents: Record<string, Table>[] = [{}, {}];
      for (const [at, [before, after, k, other, isSameCut]] of list.entries()) {
        contents[0] = { ...contents[0], [`t${at}`]: { columns: ["id", "a"], k, rows: before } };
        const cut = isSameCut ? k : other;
        contents[1] = { ...contents[1], [`t${at}`]: { columns: ["id", "a"], k: cut, rows: after } };
      }
      const summary = await compare({ tables: contents[0] ?? {} }, { tables: contents[1] ?? {} });
      for (const [at, [before, after]] of list.entries()) {
        const [old, now] = [new Map(before as [string, string][]), new Map(after as [string, string][])];
        const told = summary.tables.find(({ name }) => name === `t${at}`);
        assert.deepEqual(
          [told?.added ?? 0, told?.changed ?? 0, told?.removed ?? 0],
          [
            [...now.keys()].filter((id) => !old.has(id)).length,
            [...now].filter(([id, value]) => old.has(id) && old.get(id) !== value).length,
            [...old.keys()].filter((id) => !now.has(id)).length,
          ],
          `t${at}`,
        );
      }
      assert.equal(summary.tablesCompared, 12);
    }),
    { numRuns: 10 },
  );
});

test("of a large table only the ranges that differ are read, and whole ranges that come or go are counted", async () => {
  const before = numbers(0, 64);
  const after = numbers(8, 80).map(([id = "", value = ""]) => [id, id === "33" ? "changed" : value]);
  const summary = await compare(things(before), things(after));
  const [table] = summary.tables;
  assert.deepEqual([table?.added, table?.changed, table?.removed], [16, 1, 8]);
  assert.deepEqual(summary.read.ranges, 2);
  // Whoever wants the ids has them read.
  const { rows, read } = await compare(things(before), things(after), "things");
  assert.deepEqual([rows?.changed, rows?.removed], [[{ id: "33", columns: ["a"] }], numbers(0, 8).map(([id]) => id)]);
  assert.equal(read.ranges, 5);
});

test("a column that is new or gone is said, and no row differs for it", async () => {
  const rows = numbers(0, 20);
  const summary = await compare(
    { tables: { things: { columns: ["id", "old"], k: 3, rows } } },
    { tables: { things: { columns: ["id", "new"], k: 3, rows } } },
  );
  const [table] = summary.tables;
  assert.deepEqual([table?.columnsAdded, table?.columnsRemoved], [["new"], ["old"]]);
  assert.deepEqual([table?.added, table?.changed, table?.removed], [0, 0, 0]);
});

test("rows that are only cut in another way are no difference", async () => {
  const summary = await compare(things(numbers(0, 40), 2), things(numbers(0, 40), 4));
  assert.deepEqual([summary.tables, summary.tablesCompared], [[], 1]);
  assert.ok(summary.read.ranges > 0);
});

test("a range that is damaged is named, and the others of its table are compared", async () => {
  const before = numbers(0, 32);
  const after = before.map(([id = ""]) => [id, "other"]);
  const { repository, older, newer } = await twoPoints(things(before), things(after));
  const node = await newer.find("database/data/public.things/2.copy");
  const [chunk] = node?.content ?? [];
  assert.ok(chunk);
  const [location] = (await repository.loadIndex({ signal })).find("data", chunk);
  assert.ok(location);
  const { files } = repository.store as MemoryStore;
  const name = [...files.keys()].find((key) => key.endsWith(location.pack)) ?? "";
  const bytes = Buffer.from(files.get(name) ?? []);
  bytes[location.offset + 20] = (bytes[location.offset + 20] ?? 0) ^ 1;
  files.set(name, bytes);
  const summary = await diff([older, newer], OPTIONS);
  assert.deepEqual(
    summary.damaged.map(({ what }) => what),
    ["table public.things, range 2"],
  );
  const [table] = summary.tables;
  assert.deepEqual([table?.isPartial, table?.changed], [true, 24]);
});

function users(name: string): Table {
  return {
    columns: ["id", "name", "email", "tokens", "sign_in_count"],
    k: 4,
    rows: [
      ["1", name, "one@example.org", `canary of ${name}`, name],
      ["2", "Two", "two@example.org", "{}", name],
    ],
  };
}

test("an agent counts once in each account, by the user's name or the place that the user has there", async () => {
  const columns = ["id", "account_id", "user_id", "role"];
  const accounts: Table = { columns: ["id", "name"], k: 4, rows: ["7", "8", "9"].map((id) => [id, `account ${id}`]) };
  const before = {
    users: users("One"),
    accounts,
    account_users: {
      columns,
      k: 4,
      rows: [
        ["1", "7", "1", "0"],
        ["2", "8", "1", "0"],
        ["3", "8", "2", "0"],
      ],
    },
  };
  const after = {
    users: users("Uno"),
    accounts,
    account_users: {
      columns,
      k: 4,
      rows: [
        ["1", "7", "1", "1"],
        ["2", "8", "1", "0"],
        ["4", "9", "99", "0"],
      ],
    },
  };
  const summary = await compare({ tables: before }, { tables: after });
  const told = (summary.accounts ?? []).map(({ account, name, objects: { agents } }) => ({
    account,
    name,
    added: agents.added.examples.map(({ what }) => what),
    changed: agents.changed.examples.map(({ what }) => what),
    removed: agents.removed.examples.map(({ what }) => what),
  }));
  assert.deepEqual(told, [
    { account: "7", name: "account 7", added: [], changed: ["Uno <one@example.org>"], removed: [] },
    {
      account: "8",
      name: "account 8",
      added: [],
      changed: ["Uno <one@example.org>"],
      removed: ["Two <two@example.org>"],
    },
    // A user that is not there any more has no name.
    { account: "9", name: "account 9", added: ["user 99"], changed: [], removed: [] },
  ]);
  assert.ok(!JSON.stringify(summary).includes("canary"));
});

function secrets(...list: [string, string][]): Manifest["secrets"] {
  return list.map(([name, hmac]) => ({ name, hmac }));
}

test("secrets are compared by their fingerprints; where none agrees, nothing is said", async () => {
  const before = secrets(["A", "1"], ["B", "2"], ["GONE", "3"]);
  const known = await compare({ secrets: before }, { secrets: secrets(["A", "1"], ["B", "other"], ["NEW", "4"]) });
  assert.deepEqual(known.secrets, {
    added: ["NEW"],
    changed: ["B"],
    removed: ["GONE"],
    counts: { added: 1, changed: 1, removed: 1 },
    isKnown: true,
  });
  const unknown = await compare({ secrets: before }, { secrets: secrets(["A", "x"], ["B", "y"], ["GONE", "z"]) });
  assert.deepEqual([unknown.secrets?.isKnown, unknown.secrets?.changed], [false, []]);
});

function file(path: string, text: string): Files {
  return { [`chatkeep/${path}`]: Buffer.from(text) };
}

test("files are told by storage service, and names of the configuration are", async () => {
  const summary = await compare(
    {
      files: {
        ...file("storage/local/0/0/aa", "one"),
        ...file("storage/local/0/0/bb", "two"),
        ...file("config/gone", ""),
      },
    },
    {
      files: {
        ...file("storage/local/0/0/bb", "two"),
        ...file("storage/my%2Es3/0/1/cc", "three"),
        ...file("config/env", "A=2\n"),
      },
    },
  );
  const none = { files: 0, bytes: 0 };
  assert.deepEqual(summary.storage, [
    { service: "local", added: none, changed: none, removed: { files: 1, bytes: 3 } },
    { service: "my.s3", added: { files: 1, bytes: 5 }, changed: none, removed: none },
  ]);
  assert.deepEqual([summary.config?.changed, summary.config?.removed], [["env"], ["gone"]]);
});
