/** What goes through psql where pg_restore is newer than the target. With real servers: test/long/versions.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isTooNewFor, withoutNewSetting } from "../../src/postgres/older-target.ts";

test("the setting that an older server does not know goes, and no text that looks like it", () => {
  const body = "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$\nSET transaction_timeout = 0;\n$$;\n";
  const sql = `SET statement_timeout = 0;\nSET transaction_timeout = 0;\nSET client_encoding = 'UTF8';\n${body}`;
  assert.equal(withoutNewSetting(sql), `SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\n${body}`);
  assert.equal(
    withoutNewSetting("SET statement_timeout = 0;\nCREATE TABLE t ();\n"),
    "SET statement_timeout = 0;\nCREATE TABLE t ();\n",
  );
});

test("pg_restore's own words tell that it is too new", () => {
  const said = `pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"`;
  assert.ok(isTooNewFor(said));
  assert.ok(!isTooNewFor('ERROR:  unrecognized configuration parameter "other"'));
});
