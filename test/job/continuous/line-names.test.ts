/** What a file's table is called: by the bases of its own cluster and line, whatever others have under the same numbers. */
import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { silent } from "../../../src/base/progress.ts";
import { namesOfRanges } from "../../../src/job/continuous/line-names.ts";
import { listContinuous } from "../../../src/job/continuous/list.ts";
import type { TableNames } from "../../../src/job/continuous/table-names.ts";
import { findCommits } from "../../../src/job/find-commits.ts";
import type { BaseDatabase, BaseFacts } from "../../../src/point/base-facts.ts";
import type { Base } from "../../../src/point/continuous.ts";
import type { ServerAddress } from "../../../src/postgres/address.ts";
import type { Repository } from "../../../src/repo/repository.ts";
import { createMemoryStore } from "../../../src/store/memory-store.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { newRepository, signal } from "../../repo/small-backup.ts";
import { factsOf, putBase } from "./bases.ts";
import { LINE, putSpan, SEGMENT, START } from "./spans.ts";

const TABLE = 17_803;
const NEW_CLUSTER = "7499999999999999999";
/** Where nobody is: what it says of itself is not known. */
const LIVE: ServerAddress = { host: "127.0.0.1", port: 1, user: "chatwoot", database: "chatwoot" };

let folder: TestFolder;
let repository: Repository;

/** One page of `pg_class` with one table. */
function classPage(name: string): Buffer {
  const page = Buffer.alloc(8192);
  const [at, length] = [8000, 150];
  page.writeUInt16LE(28, 12);
  page.writeUInt32LE((length * 2 ** 17 + (1 << 15) + at) >>> 0, 24);
  const row = page.subarray(at, at + length);
  row[22] = 24;
  row.writeUInt32LE(TABLE, 24);
  row.write(name, 28);
  row.writeUInt32LE(2200, 24 + 68);
  row.writeUInt32LE(TABLE, 24 + 88);
  row.write("r", 24 + 115);
  return page;
}

function classMap(): Buffer {
  const map = Buffer.alloc(512);
  for (const [at, value] of [0x59_2717, 1, 1259, 1259].entries()) map.writeUInt32LE(value, 4 * at);
  return map;
}

/** A base with databases, each of which has one table. */
async function putNames(base: Partial<Base>, tables: Readonly<Record<number, [database: string, table: string]>>) {
  await rm(folder.at("base"), { recursive: true, force: true });
  const facts: BaseFacts = factsOf(base);
  const [like] = facts.databases;
  const databases: BaseDatabase[] = [];
  for (const [oid, [name, table]] of Object.entries(tables)) {
    assert.ok(like !== undefined);
    databases.push({ ...like, name, oid: Number(oid) });
    await mkdir(folder.at(`base/${oid}`), { recursive: true });
    await writeFile(folder.at(`base/${oid}/1259`), classPage(table));
    await writeFile(folder.at(`base/${oid}/pg_filenode.map`), classMap());
  }
  await putBase(repository, folder.path, { facts: { ...facts, databases } });
}

before(async () => {
  folder = await temporaryFolder();
  repository = await newRepository(createMemoryStore());
  await putNames({}, { 16384: ["chatwoot", "messages"] });
  await putSpan(repository, { at: 0, bytes: Buffer.alloc(SEGMENT) });
  await putNames(
    { systemId: NEW_CLUSTER },
    {
      16384: ["other", "films"],
      16500: ["chatwoot_before_20260301T020304", "inboxes"],
      16600: ["chatwoot", "contacts"],
    },
  );
  // After a failover the new server gave the number to another table than the old one, which wrote on.
  const from = START + BigInt(4 * SEGMENT);
  await putNames({ timeline: 2, from, to: from + 1000n }, { 16384: ["chatwoot", "labels"] });
  const histories = new Map([[2, `1\t16/B3200000\tno recovery target specified\n`]]);
  await putSpan(repository, { at: 4 * SEGMENT, timeline: 2, bytes: Buffer.alloc(SEGMENT), histories });
});
after(async () => await folder[Symbol.asyncDispose]());

async function namesAt(line: { systemId?: string; timeline?: number; at: number }): Promise<TableNames> {
  const range = { ...LINE, ...line, to: START + BigInt(line.at) };
  const continuous = await listContinuous(repository, LINE.installation, { signal });
  const names = await namesOfRanges([range], continuous, { repository, live: LIVE, progress: silent, signal });
  const own = names.get(range);
  assert.ok(own !== undefined);
  return own;
}

const file = (database: number, relation = TABLE) => ({ tablespace: 1663, database, relation });

test("a table is called as its own cluster and line call it, though others have the same numbers", async () => {
  const old = await namesAt({ at: 3 * SEGMENT });
  assert.equal(old.nameOf(file(16384)), "messages");
  assert.deepEqual(old.tables, ["messages"]);
  assert.equal((await namesAt({ timeline: 2, at: 5 * SEGMENT })).nameOf(file(16384)), "labels");
  const other = await namesAt({ systemId: NEW_CLUSTER, at: SEGMENT });
  assert.equal(other.covers(file(16384)), false);
  assert.equal(other.nameOf(file(16600)), "contacts");
});

test("what a restore put aside is searched, too, and a database that no base has is not taken for another one's", async () => {
  const names = await namesAt({ systemId: NEW_CLUSTER, at: SEGMENT });
  assert.equal(names.covers(file(16500)) && names.nameOf(file(16500)), "inboxes");
  assert.deepEqual(
    [16384, 16500, 16700].map((database) => names.isUnknown(file(database))),
    [false, false, true],
  );
  assert.equal(names.isUnknown(file(16700, 1259)), false, "a catalogue's rows are nobody's");
});

test("a table that no base has is refused, and one that is nearly called so is named", async () => {
  const wanted = { table: "lables", inserted: 0, updated: 0, deleted: 0 };
  const times = { sinceUs: undefined, untilUs: undefined, limit: 1, progress: silent, signal };
  const asked = findCommits({ repository, installationId: LINE.installation, live: LIVE, wanted, ...times });
  await assert.rejects(asked, (error) => {
    assert.ok(isFailure(error, "usage/invalid"));
    assert.equal(error.message, "no base has a table 'lables'");
    assert.equal(error.hint, "Did you mean 'labels'?");
    return true;
  });
});
