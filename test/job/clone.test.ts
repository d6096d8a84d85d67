/** A copy that reaches nobody, and goes on being of use. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { silent } from "../../src/base/progress.ts";
import { buildInstallation, type DemoInstallation } from "../../src/demo/installation.ts";
import { HARMLESS_COLUMNS, OUTWARD_COLUMNS, REMOVED_TABLES, soundsOutward } from "../../src/chatwoot/outward.ts";
import { gatherOriginals } from "../../src/chatwoot/originals.ts";
import { anonymise } from "../../src/job/clone/anonymise.ts";
import { neutralise } from "../../src/job/clone/neutralise.ts";
import { chatwoot3, chatwoot4 } from "../harness/catalogues.ts";
import { dumpLines } from "../harness/pg-dump-diff.ts";
import { startPostgres, type TestAddress, type TestServer } from "../harness/postgres.ts";
import { type TestFolder, temporaryFolder } from "../harness/temporary.ts";

const { signal } = new AbortController();
let server: TestServer;
let folder: TestFolder;
let demo: DemoInstallation;
/** As it was made, for a test of its own. */
let copy: TestAddress;

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
  await server.query(`create database people template chatwoot_production`);
  copy = { ...server.address, database: "people" };
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
     alter table users add column seal_of_fork text not null default 'open';
     update users set seal_of_fork = '{"p":"c2VjcmV0","h":{"iv":"AAAAAAAAAAAAAAAA","at":"AAAAAAAAAAAAAAAAAAAAAA==","i":"YWJjZA=="}}' where id <= 2;
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
      ["clone-emptied", "note"],
    ],
  );
  assert.match(findings[2]?.message ?? "", /encrypted values .*: users\.seal_of_fork \(2 rows\)$/);
  assert.deepEqual(await server.query("select seal_of_fork as seal from users where id <= 3 order by id", database), [
    { seal: "clone-1" },
    { seal: "clone-2" },
    { seal: "open" },
  ]);
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

/** Somebody who turns up everywhere. */
const PERSON = { name: "Ottokar Wendelstein", email: "ottokar.wendelstein@acme.example", phone: "+4915112345678" };
const SAID = "please send the parcel to my grandmother in Unterammergau";

async function addPerson(): Promise<void> {
  const { name, email, phone } = PERSON;
  await server.query(
    `update contacts set name = '${name}', email = '${email}', phone_number = '${phone}', identifier = '${email}',
       additional_attributes = '{"city": "Unterammergau", "social_profiles": {"twitter": "owendelstein"}, "created_at_ip": "198.51.100.7"}',
       custom_attributes = '{"customer_number": 47110815, "born": "1951-04-30", "twin": "Ottokar Wendelstein"}' where id = 1;
     update contact_inboxes set source_id = '4915112345678' where id = 1;
     update contact_inboxes set source_id = '${email}' where id = 2;
     update messages set content = 'Dear ${name}, ${SAID}', processed_message_content = content,
       content_attributes = '{"email": {"from": ["${email}"], "html_content": {"full": "<p>Dear ${name}, <b>${SAID}</b></p>"}, "subject": "from ${name} of Unterammergau to all"}}'
       where id = 1;
     update audits set audited_changes = '{"name": ["${name}", "Ottokar II. Wendelstein"]}', username = '${name}', remote_address = '198.51.100.7';
     update users set display_name = '${name}', message_signature = 'Yours, ${name}, still the best of all' where id = 3;
     update conversations set additional_attributes = '{"browser": {"browser_name": "Firefox"}, "referer": "https://acme.example/?mail=${email}", "ip": "198.51.100.7"}';
     update conversations set cached_label_list = 'wendelstein affairs, urgent';
     update labels set title = 'wendelstein affairs' where id = 1;
     update tags set name = 'wendelstein affairs' where id = 1;
     create table fork_notes (who text, told jsonb, kind_type varchar, words text[]);
     insert into fork_notes values ('${name}', '{"${email}": ["${SAID}", 5]}', 'Contact', array['${name}', null, 'b']);
     create materialized view people_seen as select name, email from contacts`,
    copy.database,
  );
}

test("nobody can be recognised in an anonymised copy, and it is still a Chatwoot's database", async () => {
  await addPerson();
  const query = async (sql: string) => await server.query(sql, copy.database);
  const people = await query(
    "select name, email, phone_number from contacts union select name, email, null from users",
  );
  const said = await query("select content from messages where length(content) > 60");
  const before = await query(
    "select id, length(content) as size, content_type, status, sender_id from messages order by id",
  );
  const counts =
    "select (select count(*) from contacts where email is not null)::int as mails, (select count(distinct email) from contacts)::int as unlike";
  const [mails] = await query(counts);
  const root = join(folder.path, "anonymised");
  const files = {
    service: "local",
    write: async (key: string, pieces: Iterable<Buffer>) => {
      await mkdir(root, { recursive: true });
      await writeFile(join(root, key), Buffer.concat([...pieces]));
    },
  };

  const { lookedFor, administrator, rows, findings } = await anonymise(copy, { files, progress: silent, signal });

  assert.deepEqual(findings, []);
  assert.ok(lookedFor > 100 && rows > 500, `${lookedFor} ${rows}`);
  const dump = (await dumpLines(copy)).join("\n").toLowerCase();
  const originals: string[] = [
    PERSON.name,
    "wendelstein",
    PERSON.email,
    "15112345678",
    "unterammergau",
    "grandmother",
    "198.51.100.7",
    "47110815",
    "1951-04-30",
    "owendelstein",
  ];
  for (const { name, email, phone_number: phone } of people) {
    originals.push(...[email, phone].filter((value) => typeof value === "string"));
    if (typeof name === "string" && name.includes(" ")) originals.push(name);
  }
  originals.push(...said.map(({ content }) => String(content).replaceAll("\\", "").slice(0, 40)));
  for (const original of originals) assert.ok(!dump.includes(original.toLowerCase()), original);

  assert.deepEqual(
    await query("select id, length(content) as size, content_type, status, sender_id from messages order by id"),
    before,
  );
  assert.deepEqual(await query(counts), [mails]);
  const [person] =
    await query(`select c.name, c.email, c.phone_number, c.identifier, c.custom_attributes->>'twin' as twin, c.custom_attributes->>'customer_number' as number,
      (select source_id from contact_inboxes where id = 1) as telephone, (select source_id from contact_inboxes where id = 2) as mailbox,
      (select content_attributes->'email'->'from'->>0 from messages where id = 1) as sender, (select display_name from users where id = 3) as user,
      (select username from audits limit 1) as audited, (select who from fork_notes) as noted, (select words[1] from fork_notes) as worded, (select kind_type from fork_notes) as kind
    from contacts c where id = 1`);
  for (const key of ["twin", "user", "audited", "noted", "worded"]) assert.equal(person?.[key], person?.["name"], key);
  for (const key of ["identifier", "mailbox", "sender"]) assert.equal(person?.[key], person?.["email"], key);
  assert.equal(`+${String(person?.["telephone"])}`, person?.["phone_number"]);
  assert.match(String(person?.["phone_number"]), /^\+(?:83|28)\d{13}$/);
  assert.match(String(person?.["number"]), /^[1-9]\d{7}$/);
  assert.equal(person?.["kind"], "Contact");
  assert.equal(String(person?.["name"]).length, PERSON.name.length);
  const [labels] = await query(
    "select (select title from labels where id = 1) as title, (select name from tags where id = 1) as tag, (select cached_label_list from conversations limit 1) as cached",
  );
  assert.equal(labels?.["tag"], labels?.["title"]);
  assert.ok(String(labels?.["cached"]).startsWith(`${String(labels?.["title"])}, `));
  const users = await query("select email, uid from users");
  assert.ok(users.every(({ email, uid }) => email === uid && String(email).endsWith(".invalid")));
  assert.ok(users.some(({ email }) => email === administrator));
  assert.equal((await query("select 1 from people_seen where name is not null")).length > 0, true);
  for (const { key, byte_size: size, checksum } of await query(
    "select key, byte_size, checksum from active_storage_blobs",
  )) {
    const bytes = await readFile(join(root, String(key)));
    assert.equal(bytes.length, Number(size));
    assert.equal(createHash("md5").update(bytes).digest("base64"), checksum);
  }
});

test("somebody who is still there is found, and the copy is refused", async () => {
  await server.query("create database leaking template people");
  const leaking = { ...server.address, database: "leaking" };
  await server.query(
    `create type card as (name text); create table cards (card card); insert into cards values (row('Leopoldine Kirchgessner'));
     update contacts set name = 'Leopoldine Kirchgessner' where id = 1`,
    "leaking",
  );
  const files = { service: "local", write: async () => {} };
  await assert.rejects(anonymise(leaking, { files, progress: silent, signal }), (error: Error) => {
    assert.match(error.message, /still in the copy: public\.cards \(1\)/);
    return true;
  });
  const [contact] = await server.query("select name from contacts where id = 1", "leaking");
  assert.equal(
    contact?.["name"],
    "Leopoldine Kirchgessner",
    "nothing is half replaced, so that a second call finds it too",
  );
  const originals = gatherOriginals();
  for (const value of ["Leopoldine Kirchgessner", "Al", "anna.schmidt@acme.example"]) originals.add(value);
  const scanner = originals.seal(1_000_000);
  assert.deepEqual([scanner.lookedFor, scanner.tooShort], [2, 1]);
  assert.equal(scanner.count('{"a":"x\\nleopoldine  KIRCHGESSNER","b":"<anna.schmidt@acme.example>"} Al'), 2);
  assert.equal(scanner.count("leopoldine x kirchgessner"), 0);
});

test("a database of an early release reaches nobody, and nobody is recognised in it", async () => {
  await server.query("create database early");
  const early = { ...server.address, database: "early" };
  const tables = chatwoot3();
  const create = tables.map(({ name, columns }) => {
    const own = columns.map((column) => `"${column.name}" ${column.type}${column.isNullable ? "" : " not null"}`);
    return `create table "${name}" (${own.join(", ")})`;
  });
  await server.query(create.join("; "), "early");
  const filled = tables.map(({ name, columns }) => {
    const values = columns.map((column) => valueFor(name, column));
    return `insert into "${name}" select ${values.join(", ")} from generate_series(1, 3) n`;
  });
  await server.query(filled.join("; "), "early");
  await server.query("create database early_people template early");
  const before = (await dumpLines(early)).join("\n");
  for (const told of ["canary-webhooks-url-1", "canary-channel_telegram-bot_token-1"]) assert.ok(before.includes(told));

  const { findings } = await neutralise(early, { signal });

  assert.deepEqual(findings, []);
  const outward = (await dumpLines(early)).join("\n");
  for (const { name: table, columns } of tables) {
    for (const { name: column } of columns) {
      const isGone = OUTWARD_COLUMNS[table]?.[column] !== undefined || table in REMOVED_TABLES;
      if (isGone) assert.ok(!outward.includes(`canary-${table}-${column}-`), `${table}.${column}`);
    }
  }
  const [webhooks] = await server.query("select count(*)::int as count from webhooks", "early");
  assert.deepEqual(webhooks, { count: 0 });

  const people = { ...early, database: "early_people" };
  const files = { service: "local", write: async () => {} };
  const done = await anonymise(people, { files, progress: silent, signal });
  assert.deepEqual(done.findings, []);
  assert.match(String(done.administrator), /@.*\.invalid$/);
  const dump = (await dumpLines(people)).join("\n");
  for (const told of ["canary-contacts-name", "canary-users-email", "canary-messages-content", "canary-users-name"])
    assert.ok(!dump.includes(told), told);
});

/** Of a column in row `n`: a mark where it can hold one. */
function valueFor(table: string, { name, type }: { name: string; type: string }): string {
  const mark = `'canary-${table}-${name}-' || n`;
  if (name === "email" || name === "uid") return `${mark} || '@acme.example'`;
  if (table === "active_storage_blobs" && name === "service_name") return "'local'";
  if (type.endsWith("[]")) return `'{}'::${type}`;
  const limit = /\((\d+)\)/.exec(type)?.[1];
  if (/^(?:varchar|character varying|text|citext)/.test(type))
    return limit === undefined ? mark : `left(${mark}, ${limit})`;
  if (type.startsWith("json")) return `json_build_object('nested', json_build_array(${mark}))::${type}`;
  if (/^(?:smallint|integer|bigint)/.test(type)) return "n";
  if (/^(?:numeric|double|real|float|decimal)/.test(type)) return "1.5";
  if (type === "boolean") return "true";
  if (type === "uuid") return "gen_random_uuid()";
  if (type === "inet") return "'198.51.100.7'";
  if (type === "date") return "current_date";
  if (type.startsWith("timestamp")) return "now()";
  return "null";
}
