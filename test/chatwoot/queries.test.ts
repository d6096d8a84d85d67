/** The texts of queries, run by a real server on what could make them fail. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { HAS_ACCOUNTS_QUERY, OTHER_DATABASES_QUERY } from "../../src/chatwoot/database.ts";
import { ciphertextQuery, proveKeys, readCiphertextRows } from "../../src/chatwoot/encryption.ts";
import { proveSecretKeyBase, signBlobId, signedIdQueries } from "../../src/chatwoot/signed-id.ts";
import { startPostgres, type TestServer } from "../harness/postgres.ts";
import { encryptionVectors, environmentOf } from "./vectors.ts";

let server: TestServer;
let client: Client;

before(async () => {
  server = await startPostgres();
  client = new Client(await server.createDatabase("chatwoot_production"));
  await client.connect();
});
after(async () => {
  await client.end();
  await server.stop();
});

test("ciphertexts are counted by column and key, among values that only look like them", async () => {
  await client.query('create table "channel_email" (id serial, imap_password text, "odd ""name\'s" varchar)');
  const [first] = encryptionVectors;
  const foreign = encryptionVectors.find((vector) => vector.primary_key !== first?.primary_key);
  assert.ok(first !== undefined && foreign !== undefined);
  const own = encryptionVectors.filter((vector) => vector.primary_key === first.primary_key);
  const values = [
    ...own.map((vector) => vector.nondeterministic),
    foreign.nondeterministic,
    "plain",
    "",
    "{",
    '{"p":"',
    '{"p":"YQ==","h":{}}',
    '{"p":"not json","h":{"iv":"x"}',
    '{"json":"inside"}',
    null,
  ];
  for (const value of values) {
    await client.query('insert into channel_email (imap_password, "odd ""name\'s") values ($1, $2)', [
      value,
      first.deterministic,
    ]);
  }
  const { rows } = await client.query<Record<string, unknown>>(
    ciphertextQuery("channel_email", ["imap_password", "odd \"name's"]),
  );
  const samples = readCiphertextRows("channel_email", rows);
  assert.deepEqual(
    samples.map(({ column, count }) => ({ column, count })).toSorted((a, b) => a.count - b.count),
    [
      { column: "imap_password", count: 1 },
      { column: "imap_password", count: own.length },
      { column: "odd \"name's", count: values.length },
    ],
  );
  const proof = await proveKeys(environmentOf(first), samples);
  assert.deepEqual(proof.checks.map((check) => check.status).toSorted(), ["opens", "opens", "unknown-key"]);
  const one = await client.query(ciphertextQuery("channel_email", "imap_password"));
  assert.equal(one.rows.length, 2);
});

const url = (id: number) => `https://chat.example/rails/active_storage/blobs/redirect/${signBlobId(id, "ours")}/x.png`;

test("signed ids are found in articles, e-mails and signatures", async () => {
  await client.query("create table articles (id bigserial, content text)");
  await client.query("create table messages (id serial, content_attributes json)");
  await client.query("create table users (id serial, message_signature text)");
  await client.query("insert into articles (content) values ($1), ('nothing'), (null)", [`![](${url(1)})`]);
  const html = { email: { html_content: { full: `<img src="${url(2)}">` } } };
  await client.query("insert into messages (content_attributes) values ($1), (null), ('{}')", [JSON.stringify(html)]);
  const texts: string[] = [];
  for (const sql of signedIdQueries(() => true)) {
    texts.push(...(await client.query<{ text: string }>(sql)).rows.map((row) => row.text));
  }
  assert.deepEqual(proveSecretKeyBase("ours", texts), { ok: true, found: 2, verified: 2 });
  assert.equal(proveSecretKeyBase("not ours", texts).ok, false);
});

test("an empty database is told from one with accounts, and its neighbours are listed", async () => {
  await server.createDatabase("chatwoot");
  const found = async (database: string) => (await server.query(HAS_ACCOUNTS_QUERY, database))[0]?.["found"];
  assert.equal(await found("chatwoot"), false);
  await client.query("create table accounts (id serial)");
  assert.equal(await found("chatwoot_production"), false);
  await client.query("insert into accounts default values");
  assert.equal(await found("chatwoot_production"), true);
  assert.deepEqual(
    (await server.query(OTHER_DATABASES_QUERY, "chatwoot")).map((row) => row["name"]),
    ["chatwoot_production"],
  );
});
