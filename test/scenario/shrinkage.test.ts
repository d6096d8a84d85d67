/** Accounts that lose what they had: what a backup says of it, and that nothing is forgotten until somebody has acknowledged it. */
import assert from "node:assert/strict";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import type { AckSummary } from "../../src/job/ack-summary.ts";
import type { ForgetSummary } from "../../src/job/summaries.ts";
import { longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

let desk: Desk;
let client: Client;
let second: string;

before(async () => {
  desk = await openDesk({
    size: { messages: 600, conversations: 60, files: 30 },
  });
  second = join(desk.root, "second");
  client = new Client(desk.installation.database);
  await client.connect();
  await makeCheapToOpen(desk);
  await desk.summary(["init", "--yes", "--add", "second", "--location", second]);
  writeFileSync(
    desk.config,
    `${readFileSync(desk.config, "utf8")}\nalarms: { messages: { count: 20 }, files: false }\n`,
  );
});

after(async () => {
  await client.end();
  await desk[Symbol.asyncDispose]();
});

async function count(sql: string): Promise<number> {
  const { rows } = await client.query<{ count: string }>(sql);
  return Number(rows[0]?.count);
}

async function messagesOf(account: number): Promise<number> {
  return await count(`select count(*) from messages where account_id = ${account}`);
}

async function lose(account: number, share: number): Promise<void> {
  const limit = Math.round((await messagesOf(account)) * share);
  await client.query(
    `delete from messages where id in (select id from messages where account_id = ${account} order by id limit ${limit})`,
  );
}

function shrunkIn(summary: Record<string, unknown>): Finding[] {
  return (summary["findings"] as Finding[]).filter(({ kind }) => kind === "shrunk");
}

/** Makes a point; says what it tells of accounts that shrank. */
async function backup(status: 0 | 3): Promise<{ point: string; told: Finding[] }> {
  const summary = await desk.summary(["backup"], status);
  return { point: String(summary["point"]), told: shrunkIn(summary) };
}

async function forget(status: number, ...args: string[]): Promise<ForgetSummary> {
  return (await desk.summary(["forget", "--keep-last", "1", ...args], status)) as unknown as ForgetSummary;
}

async function ack(status: number, ...args: string[]): Promise<AckSummary> {
  return (await desk.summary(["ack", ...args], status)) as unknown as AckSummary;
}

const PLACES = [[], ["--repository", "second"]];

test("what an account loses is an alarm until it is acknowledged, and until then nothing is forgotten, in no repository", async () => {
  const before = await messagesOf(1);
  const first = await backup(0);
  await lose(1, 1 / 3);
  const left = await messagesOf(1);
  const fallen = await backup(3);
  const [told] = fallen.told;
  assert.equal(fallen.told.length, 1);
  assert.equal(told?.level, "alarm");
  const name = String((await client.query<{ name: string }>("select name from accounts where id = 1")).rows[0]?.name);
  assert.ok(
    told.message.startsWith(
      `account 1 (${name}) shrank: from ${before} messages to ${left} since restore point ${first.point.slice(0, 8)} of `,
    ),
    told.message,
  );
  assert.ok(told.hint.startsWith(`Restore point ${first.point.slice(0, 8)} still has what is lacking.`), told.hint);

  // Known since the last point it is an alarm all the same, also when as many came since.
  await client.query(
    `insert into messages (account_id, inbox_id, conversation_id, message_type, created_at, updated_at)
     select account_id, inbox_id, conversation_id, message_type, now(), now() from messages where account_id = 1 limit ${before - left + 5}`,
  );
  const again = await backup(3);
  assert.match(again.told[0]?.message ?? "", new RegExp(`from ${before} messages to ${left}, now ${before + 5} since`));

  const dry = await forget(3, "--dry-run");
  assert.deepEqual([dry.forgotten.length, dry.kept.length], [0, 3]);
  assert.deepEqual(dry.kept[2]?.reasons, ["shrinkage not acknowledged"]);
  for (const place of PLACES) {
    const kept = await forget(3, ...place);
    assert.deepEqual([kept.forgotten.length, kept.kept.length, shrunkIn({ ...kept }).length], [0, 3, 1]);
  }
  const byName = await desk.chatkeep(["forget", first.point, "--yes"]);
  assert.equal(byName.status, 2);
  assert.match(byName.stderr, /nothing of this installation is forgotten now: restore point \w{8} of \S+ says that/);
  const listed = await desk.chatkeep(["list"]);
  assert.match(listed.stdout, /accounts shrank in \w{8}, \w{8}, and nobody has acknowledged it: see 'chatkeep ack'/);
  assert.match((await desk.chatkeep(["show", "latest"])).stdout, /nobody has acknowledged that accounts shrank/);
  assert.equal(shrunkIn(await desk.summary(["doctor"], 3)).length, 2);
  assert.match(
    (await desk.chatkeep(["ack"])).stdout,
    new RegExp(`^1 +${name} +messages +${before} +${before + 5}$`, "m"),
  );

  const done = await ack(0, "shrunk", "--reason", "an old inbox was emptied");
  assert.deepEqual(done.repositories.toSorted(), ["primary", "second"].toSorted());
  assert.deepEqual([done.changed, done.point], [true, again.point]);
  assert.equal((await desk.chatkeep(["ack", "shrunk"])).status, 2);
  assert.equal((await ack(0, again.point)).changed, false);
  const known = await ack(0);
  assert.deepEqual([known.point, known.acks[0]?.reason], [null, "an old inbox was emptied"]);
  assert.match((await desk.chatkeep(["show", "latest"])).stdout, /that accounts shrank is acknowledged/);

  assert.deepEqual((await backup(0)).told, []);
  for (const place of PLACES) {
    const gone = await forget(0, ...place);
    assert.deepEqual([gone.forgotten.length, gone.kept.length], [3, 1]);
  }
  assert.deepEqual((await backup(0)).told, []);
});

longTest(
  "a little less each day is an alarm as soon as all of it is too much, and counts from the day on which there was most",
  async () => {
    const most = await messagesOf(2);
    const first = await backup(0);
    await lose(2, 0.04);
    assert.deepEqual((await backup(0)).told, []);
    // The point that had most may be gone by then.
    await forget(0);
    await lose(2, 0.05);
    assert.deepEqual((await backup(0)).told, []);
    await lose(2, 0.05);
    const { told } = await backup(3);
    const expected = `from ${most} messages to ${await messagesOf(2)} since restore point ${first.point.slice(0, 8)} of `;
    const { message, hint } = told[0] ?? { message: "", hint: "" };
    assert.ok(message.includes(expected), message);
    assert.ok(!hint.includes(first.point.slice(0, 8)), hint);
    await ack(0, "shrunk");
  },
);

longTest(
  "what is acknowledged while the first repository is away is not told again by the backup that reaches it",
  async () => {
    await backup(0);
    await lose(1, 0.5);
    const { point } = await backup(3);
    renameSync(desk.repository, `${desk.repository}.away`);
    const done = await ack(3, "shrunk", "--reason", "spam");
    renameSync(`${desk.repository}.away`, desk.repository);
    assert.deepEqual(done.repositories, ["second"]);
    assert.deepEqual((await backup(0)).told, []);
    assert.deepEqual(
      (await ack(0)).acks.slice(0, 1).map((one) => [one.point, one.reason]),
      [[point, "spam"]],
    );
    assert.equal((await forget(0)).kept.length, 1);
  },
);

longTest(
  "an account that goes altogether is an alarm; what could not be acknowledged in one place is brought there",
  async () => {
    await backup(0);
    const name = String((await client.query<{ name: string }>("select name from accounts where id = 2")).rows[0]?.name);
    const contacts = await count("select count(*) from contacts where account_id = 2");
    for (const table of ["messages", "conversations", "contacts"])
      await client.query(`delete from ${table} where account_id = 2`);
    await client.query("delete from accounts where id = 2");
    const { told, point } = await backup(3);
    assert.equal(told.length, 1, JSON.stringify(told));
    assert.match(
      told[0]?.message ?? "",
      /^account 2 \(.*\) is gone: from \d+ conversations to 0, from \d+ messages to 0, /,
    );
    assert.ok(told[0]?.message.includes(`(${name})`));
    assert.ok(told[0]?.message.includes(`from ${contacts} contacts to 0`));

    renameSync(second, `${second}.away`);
    const done = await ack(3, point);
    assert.deepEqual(done.repositories, ["primary"]);
    assert.deepEqual(
      done.findings.map(({ kind }) => kind),
      ["ack-elsewhere"],
    );
    renameSync(`${second}.away`, second);
    await forget(3, "--repository", "second");
    await backup(0);
    assert.equal((await ack(0, "--repository", "second")).acks[0]?.point, point);
    assert.equal((await forget(0, "--repository", "second")).kept.length, 1);
  },
);
