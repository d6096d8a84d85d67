/** What a worker would do by itself, on a real database shaped as Chatwoot 4.15, as one of before 4.2, and as a fork's. */
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { onDatabase } from "../../../src/demo/database.ts";
import { type OutboundChange, makeChanges, planDefuse, reviewOutbound } from "../../../src/job/outbound.ts";
import { outboundStage, type OutboundKept } from "../../../src/job/stages/outbound-stage.ts";
import type { OutboundChoice, StageContext, StageQuestion } from "../../../src/job/stages/stage.ts";
import type { Manifest } from "../../../src/point/manifest.ts";
import { connect } from "../../../src/postgres/connect.ts";
import { HandClock } from "../../harness/hand-clock.ts";
import { startPostgres, type TestAddress, type TestServer } from "../../harness/postgres.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { contextOf, makeDatabase, said, TestRecord } from "./stage-desk.ts";

const NOW = "2026-03-10T12:00:00.000Z";
const TAKEN = "2026-03-09T22:00:00.000Z";

let server: TestServer;
let folder: TestFolder;

before(async () => {
  [server, folder] = await Promise.all([startPostgres(), temporaryFolder()]);
  const address = await makeDatabase(server, "modern", ["inboxes", "channel_email", "channel_web_widgets"]);
  await run(address, ROWS);
  await server.query(`create database fork template modern`);
  await run({ ...address, database: "fork" }, OF_A_FORK);
  await server.query(`create database old template modern`);
  await run({ ...address, database: "old" }, OF_BEFORE_4_2);
});
after(async () => {
  await Promise.all([server.stop(), folder[Symbol.asyncDispose]()]);
});

async function run(address: TestAddress, sql: string): Promise<void> {
  await onDatabase(address, async (client) => await client.query(sql));
}

const TIMES = "created_at, updated_at";
const T = "'2025-01-01', '2025-01-01'";
const ROWS = `
  insert into accounts (id, name, settings, custom_attributes, auto_resolve_duration, ${TIMES}) values
    (1, 'Acme', '{"auto_resolve_after": 2880, "auto_resolve_message": "Bye", "big": 12345678901234567890.5}', '{}', null, ${T}),
    (2, 'Bold', '{"auto_resolve_after": 1440, "auto_resolve_ignore_waiting": true}', '{"plan": "x"}', 1, ${T}),
    (3, 'Gone', '{}', '{"marked_for_deletion_at": "2026-03-01T00:00:00Z", "marked_for_deletion_reason": "manual", "n": 1.10}', 9, ${T}),
    (4, 'Calm', '{"auto_resolve_after": null}', '{"marked_for_deletion_at": ""}', null, ${T}),
    (5, 'Later', '{"auto_resolve_after": 999999}', '{"marked_for_deletion_at": "2026-03-17T00:00:00Z"}', null, ${T});
  insert into inboxes (id, channel_id, account_id, name, csat_survey_enabled, ${TIMES}) values
    (1, 1, 1, E'Shop \\x1b[31m', false, ${T}), (2, 1, 2, 'Bold''s', true, ${T}), (3, 1, 2, 'Quiet', false, ${T});
  update inboxes set channel_type = 'Channel::WebWidget';
  insert into channel_web_widgets (id, ${TIMES}) values (1, ${T});
  insert into channel_email (account_id, email, forward_to_email, imap_enabled, ${TIMES}) values (1, 'a@example.com', 'f', true, ${T});
  insert into campaigns (id, display_id, title, message, account_id, inbox_id, campaign_type, campaign_status, scheduled_at, ${TIMES}) values
    (1, 0, 'Spring sale', 'm', 1, 1, 1, 0, '2026-03-10 09:00', ${T}),
    (2, 0, 'Next week', 'm', 1, 1, 1, 0, '2026-03-17 09:00:00.123456', ${T}),
    (3, 0, 'Sent', 'm', 1, 1, 1, 1, '2026-03-10 09:00', ${T}),
    (4, 0, 'Too old', 'm', 1, 1, 1, 0, '2026-03-07 11:59', ${T}),
    (5, 0, 'Greeting', 'm', 1, 1, 0, 0, null, ${T});
  insert into conversations (id, display_id, account_id, inbox_id, status, snoozed_until, last_activity_at, waiting_since, ${TIMES}) values
    (1, 0, 1, 1, 3, '2026-03-10 08:00', '2026-03-10 07:00', null, ${T}),
    (2, 0, 1, 1, 3, '2026-03-10 11:00', '2026-02-01', null, ${T}),
    (3, 0, 1, 1, 3, '2026-03-11 08:00', '2026-02-01', null, ${T}),
    (4, 0, 1, 1, 3, '2026-03-01 08:00', '2026-03-10 07:00', null, ${T}),
    (5, 0, 1, 1, 3, null, '2026-02-01', null, ${T}),
    (6, 0, 1, 1, 0, null, '2026-03-01', '2026-03-01', ${T}),
    (7, 0, 1, 1, 0, null, '2026-03-10 11:00', null, ${T}),
    (8, 0, 1, 1, 1, null, '2026-03-01', null, ${T}),
    (9, 0, 2, 2, 0, null, '2026-03-01', null, ${T}),
    (10, 0, 2, 3, 0, null, '2026-03-01', null, ${T}),
    (11, 0, 2, 3, 0, null, '2026-03-01', '2026-03-01', ${T}),
    (12, 0, 4, 3, 0, null, '2026-03-01', null, ${T});`;

/** Columns that are not there, and days in a column of their own. */
const OF_BEFORE_4_2 = `
  alter table accounts drop column settings;
  alter table conversations drop column waiting_since;
  alter table campaigns drop column template_params;`;

const OF_A_FORK = `
  create table scheduled_messages (id bigserial primary key, content text, scheduled_at timestamp, status int default 1, account_id bigint);
  insert into scheduled_messages (content, scheduled_at, status, account_id) values
    ('sent', '2026-03-09 21:00', 2, 1), ('to come', '2026-03-10 13:00', 1, 1), ('due', '2026-03-10 08:00', 0, 1);
  create table automation_rule_pending_executions (id bigserial primary key, due_at timestamp, status int default 0, account_id bigint);
  insert into automation_rule_pending_executions (due_at, status, account_id) values ('2026-03-10 11:00', 0, 2), ('2026-03-10 11:00', 1, 2);`;

async function place(
  database: string,
  outbound: OutboundChoice,
  ask?: (question: StageQuestion) => Promise<string>,
): Promise<StageContext> {
  const clock = new HandClock();
  await clock.advance(Date.parse(NOW));
  return await contextOf({
    address: { ...server.address, database },
    folder: join(folder.path, database),
    options: { outbound },
    environment: { FRONTEND_URL: "https://acme.example" },
    others: {
      clock,
      saved: new Map([["FRONTEND_URL", "https://acme.example/"]]),
      manifest: { startedAt: TAKEN } as unknown as Manifest,
      ...(ask === undefined ? {} : { ask }),
    },
  });
}

/** Every row of the tables, to the byte. */
async function rowsOf(database: string): Promise<string[]> {
  const tables = ["accounts", "campaigns", "conversations", "scheduled_messages", "automation_rule_pending_executions"];
  return await onDatabase({ ...server.address, database }, async (client) => {
    const all: string[] = [];
    for (const table of tables) {
      const there = await client.query(`select to_regclass('${table}') is not null as yes`);
      if (there.rows[0]?.yes !== true) continue;
      const { rows } = await client.query(`select t::text as row from ${table} t order by id`);
      all.push(...rows.map(({ row }) => `${table} ${row}`));
    }
    return all;
  });
}

async function review(database: string) {
  await using connection = await connect({ ...server.address, database }, { signal: new AbortController().signal });
  const { items, notes } = await reviewOutbound(connection, { now: NOW, takenAt: TAKEN });
  return {
    notes,
    items: items.map(({ kind, account, title, count, told, isDue }) => [kind, account, title, count, told, isDue]),
  };
}

test("of a modern Chatwoot: campaigns, idle and snoozed conversations, accounts to be deleted", async () => {
  const { items, notes } = await review("modern");
  assert.deepEqual(items, [
    ["campaign", "Acme", "Spring sale", 1, 1, true],
    ["campaign", "Acme", "Next week", 1, 1, false],
    // One that is idle, and one whose snooze is over. With a message, so each customer hears of it.
    ["auto-resolve", "Acme", "172800", 2, 2, true],
    // Those that wait for an answer are left out; one inbox asks how it was.
    ["auto-resolve", "Bold", "86400", 2, 1, true],
    ["snoozed", "Acme", null, 2, 0, true],
    ["snoozed", "Acme", null, 1, 0, false],
    ["account-deletion", "Gone", null, 1, 0, true],
    ["account-deletion", "Later", null, 1, 0, false],
  ]);
  assert.deepEqual(notes, [
    "1 e-mail inbox will fetch the last day's mail again; what is there already is known by its Message-ID",
    "1 ongoing campaign of websites will greet visitors as before",
  ]);
});

test("before 4.2 the days to auto-resolve are in a column", async () => {
  const { items } = await review("old");
  assert.deepEqual(
    items.filter(([kind]) => kind === "auto-resolve"),
    [["auto-resolve", "Bold", "86400", 3, 1, true]],
  );
  assert.equal(items.filter(([kind]) => kind === "campaign").length, 2);
});

test("of a fork: messages that were planned, and automations that wait", async () => {
  const { items } = await review("fork");
  assert.deepEqual(items.slice(2, 4), [
    ["scheduled-message", "Acme", null, 2, 2, true],
    ["delayed-automation", "Bold", null, 1, 1, true],
  ]);
});

for (const database of ["modern", "old", "fork"]) {
  test(`${database}: it holds, is made to rest, killed in the middle, and taken back to the byte`, async () => {
    const before = await rowsOf(database);
    const record = new TestRecord<OutboundKept>();
    const held = await outboundStage.apply(await place(database, "hold"), record);
    assert.match(held.holds ?? "", /the worker is not started.*2 campaigns to be sent.*2 accounts to be deleted$/);
    assert.match(
      said(held),
      /'Spring sale' of inbox .*, account 'Acme' \(1\): was due 2026-03-10 09:00 UTC, and would be sent/,
    );
    assert.deepEqual(await rowsOf(database), before);
    assert.equal(record.kept, undefined);

    // Killed when it was recorded, and nothing was done; then when half of it was.
    record.onKeep = () => {
      throw new Error("killed");
    };
    await assert.rejects(outboundStage.apply(await place(database, "defuse"), record), /killed/);
    assert.deepEqual(await rowsOf(database), before);
    record.onKeep = () => {};
    await half(database);
    assert.notDeepEqual(await rowsOf(database), before);
    const done = await outboundStage.apply(await place(database, "defuse"), record);
    assert.equal(done.holds, undefined);
    assert.match(said(done), /campaigns are marked as completed/);
    assert.match(said(done), /set auto-resolve again: .*'Bold had /);
    assert.match(said(done), /make campaigns that are still wanted anew: 'Next week'/);
    // What is left to do about channels comes last.
    assert.match(done.next?.at(-1) ?? "", /^channels go on by themselves, .*'Shop .*' \(WebWidget\)$/s);
    assert.equal((await stat(join(folder.path, database, "outbound-changes.json"))).mode & 0o777, 0o600);
    assert.deepEqual((await review(database)).items, []);

    // Somebody works with it meanwhile: that row stays as it is.
    await run({ ...server.address, database }, "update campaigns set campaign_status = 0 where id = 2");
    await outboundStage.undo(await place(database, "defuse"), record);
    assert.deepEqual(await rowsOf(database), before);
    await outboundStage.undo(await place(database, "defuse"), record);
    assert.deepEqual(await rowsOf(database), before);
  });
}

/** Makes half of the changes. */
async function half(database: string): Promise<void> {
  await using connection = await connect({ ...server.address, database }, { signal: new AbortController().signal });
  const changes: OutboundChange[] = await planDefuse(connection, { now: NOW, takenAt: TAKEN });
  await makeChanges(connection, changes.slice(0, changes.length / 2), "defuse");
}

test("at a terminal the person is asked, with all of it before them; an empty answer starts nothing", async () => {
  const before = await rowsOf("modern");
  let asked: StageQuestion | undefined;
  const answer = (text: string) => async (question: StageQuestion) => await Promise.resolve(((asked = question), text));
  const allowed = await outboundStage.apply(await place("modern", "ask", answer("allow")), new TestRecord());
  assert.equal(allowed.holds, undefined);
  assert.match(said(allowed), /^allowed, as the worker starts:\ncampaign 'Spring sale'/);
  assert.ok(asked !== undefined && asked.choices[0]?.answer === "hold");
  assert.match(
    asked.lines.join("\n"),
    /2 conversations of account 'Acme' \(1\) would be closed, for nobody wrote for 2 days; 2 customers/,
  );
  assert.match(asked.lines.join("\n"), /account 'Gone' \(3\) is marked to be deleted since 2026-03-01 00:00 UTC/);
  const held = await outboundStage.apply(await place("modern", "ask", answer("hold")), new TestRecord());
  assert.notEqual(held.holds, undefined);
  // Nobody to ask.
  assert.notEqual((await outboundStage.apply(await place("modern", "ask"), new TestRecord())).holds, undefined);
  assert.deepEqual(await rowsOf("modern"), before);
});

test("where nothing would happen the restore goes on, whatever was chosen; a clone is not asked", async () => {
  const address = await makeDatabase(server, "calm", ["inboxes"]);
  const calm = await outboundStage.apply(await place("calm", "hold"), new TestRecord());
  assert.deepEqual(calm, { lines: ["the worker would send, close and delete nothing by itself"], findings: [] });
  const clone = await contextOf({
    address,
    folder: join(folder.path, "calm"),
    options: { clone: { frontendUrl: "https://staging.example.com", anonymise: false } },
  });
  assert.deepEqual((await outboundStage.plan(clone)).lines, []);
  assert.match(
    (await outboundStage.plan(await place("calm", "hold"))).lines.join(""),
    /holds there if there is anything/,
  );
});
