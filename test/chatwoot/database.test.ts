import assert from "node:assert/strict";
import { test } from "node:test";
import { databaseFailure, databaseFindings, identifyChatwoot, REQUIRED_TABLES } from "../../src/chatwoot/database.ts";

const all = new Set<string>(REQUIRED_TABLES);

test("a database with Chatwoot's tables and an account is a Chatwoot's", () => {
  const verdict = identifyChatwoot({ tables: all, accounts: 1 });
  assert.deepEqual(verdict, { kind: "chatwoot", missing: [] });
  assert.equal(databaseFailure(verdict, "chatwoot_production"), undefined);
  assert.deepEqual(databaseFindings(verdict, "chatwoot_production"), []);
});

test("the empty database that Compose makes is refused, and the right one is named (F27)", () => {
  const failure = databaseFailure(identifyChatwoot({ tables: new Set(), accounts: undefined }), "chatwoot", [
    "chatwoot_production",
  ]);
  assert.equal(failure?.code, "database/unsuitable");
  assert.equal(failure?.message, "the database 'chatwoot' holds no tables");
  assert.match(failure?.hint ?? "", /'chatwoot_production'/);
});

test("an onboarded Chatwoot without accounts is refused only where another has them", () => {
  const verdict = identifyChatwoot({ tables: all, accounts: 0 });
  assert.equal(databaseFailure(verdict, "a"), undefined);
  assert.equal(databaseFindings(verdict, "a")[0]?.kind, "no-accounts");
  assert.equal(databaseFailure(verdict, "a", ["b"])?.code, "database/unsuitable");
});

test("a database of something else is refused, naming a table that it lacks", () => {
  const tables = new Set(REQUIRED_TABLES.filter((table) => table !== "active_storage_blobs"));
  const failure = databaseFailure(identifyChatwoot({ tables, accounts: 3 }), "shop");
  assert.match(failure?.message ?? "", /'shop' is not a Chatwoot's.*active_storage_blobs/);
});
