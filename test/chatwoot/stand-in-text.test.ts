/** Texts, pages and JSON in which nothing is left of what was said, and which still are what they were. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { treatmentOf } from "../../src/chatwoot/personal.ts";
import { makeStandIns } from "../../src/chatwoot/stand-in.ts";
import { replaceJson, replaceText } from "../../src/chatwoot/stand-in-text.ts";
import { chatwoot3, chatwoot4 } from "../harness/catalogues.ts";

const standIns = makeStandIns(Buffer.alloc(32, 3));
const replaced = (text: string) => replaceText(text, "messages 1", standIns);

test("HTML stays HTML, links lead nowhere, and addresses are what they are elsewhere", () => {
  const page = `<p class="x">Dear Anna,&nbsp;see <a href="https://acme.example/orders/4711?u=anna">order 4711</a><br/>anna@acme.example {{contact.name}} {{1}}</p>`;
  const made = replaced(page);
  assert.match(
    made,
    /^<p class="[a-z]">[A-Z][a-z]{3} [A-Z][a-z]{3},&nbsp;[a-z]{3} <a href="https:\/\/clone\.invalid\/[a-z]{6}\/\d{4}\?[a-z]=[a-z]{4}">/,
  );
  assert.ok(made.includes(standIns.email("anna@acme.example")) && made.endsWith(" {{contact.name}} {{1}}</p>"), made);
  for (const word of ["Anna", "anna", "acme", "4711", "order", "Dear"]) assert.ok(!made.includes(word), word);
});

test("what only looks like a tag, a field or an entity is a text", () => {
  const made = replaced("<Schmidt> {{anna.schmidt}} &Schmidt; <b schmidt>");
  assert.ok(!/schmidt/i.test(made) && !/anna/i.test(made), made);
});

test("a mention still names the person by number, and no longer by name", () => {
  assert.match(
    replaced("[@Jane](mention://user/7/Jane) look"),
    /^\[@[A-Z][a-z]{3}\]\(mention:\/\/user\/7\/[A-Z][a-z]{3}\)? /,
  );
});

test("JSON keeps its shape, its kinds and its numbers, and loses every text", () => {
  const value = {
    type: "card",
    items: [{ title: "Anna Schmidt", values: ["Berlin", null, true, 1.5] }],
    born: "1984-07-21",
    mail: "anna@acme.example",
    phone: "+4915112345678",
    note: "call Anna",
    deleted: false,
  };
  const text = JSON.stringify(value).replace("1.5", "12345678901234567890");
  const made = replaceJson(text, "x", standIns, { hasNumbers: false });
  const read: unknown = JSON.parse(made);
  assert.deepEqual(Object.keys(read as object), Object.keys(value));
  assert.ok(
    made.includes('"type":"card"') && made.includes("12345678901234567890") && made.includes('"deleted":false'),
    made,
  );
  assert.ok(
    made.includes(`"title":"${standIns.name("Anna Schmidt")}"`) && made.includes(standIns.email("anna@acme.example")),
  );
  assert.ok(made.includes(`+${standIns.phoneDigits("4915112345678")}`));
  assert.ok(!/anna|schmidt|berlin|1984/i.test(made), made);
});

test("numbers that may tell who it is are others of the same length, and a key that is an address is one of nobody", () => {
  const made = replaceJson('{"customer":4711007,"seats":12,"anna@acme.example":1}', "x", standIns, {
    hasNumbers: true,
  });
  const read = JSON.parse(made) as Record<string, number>;
  assert.notEqual(read["customer"], 4_711_007);
  assert.match(String(read["customer"]), /^[1-9]\d{6}$/);
  assert.equal(read["seats"], 12);
  assert.equal(read[standIns.email("anna@acme.example")], 1);
});

test("what is no JSON after all is a text of JSON", () => {
  assert.match(replaceJson("{Anna", "x", standIns, { hasNumbers: false }), /^"\{[A-Z][a-z]{3}"$/);
});

/** Every text column of both releases that is left as it is: words of the application, or made for the copy. */
test("of each release only the application's own words are kept", () => {
  for (const tables of [chatwoot3(), chatwoot4()]) {
    const kept = tables.flatMap(({ name: table, columns }) =>
      columns
        .filter(({ type }) => !/^(?:bigint|integer|boolean|double|timestamp|date|uuid)/.test(type))
        .filter(({ name, type }) => treatmentOf({ table, name, type, isUnique: false }) === "keep")
        .map(({ name }) => `${table}.${name}`),
    );
    // A column that holds what people write, whatever it is called, is none of them.
    const people =
      /content$|message|_text|title|description|first|last_name|email|phone|note|comment|reason|transcript|question|answer|attributes|username|address/;
    assert.deepEqual(
      kept.filter((name) => people.test(name.split(".")[1] ?? "") && !OF_THE_COPY.has(name)),
      [],
    );
    assert.ok(kept.length > 40 && kept.length < 160, `${kept.length}`);
  }
});

/** Emptied, or made anew, before anything else is replaced; and why a call ended, in a word. */
const OF_THE_COPY = new Set([
  "calls.end_reason",
  "accounts.support_email",
  "channel_email.email",
  "channel_email.forward_to_email",
  "channel_email.imap_address",
  "channel_email.smtp_address",
  "channel_sms.phone_number",
  "channel_telegram.bot_name",
  "channel_twilio_sms.messaging_service_sid",
  "channel_twilio_sms.phone_number",
  "channel_whatsapp.phone_number",
  "dashboard_apps.content",
  "inboxes.email_address",
  "users.unconfirmed_email",
]);
