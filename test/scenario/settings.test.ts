/** What doctor says of addresses and settings that are other in the data than in the environment. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Client } from "pg";
import type { Finding } from "../../src/base/findings.ts";
import { readEnvFile } from "../../src/chatwoot/environment.ts";
import { signBlobId } from "../../src/chatwoot/signed-id.ts";
import { FRONTEND_URL } from "../../src/demo/environment.ts";
import { settingOf } from "../../src/job/doctor-chatwoot.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

const OLD = "chat.old.example";

let desk: Desk;
let client: Client;

before(async () => {
  desk = await openDesk({ size: { messages: 60, conversations: 10, files: 10 } });
  await makeCheapToOpen(desk);
  client = new Client(desk.installation.database);
  await client.connect();
});

after(async () => {
  await client.end();
  await desk[Symbol.asyncDispose]();
});

async function doctor(kind: string): Promise<{ level: string; message: string }[]> {
  // There is no restore point yet, which is an alarm.
  const findings = (await desk.summary(["doctor"], 3))["findings"] as Finding[];
  return findings.filter((one) => one.kind === kind).map(({ level, message }) => ({ level, message }));
}

function link(host: string, secret: string): string {
  return `![](https://${host}/rails/active_storage/blobs/redirect/${signBlobId(1, secret)}/a.png)`;
}

test("links to files that name the address before a change of domain are told (F14), pasted ones of others are not", async () => {
  const environment = readEnvFile(await readFile(desk.installation.envFile, "utf8")).values;
  const secret = environment.get("SECRET_KEY_BASE") ?? "";
  const own = URL.parse(FRONTEND_URL)?.host ?? "";
  const write = async (text: string) => await client.query("update articles set content = $1 where id = 1", [text]);
  await write(`${link(own, secret)} ${link(`${own}:443`, secret)} ${link("chat.foreign.example", "another's secret")}`);
  assert.deepEqual(await doctor("links-to-other-address"), []);
  await write(`${link(own, secret)} ${link(OLD, secret)}`);
  const html = { email: { html_content: { full: `<img src="http://${OLD}:3000/x">${link(`${OLD}:3000`, secret)}` } } };
  await client.query("update messages set content_attributes = $1 where id = (select min(id) from messages)", [
    JSON.stringify(html),
  ]);
  assert.deepEqual(await doctor("links-to-other-address"), [
    {
      level: "note",
      message: `links to uploaded files in articles, e-mails name ${OLD}, ${OLD}:3000, and FRONTEND_URL says ${FRONTEND_URL}`,
    },
  ]);
});

/** As Chatwoot writes it. */
function stored(value: string): string {
  return JSON.stringify(`--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue: ${value}\n`);
}

test("settings that the database has otherwise than the environment are named without their values (F29)", async () => {
  assert.deepEqual(await doctor("settings-in-database"), []);
  const insert = `insert into installation_configs (name, serialized_value, created_at, updated_at) values ($1, $2, now(), now())
    on conflict (name) do update set serialized_value = excluded.serialized_value`;
  await client.query(insert, ["FB_APP_ID", stored("'999999999999'")]);
  await client.query(insert, ["ENABLE_ACCOUNT_SIGNUP", stored("true")]);
  assert.deepEqual(await doctor("settings-in-database"), [
    {
      level: "note",
      message:
        "Chatwoot has another ENABLE_ACCOUNT_SIGNUP, FB_APP_ID in its database than in its environment, and uses the database's",
    },
  ]);
  const { stdout, stderr } = await desk.chatkeep(["doctor"]);
  assert.equal(`${stdout}${stderr}`.includes("999999999999"), false);
});

for (const [text, value] of [
  ["--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue: a text: no\n", undefined],
  ["--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue: 'a text'\n", "a text"],
  ["--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue:\n", ""],
  ["--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue: false\n", "false"],
  ["--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nvalue:\n- name: x\n", undefined],
  ['{"value": 40}', "40"],
  ["{}", undefined],
  ["", undefined],
] as const) {
  test(`a setting stored as ${JSON.stringify(text.slice(-20))} reads as ${JSON.stringify(value)}`, () => {
    assert.equal(settingOf(text), value);
  });
}
