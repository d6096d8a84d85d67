/** Which inboxes need a person after a move, read from a real database, and what is told of each kind. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { onDatabase } from "../../src/demo/database.ts";
import { type ChannelRow, channelChecklist, readChannels } from "../../src/job/channel-checklist.ts";
import { connect } from "../../src/postgres/connect.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { makeDatabase } from "./stages/stage-desk.ts";

const TOKEN = "known-to-the-provider-4711";
const KINDS = [
  "web_widgets",
  "whatsapp",
  "facebook_pages",
  "instagram",
  "telegram",
  "line",
  "twilio_sms",
  "sms",
  "email",
  "api",
];
const T = "now(), now()";
const ROWS = `
  insert into accounts (id, name, created_at, updated_at) values (1, 'Acme', ${T});
  insert into channel_web_widgets (id, website_url, website_token, created_at, updated_at) values (1, 'https://acme.example', '${TOKEN}', ${T});
  insert into channel_whatsapp (id, account_id, phone_number, provider, provider_config, created_at, updated_at) values
    (1, 1, '+4930123', 'whatsapp_cloud', '{"api_key": "${TOKEN}"}', ${T}), (2, 1, '+4930124', 'default', '{}', ${T});
  insert into channel_facebook_pages (id, page_id, user_access_token, page_access_token, account_id, created_at, updated_at) values (1, '77', '${TOKEN}', '${TOKEN}', 1, ${T});
  insert into channel_instagram (id, access_token, expires_at, account_id, instagram_id, created_at, updated_at) values (1, '${TOKEN}', now(), 1, '88', ${T});
  insert into channel_telegram (id, account_id, bot_name, bot_token, created_at, updated_at) values (1, 1, 'acme_bot', '${TOKEN}', ${T});
  insert into channel_line (id, account_id, line_channel_id, line_channel_secret, line_channel_token, created_at, updated_at) values (1, 1, '1651', '${TOKEN}', '${TOKEN}', ${T});
  insert into channel_twilio_sms (id, phone_number, messaging_service_sid, auth_token, account_sid, account_id, created_at, updated_at) values (1, null, 'MG1', '${TOKEN}', 'AC1', 1, ${T});
  insert into channel_sms (id, account_id, phone_number, created_at, updated_at) values (1, 1, '+1555', ${T});
  insert into channel_email (id, account_id, email, forward_to_email, imap_enabled, provider, created_at, updated_at) values
    (1, 1, 'fetched@acme.example', 'a', true, null, ${T}), (2, 1, 'forwarded@acme.example', 'b', false, null, ${T}), (3, 1, 'google@acme.example', 'c', true, 'google', ${T});
  insert into channel_api (id, account_id, webhook_url, hmac_token, created_at, updated_at) values (1, 1, 'https://u:p@bot.example/${TOKEN}', '${TOKEN}', ${T});
  insert into inboxes (channel_id, account_id, name, channel_type, created_at, updated_at) values
    (1, 1, 'Site', 'Channel::WebWidget', ${T}), (1, 1, 'Cloud', 'Channel::Whatsapp', ${T}), (2, 1, 'Dialog', 'Channel::Whatsapp', ${T}),
    (1, 1, 'Page', 'Channel::FacebookPage', ${T}), (1, 1, 'Insta', 'Channel::Instagram', ${T}), (1, 1, 'Tele', 'Channel::Telegram', ${T}),
    (1, 1, 'Line', 'Channel::Line', ${T}), (1, 1, 'Twilio', 'Channel::TwilioSms', ${T}), (1, 1, 'Bandwidth', 'Channel::Sms', ${T}),
    (1, 1, 'Imap', 'Channel::Email', ${T}), (2, 1, 'Forward', 'Channel::Email', ${T}), (3, 1, 'Gmail', 'Channel::Email', ${T}),
    (1, 1, 'Api', 'Channel::Api', ${T}), (1, 1, 'Carrier pigeon', 'Channel::Pigeon', ${T});
  insert into portals (account_id, name, slug, custom_domain, created_at, updated_at) values (1, 'Help', 'help', 'help.acme.example', ${T}), (1, 'None', 'none', null, ${T});
  insert into integrations_hooks (account_id, app_id, access_token, created_at, updated_at) values (1, 'slack', '${TOKEN}', ${T}), (1, 'openai', '${TOKEN}', ${T});`;

let server: TestServer;
let rows: ChannelRow[];

before(async () => {
  server = await startPostgres();
  const tables = ["inboxes", "portals", "integrations_hooks", ...KINDS.map((kind) => `channel_${kind}`)];
  const address = await makeDatabase(server, "channels", tables);
  await onDatabase(address, async (client) => await client.query(ROWS));
  await using connection = await connect(address, { signal: new AbortController().signal });
  rows = await readChannels(connection);
});
after(async () => {
  await server.stop();
});

const OLD = "https://old.example.com";
const NEW = "https://new.example.com/";

test("after a move each provider's new address is told by inbox, kind by kind, and no token with it", () => {
  const lines = channelChecklist(rows, { before: OLD, after: NEW, isElsewhere: true });
  const text = lines.join("\n");
  const said: readonly [RegExp, string][] = [
    [/^Chatwoot's address is https:\/\/new\.example\.com now \(it was https:\/\/old\.example\.com\)/m, "address"],
    [/^'Site' \(WebWidget, https:\/\/acme\.example\): .*base URL/m, "widget"],
    [
      /^'Cloud' .*Meta's app.*https:\/\/new\.example\.com\/webhooks\/whatsapp\/\+4930123, with the verify token/m,
      "WhatsApp Cloud",
    ],
    [/^'Dialog' .*webhooks\/whatsapp\/\+4930124; saving the API key/m, "360dialog"],
    [/^'Page' \(FacebookPage, 77\): .*new\.example\.com\/bot, with FB_VERIFY_TOKEN/m, "Facebook"],
    [/^'Insta' .*webhooks\/instagram, with IG_VERIFY_TOKEN/m, "Instagram"],
    [/^'Tele' \(Telegram, acme_bot\): .*webhooks\/telegram\/TOKEN$/m, "Telegram"],
    [/^'Line' .*webhooks\/line\/1651$/m, "Line"],
    [/^'Twilio' \(TwilioSms, MG1\): .*twilio\/callback$/m, "Twilio"],
    [/^'Bandwidth' .*webhooks\/sms\/\+1555$/m, "SMS"],
    [/^'Forward' \(Email, forwarded@acme\.example\): .*action_mailbox/m, "forwarded mail"],
    [/^'Gmail' .*google\/callback/m, "Google"],
    [/^'Api' \(Api\): the programs/m, "API"],
    [/^'Slack' .*integrations\/webhooks$/m, "Slack"],
    [/^'Help' \(portal, help\.acme\.example\): /m, "portal"],
    [/^'Carrier pigeon' \(Pigeon\): whatever sends/m, "a kind of a fork"],
  ];
  for (const [pattern, what] of said) assert.match(text, pattern, what);
  assert.equal(lines.length, said.length, "and nothing else: what is fetched by IMAP goes on");
  assert.ok(!text.includes(TOKEN) && !text.includes("u:p@"));
});

test("where address and keys are the same nothing is to be done but to look", () => {
  const lines = channelChecklist(rows, { before: OLD, after: `${OLD}/`, isElsewhere: false });
  assert.equal(lines.length, 1);
  assert.match(
    lines[0] ?? "",
    /^channels go on by themselves, for address and keys are the same; send a message through one inbox of each/,
  );
});

test("on another machine under the same address, that has to lead there first", () => {
  const [first, second] = channelChecklist(rows, { before: OLD, after: OLD, isElsewhere: true });
  assert.match(first ?? "", /^let https:\/\/old\.example\.com lead to this machine/);
  assert.match(second ?? "", /^then channels go on by themselves/);
});

test("without inboxes there is nothing to do; many of a kind are one line", () => {
  assert.deepEqual(channelChecklist([], { before: OLD, after: NEW, isElsewhere: true }), []);
  const many = Array.from({ length: 40 }, (_, n): ChannelRow => {
    return {
      type: "Channel::Telegram",
      name: `Bot ${n}`,
      account: "a",
      detail: null,
      provider: null,
      isFetched: false,
    };
  });
  const lines = channelChecklist(many, { before: undefined, after: undefined, isElsewhere: true });
  assert.equal(lines.length, 2);
  assert.match(lines[1] ?? "", /'Bot 7' \(Telegram\) and 32 more: save the bot's token/);
});
