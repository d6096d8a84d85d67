/** What was done is found in the log, by table and by how many rows, with the position that has everything before it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { sendMessage } from "../../src/demo/change.ts";
import { seededRandom } from "../../src/demo/random.ts";
import type { FoundCommit, MomentsSummary } from "../../src/job/commits-summary.ts";
import { listPoints } from "../../src/job/points.ts";
import { longTest } from "../harness/whole.ts";
import { reopen, signal } from "../repo/small-backup.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";
import { onDatabase } from "./hostile-installation.ts";
import { FOLLOWED, protect, serverTime } from "./protected-desk.ts";

let desk: Desk;
/** Between the messages and the deletion. */
let middle: string;
let deleted: number;

before(async () => {
  desk = await openDesk({ server: { settings: [...FOLLOWED] }, size: { messages: 60, conversations: 12, files: 6 } });
  const { repository } = await makeCheapToOpen(desk);
  await desk.summary(["backup"]);
  const [point] = (await listPoints(repository, { signal })).points;
  const { database } = desk.installation.database;
  const protection = await protect(desk.server, { id: point?.installationId ?? "", name: "desk" }, { database });
  const random = seededRandom("find moments");
  await onDatabase(desk.installation, async (client) => {
    for (let n = 0; n < 3; n += 1) await sendMessage(client, random);
    middle = await serverTime(desk.server);
    const gone = await client.query("delete from messages where id % 2 = 0");
    deleted = gone.rowCount ?? 0;
    await client.query("begin; delete from messages; rollback");
    await client.query("create table extra (n int primary key, long text)");
    await client.query("insert into extra select n, 'x' from generate_series(1, 20) n");
    // Its second file is known to nobody when the log is read: only a table's first and last are.
    await client.query("truncate extra");
    await client.query("insert into extra select n, 'y' from generate_series(1, 7) n");
    await client.query("update extra set long = 'z' where n <= 5");
    await client.query("truncate notifications");
    await client.query("truncate notifications");
    await client.query("begin");
    for (let n = 20; n < 24; n += 1) {
      await client.query("savepoint one");
      await client.query("insert into extra values ($1::int, repeat(md5($1::int::text), 500))", [n]);
      if (n === 23) await client.query("rollback to savepoint one");
    }
    await client.query("commit");
  });
  await desk.server.query("select pg_switch_wal()");
  await onDatabase(desk.installation, async (client) => await client.query("update accounts set name = 'after'"));
  await protection.finish(reopen(repository));
});

after(async () => await desk[Symbol.asyncDispose]());

async function find(...args: string[]): Promise<MomentsSummary> {
  return (await desk.summary(["moments", ...args])) as unknown as MomentsSummary;
}

async function messagesAt(word: string): Promise<number> {
  const dumped = await desk.chatkeep(["dump", word, "manifest.json"]);
  assert.equal(dumped.status, 0, dumped.stderr);
  const { tables } = JSON.parse(dumped.stdout) as { tables: { name: string; rows: number }[] };
  return tables.find(({ name }) => name === "messages")?.rows ?? -1;
}

function changeIn({ tables }: FoundCommit, table: string) {
  return tables.find((change) => change.table === table);
}

test("the transaction that deleted many rows of a table is found, and no other", async () => {
  const { found, matching, unread } = await find("--table", "messages", "--deleted", "10");
  assert.deepEqual(unread, []);
  assert.equal(matching, 1, JSON.stringify(found));
  const [one] = found;
  assert.ok(one !== undefined && deleted > 10);
  assert.deepEqual(changeIn(one, "messages"), {
    table: "messages",
    inserted: 0,
    updated: 0,
    deleted,
    replaced: false,
  });
  assert.equal(one.whole, true);
  assert.match(one.before, /^lsn:0\/[0-9A-F]+$/);
});

test("a table that was truncated is found as one that lost everything, as often as it was", async () => {
  assert.equal((await find("--table", "notifications", "--deleted", "1000")).matching, 1);
  const { found } = await find("--table", "extra");
  const done = found.map((commit) => changeIn(commit, "extra"));
  const change = { table: "extra", inserted: 0, updated: 0, deleted: 0, replaced: false };
  assert.deepEqual(done, [
    { ...change, inserted: 20 },
    { ...change, replaced: true },
    { ...change, inserted: 7 },
    { ...change, updated: 5 },
    // What was rolled back to a savepoint was not done, and rows of its TOAST table are none of its own.
    { ...change, inserted: 3 },
  ]);
});

test("times bound what is looked at, and the newest are kept", async () => {
  const early = await find("--until", middle, "--table", "messages");
  assert.equal(early.matching, 3);
  const late = await find("--since", middle, "--limit", "1");
  assert.ok(late.matching > 5);
  assert.equal(late.found.length, 1);
  assert.deepEqual(
    late.found[0]?.tables.map(({ table }) => table),
    ["accounts"],
  );
});

test("a person is shown what to give to restore", async () => {
  const { status, stdout, stderr } = await desk.chatkeep(["moments", "--table", "messages", "--deleted", "10"]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, new RegExp(`lsn:0/[0-9A-F]+ .* messages: ${deleted} deleted`));
  assert.match(stdout, /'chatkeep restore lsn:0\/[0-9A-F]+ --plan'/);
  const nothing = await desk.chatkeep(["moments", "--table", "messages", "--deleted", "100000"]);
  assert.match(nothing.stdout, /^nothing of that in /);
  const refused = await desk.chatkeep(["moments", "--since", "yesterday"]);
  assert.equal(refused.status, 2);
  const zoneless = await desk.chatkeep(["moments", "--since", "2026-11-29 15:03:40"]);
  assert.match(zoneless.stderr, /^error: --since does not say its zone: .*\nhint: .*2026-11-29T15:03:40Z/m);
  const turned = await desk.chatkeep(["moments", "--since", "-1m", "--until", "-2m"]);
  assert.match(turned.stderr, /--since -1m is after --until -2m/);
  const unknown = await desk.chatkeep(["moments", "--table", "mesages"]);
  assert.match(unknown.stderr, /no base has a table 'mesages'[^]*'messages'/);
  assert.deepEqual([turned.status, unknown.status], [2, 2]);
});

longTest("the position that is told has everything before the transaction, and nothing of it", async () => {
  const [one] = (await find("--table", "messages", "--deleted", "10")).found;
  assert.equal((await messagesAt(one?.before ?? "")) - (await messagesAt(one?.after ?? "")), deleted);
});
