/** No column of any release that is known by its catalogue goes unjudged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  HARMLESS_COLUMNS,
  OUTWARD_COLUMNS,
  type OutwardTable,
  planOutward,
  REMOVED_TABLES,
  isKeptSetting,
  soundsOutward,
} from "../../src/chatwoot/outward.ts";
import { chatwoot3, chatwoot4 } from "../harness/catalogues.ts";

const RELEASES = { "3.16.0": chatwoot3(), "4.15.1": chatwoot4() };

for (const [release, tables] of Object.entries(RELEASES)) {
  test(`every column of ${release} that may reach outside is emptied, renewed, or said to be harmless`, () => {
    assert.ok(tables.length > 60);
    const names = planOutward(tables).unknown.map(({ table, column }) => `${table}.${column}`);
    assert.deepEqual(names, []);
    // Judged here once more, and not by the code that is tested: names that sound so, and whatever a channel holds.
    const unjudged = tables.flatMap(({ name: table, columns }) =>
      columns
        .filter(({ type }) => /^(?:character|varchar|text|json)/.test(type))
        .filter(
          ({ name }) =>
            table.startsWith("channel_") ||
            /token|secret|passw|key$|hook|url|link|mail|phone|auth|conf|sett|cred/i.test(name),
        )
        .map(({ name }) => ({ table, name, full: `${table}.${name}` }))
        .filter(({ name }) => !OTHER_WORDS.has(name))
        .filter(
          ({ table: of, name, full }) =>
            !(of in REMOVED_TABLES) &&
            OUTWARD_COLUMNS[of]?.[name] === undefined &&
            HARMLESS_COLUMNS[full] === undefined,
        )
        .map(({ full }) => full),
    );
    assert.deepEqual(unjudged, []);
  });
}

/** A name of an attribute; and the reason why somebody was away. */
const OTHER_WORDS = new Set(["attribute_key"]);

test("the lists name only what a release has", () => {
  const all = new Set(
    Object.values(RELEASES).flatMap((tables) =>
      tables.flatMap(({ name, columns }) => [name, ...columns.map((column) => `${name}.${column.name}`)]),
    ),
  );
  const listed = [
    ...Object.keys(REMOVED_TABLES),
    ...Object.entries(OUTWARD_COLUMNS).flatMap(([table, columns]) =>
      Object.keys(columns).map((column) => `${table}.${column}`),
    ),
    ...Object.keys(HARMLESS_COLUMNS),
  ];
  // Of a fork that is in wide use.
  assert.deepEqual(
    listed.filter((name) => !all.has(name)),
    ["channel_whatsapp.provider_connection"],
  );
});

const column = (name: string, type: string) => ({ name, type, isNullable: true });

test("a column that a fork added is found, and emptied where a channel or an integration has it", () => {
  const tables: OutwardTable[] = [
    {
      schema: "public",
      name: "channel_baileys",
      columns: [column("id", "bigint"), column("state", "jsonb"), column("name", "text")],
    },
    {
      schema: "public",
      name: "channel_whatsapp",
      columns: [column("id", "bigint"), column("qr_secret", "text"), column("colour", "text")],
    },
    {
      schema: "public",
      name: "scheduled_messages",
      columns: [column("id", "bigint"), column("callback_url", "text"), column("content", "text")],
    },
  ];
  const { unknown, statements } = planOutward(tables);
  assert.deepEqual(
    unknown.map(({ table, column: name, isEmptied }) => [`${table}.${name}`, isEmptied]),
    [
      ["channel_baileys.state", true],
      ["channel_baileys.name", true],
      ["channel_whatsapp.qr_secret", true],
      ["scheduled_messages.callback_url", false],
    ],
  );
  assert.deepEqual(
    statements.map(({ table }) => table),
    ["channel_baileys", "channel_whatsapp"],
  );
});

test("names that sound outward, and settings that stay", () => {
  for (const name of ["api_key", "hmac_token", "webhook_url", "imap_login", "provider_config", "access_token"])
    assert.ok(soundsOutward(name), name);
  for (const name of ["content", "name", "created_at", "position", "color", "description"])
    assert.ok(!soundsOutward(name), name);
  for (const name of [
    "VAPID_KEYS",
    "FIREBASE_CREDENTIALS",
    "FB_APP_SECRET",
    "CAPTAIN_OPEN_AI_API_KEY",
    "INSTALLATION_IDENTIFIER",
    "INSTALLATION_EVENTS_WEBHOOK_URL",
    "DASHBOARD_SCRIPTS",
    "SOMETHING_OF_A_FORK",
  ])
    assert.ok(!isKeptSetting(name), name);
  for (const name of ["INSTALLATION_NAME", "ENABLE_ACCOUNT_SIGNUP", "BRAND_NAME"]) assert.ok(isKeptSetting(name), name);
});
