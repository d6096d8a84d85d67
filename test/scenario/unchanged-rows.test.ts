/** Rows that did not change, by the command line: taken over, read again in their turn, and never trusted against evidence. */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ChunkId } from "../../src/base/ids.ts";
import type { Finding } from "../../src/base/findings.ts";
import type { TreeNode } from "../../src/format/node.ts";
import { encodeTree } from "../../src/format/tree.ts";
import type { PointReader } from "../../src/job/point-reader.ts";
import { isItsTurn } from "../../src/job/reuse.ts";
import { Sealing } from "../../src/job/sealing.ts";
import type { BackupSummary } from "../../src/job/summaries.ts";
import { formatRanges, parseRanges, type RangeEntry } from "../../src/point/ranges.ts";
import { Repository } from "../../src/repo/repository.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { savedPoints } from "./saved-point.ts";
import { longTest } from "../harness/whole.ts";

const { signal } = new AbortController();
const TABLE = { schema: "public", name: "big" };
const LIST = "ranges/database/public.big.json";
/** Far from each other, so that each has a range of its own. */
const GROUPS = 14;

let desk: Desk;
let repository: Repository;

before(async () => {
  desk = await openDesk({
    hasTwoReaders: true,
    hasServerForDrills: true,
    size: { messages: 60, conversations: 10, files: 4 },
  });
  ({ repository } = await makeCheapToOpen(desk));
  await run(
    `create table big (id bigint primary key, body text);
     insert into big select (n % ${GROUPS}) * 1000000000000 + n, repeat(md5(n::text), 8) from generate_series(1, 20000) n`,
  );
});

after(async () => await desk[Symbol.asyncDispose]());

async function run(sql: string): Promise<void> {
  await desk.server.query(sql, desk.installation.database.database);
}

async function backup(...args: string[]): Promise<BackupSummary> {
  return (await desk.summary(["backup", ...args])) as unknown as BackupSummary;
}

async function newest(): Promise<PointReader> {
  const point = (await savedPoints(repository)).at(-1);
  assert.ok(point);
  return point;
}

/** The buckets of the newest point, and those of them that the next backup reads although they are as they were. */
async function nextTurn(): Promise<{ ranges: RangeEntry[]; turn: string[]; k: number }> {
  const point = await newest();
  const { stamps, tables } = await point.manifest();
  const k = tables.find(({ name }) => name === TABLE.name)?.k ?? 0;
  const ranges = parseRanges(await point.readText(LIST));
  const next = (stamps?.turn ?? 0) + 1;
  return { ranges, k, turn: ranges.map(({ bucket }) => bucket).filter((bucket) => isItsTurn(TABLE, bucket, next)) };
}

/** Puts a point in the place of the newest one that differs from it in the list of the table's ranges only. */
async function forge(change: (range: RangeEntry) => RangeEntry): Promise<void> {
  const point = await newest();
  const text = formatRanges(parseRanges(await point.readText(LIST)).map(change));
  await using sealing = await Sealing.open({ repository, address: undefined, expectedChunks: 100, workers: 1, signal });
  const replace = async (path: string, put: (node: TreeNode) => TreeNode): Promise<ChunkId> => {
    const cut = path.lastIndexOf("/");
    const nodes = (await point.folder(cut < 0 ? "" : path.slice(0, cut))) ?? [];
    const changed = nodes.map((node) => (node.name === path.slice(cut + 1) ? put(node) : node));
    const subtree = await sealing.storeTree(encodeTree(changed));
    return cut < 0 ? subtree : await replace(path.slice(0, cut), (node) => ({ ...node, subtree }));
  };
  const content = await sealing.storeContent(Buffer.from(text));
  const folder = await replace(LIST, (node) => ({ ...node, size: Buffer.byteLength(text), content }));
  const { snapshot, snapshotId } = point.point;
  const top = await repository.readTree(snapshot.tree, { signal });
  const tree = await sealing.storeTree(encodeTree(top.map((node) => ({ ...node, subtree: folder }))));
  await sealing.finish();
  await repository.saveSnapshot({ ...snapshot, tree }, { signal });
  await rm(join(desk.repository, "snapshots", snapshotId));
  const { store, keys, config, keyId } = repository;
  repository = new Repository({ store, keys, config, keyId });
}

function kinds({ findings }: { findings: readonly Finding[] }): string[] {
  return findings.filter(({ level }) => level === "alarm").map(({ kind }) => kind);
}

function sums(ranges: readonly RangeEntry[]): string[] {
  return ranges.map(({ bucket, sha256 }) => `${bucket} ${sha256}`);
}

test("nothing changed: ranges are taken over, but for those whose turn it is; one row makes one range be read", async () => {
  const first = await backup();
  assert.equal(first.database.rangesReused, 0);
  const { ranges, k } = await nextTurn();
  assert.ok(ranges.length >= GROUPS);
  const others = first.database.ranges - ranges.length;
  for (let times = 0; times < 2; times += 1) {
    const { turn } = await nextTurn();
    const { database, added } = await backup();
    assert.equal(database.rangesReused, ranges.length - turn.length);
    assert.equal(database.rangesRead, others + turn.length);
    assert.equal(database.rows, first.database.rows);
    const takenOver = ranges.filter(({ bucket }) => !turn.includes(bucket)).reduce((sum, { bytes }) => sum + bytes, 0);
    assert.equal(database.bytesRead, first.database.bytesRead - takenOver);
    assert.ok(added.bytes < 100_000, `${added.bytes} bytes added`);
  }
  const { turn } = await nextTurn();
  const quiet = BigInt(ranges.find(({ bucket }) => !turn.includes(bucket))?.bucket ?? 0) << BigInt(k);
  await run(`update big set body = body || '.' where id = (select min(id) from big where id >= ${quiet})`);
  const changed = await backup();
  assert.equal(changed.database.rangesReused, ranges.length - turn.length - 1);
  const { stdout } = await desk.chatkeep(["backup"]);
  assert.match(stdout, /row.? in \d+ tables; .* read, \d+ of \d+ ranges taken over unchanged/);
  assert.equal((await desk.summary(["drill"]))["proven"], true);
});

longTest("--full, and full-every reached: every row is read", async () => {
  assert.equal((await backup("--full")).database.rangesReused, 0);
  assert.ok((await backup()).database.rangesReused > 0);
  const config = await readFile(desk.config, "utf8");
  await writeFile(desk.config, `${config}\ndatabase: { full-every: 0d }\n`);
  try {
    assert.equal((await backup()).database.rangesReused, 0);
    const told = await desk.chatkeep(["backup"]);
    assert.match(told.stderr, /^reading every row: the last time is longer ago than database\.full-every says$/m);
    await writeFile(desk.config, `${config}\ndatabase: { full-every: weekly }\n`);
    const { status, stderr } = await desk.chatkeep(["backup"]);
    assert.equal(status, 2);
    assert.match(stderr, /full-every/);
  } finally {
    await writeFile(desk.config, config);
  }
});

test("a range that is other than its stamp says is an alarm once, and the point is read in full and whole", async () => {
  const whole = parseRanges(await (await newest()).readText(LIST));
  while ((await nextTurn()).turn.length === 0) await backup();
  const { turn } = await nextTurn();
  await forge((range) => ({ ...range, sha256: range.sha256.split("").toReversed().join("") }));
  const stale = (await desk.summary(["backup"], 3)) as unknown as BackupSummary;
  assert.deepEqual(kinds(stale), ["stale-range"]);
  const [finding] = stale.findings.filter(({ kind }) => kind === "stale-range");
  assert.match(finding?.message ?? "", new RegExp(`^range (${turn.join("|")}) of table public.big holds other rows`));
  assert.equal(stale.database.rangesReused, 0);
  assert.deepEqual(sums(parseRanges(await (await newest()).readText(LIST))), sums(whole));
  const next = await backup();
  assert.deepEqual(kinds(next), []);
  assert.ok(next.database.rangesReused > 0);
});

longTest("a point whose drill failed hands nothing on", async () => {
  await forge((range) => ({ ...range, sha256: range.sha256.split("").toReversed().join("") }));
  const { stderr } = await desk.chatkeep(["drill"]);
  assert.match(stderr, /failed: rows/);
  const next = await backup();
  assert.equal(next.database.rangesReused, 0);
  assert.ok(!kinds(next).includes("stale-range"));
});
