/** A copy that reaches nobody, and goes on being of use. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { HARMLESS_COLUMNS, OUTWARD_COLUMNS, REMOVED_TABLES, soundsOutward } from "../../src/chatwoot/outward.ts";
import { neutralise } from "../../src/job/clone/neutralise.ts";
import { chatwoot4 } from "../harness/catalogues.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
let server: TestServer;
let folder: TestFolder;
let demo: DemoInstallation;

before(async () => {
  server = await startPostgres();
  folder = await temporaryFolder();
  const size = { messages: 300, conversations: 40, files: 12 };
  demo = await buildInstallation({
    root: join(folder.path, "home"),
    address: server.address,
    size,
    isCheckout: false,
    signal,
  });
});

after(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

/** Writes a mark into everything that may reach outside, as it is in no demo. */
async function mark(database: string): Promise<number> {
  let marked = 0;
  for (const { name: table, columns } of chatwoot4()) {
    for (const { name: column, type } of columns) {
      const isOutward = OUTWARD_COLUMNS[table]?.[column] !== undefined || table in REMOVED_TABLES;
      if (!isOutward || !/^(?:character|text|json)/.test(type)) continue;
      const canary = `'canary-${table}-${column}-' || id`;
      const value = type.startsWith("json") ? `json_build_object('nested', json_build_array(${canary}))` : canary;
      await server.query(`update ${table} set ${column} = ${value}`, database);
      marked += 1;
    }
  }
  return marked;
}

test("every token, address and credential of a database is gone, and what people need is as it was", async () => {
  const database = demo.database.database;
  assert.ok((await mark(database)) > 70);
  const actions = JSON.stringify([
    { action_name: "send_webhook_event", action_params: ["https://canary.example/1"] },
    { action_name: "send_email_to_team", action_params: [{ message: "canary-mail" }] },
    { action_name: "notify_fork", action_params: ["canary@example.org"] },
    { action_name: "assign_team", action_params: [1] },
  ]);
  await server.query(
    `update automation_rules set actions = '${actions}'; update macros set actions = '${actions}'`,
    database,
  );
  await server.query(
    `insert into installation_configs (name, serialized_value, created_at, updated_at)
     select name, to_jsonb('--- value: canary-' || name), now(), now() from unnest(array['VAPID_KEYS', 'FB_APP_SECRET', 'OF_A_FORK']) name;
     update audits set auditable_type = 'Webhook', audited_changes = '{"url": ["canary-old", "canary-new"]}';
     update accounts set custom_attributes = '{"marked_for_deletion_at": "2026-01-01", "plan": "kept"}';
     update campaigns set enabled = true, campaign_status = 0;
     alter table channel_whatsapp add column provider_connection jsonb, add column session_of_fork text;
     update channel_whatsapp set provider_connection = '{"key": "canary-connection"}', session_of_fork = 'canary-session';
     create table scheduled_pings (id bigserial primary key, callback_url text);
     insert into scheduled_pings (callback_url) values ('https://fork.example/callback');
     create function refuse() returns trigger language plpgsql as $f$ begin raise 'a trigger was run'; end $f$;
     create trigger refuse before update on users for each row execute function refuse()`,
    database,
  );
  const kept = `select (select json_agg(m order by id)::text from messages m) as messages, (select json_agg(c order by id)::text from contacts c) as contacts,
    (select json_agg(array[email, encrypted_password, name] order by id)::text from users) as users, (select json_agg(b order by id)::text from active_storage_blobs b) as blobs`;
  const before = await server.query(kept, database);
  const oldTokens = await server.query("select token from access_tokens", database);

  const { findings } = await neutralise(demo.database, { signal });

  const dump = await dumpLines(demo.database);
  assert.deepEqual(
    dump.filter((line) => line.includes("canary")),
    [],
  );
  for (const secret of demo.secrets)
    assert.ok(!dump.some((line) => line.includes(secret)), "an encrypted credential is there in clear");
  assert.ok(!dump.some((line) => line.includes('{"p":"')), "a ciphertext is left");
  assert.deepEqual(await server.query(kept, database), before);
  assert.deepEqual(
    await server.query(
      "select distinct actions::text from automation_rules union select distinct actions::text from macros",
      database,
    ),
    [{ actions: '[{"action_name": "assign_team", "action_params": [1]}]' }],
  );
  assert.deepEqual(await server.query("select distinct enabled, campaign_status from campaigns", database), [
    { enabled: false, campaign_status: 1 },
  ]);
  assert.deepEqual(await server.query("select distinct custom_attributes::text as a from accounts", database), [
    { a: '{"plan": "kept"}' },
  ]);
  assert.deepEqual(await server.query("select distinct imap_enabled, smtp_enabled from channel_email", database), [
    { imap_enabled: false, smtp_enabled: false },
  ]);
  const [users] = await server.query(
    "select count(*)::int as all, count(distinct pubsub_token)::int as tokens, bool_or(otp_required_for_login) as otp from users",
    database,
  );
  assert.equal(users?.["tokens"], users?.["all"]);
  assert.equal(users?.["otp"], false);
  const tokens = await server.query("select token from access_tokens", database);
  assert.equal(tokens.length, oldTokens.length);
  assert.ok(tokens.every(({ token }) => /^[0-9a-f]{24}$/.test(String(token))));
  assert.deepEqual(
    findings.map(({ kind, level }) => [kind, level]),
    [
      ["clone-emptied", "note"],
      ["clone-kept", "warning"],
    ],
  );
  assert.match(findings[0]?.message ?? "", /channel_whatsapp\.session_of_fork/);
  assert.match(findings[1]?.message ?? "", /scheduled_pings\.callback_url \(1 row\)/);
  const trigger = await server.query(
    "select tgenabled::text as state from pg_trigger where tgname = 'refuse'",
    database,
  );
  assert.deepEqual(trigger, [{ state: "O" }]);
});

test("what sounds outward and stays is said to be harmless, in a database as in the lists", () => {
  const stays = chatwoot4().flatMap(({ name: table, columns }) =>
    columns
      .filter(({ name, type }) => soundsOutward(name) && /^(?:character|text|json)/.test(type))
      .filter(({ name }) => OUTWARD_COLUMNS[table]?.[name] === undefined && !(table in REMOVED_TABLES))
      .map(({ name }) => `${table}.${name}`),
  );
  for (const name of stays) assert.ok((HARMLESS_COLUMNS[name] ?? "").length > 5, name);
});
