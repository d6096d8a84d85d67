/** What pg_restore prints before it fails, and what is made of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { restoreFailure } from "../../src/postgres/restore-failure.ts";

const target = { host: "db", port: 5432, user: "chatwoot", database: "back" };

test("a full disk is told from what the server says, also where only a part of a page was written", () => {
  for (const said of [
    'could not extend file "base/1/2": No space left on device',
    'could not extend file "base/1/2": wrote only 4096 of 8192 bytes at block 0',
    'could not write to file "base/pgsql_tmp/pgsql_tmp1.0": No space left on device',
  ]) {
    const printed = `pg_restore: error: could not execute query: ERROR:  ${said}\nHINT:  Check free disk space.\n`;
    const { code, message } = restoreFailure(printed, target);
    assert.equal(code, "database/no-space");
    assert.equal(message, `the database server's disk is full (chatwoot@db:5432/back): ${said}`);
  }
});

test("where several indexes are built at once, the hint has what went wrong, and not only that a worker ended", () => {
  const printed =
    "pg_restore: error: could not execute query: ERROR:  something odd\nCommand was: CREATE INDEX i ON t;\n\npg_restore: error: a worker process died unexpectedly\n";
  const { code, hint } = restoreFailure(printed, target);
  assert.equal(code, "database/failed");
  assert.match(hint ?? "", /^It said: pg_restore: error: could not execute query: ERROR: {2}something odd/);
});

test("a server that has too little memory, or is told to stop, is told from a schema that is no good", () => {
  for (const said of [
    "ERROR:  out of memory",
    "ERROR:  canceling statement due to user request",
    "ERROR:  canceling statement due to statement timeout",
  ]) {
    const printed = `pg_restore: error: could not execute query: ${said}\nDETAIL:  It was so.\n`;
    const { code, message } = restoreFailure(printed, target);
    assert.equal(code, "target/unsuitable");
    assert.equal(message, `the target server could not restore the schema: ${said.slice(8)}`);
  }
});

test("a role that may make nothing in the schema is told what lets it", () => {
  const printed = "pg_restore: error: could not execute query: ERROR:  permission denied for schema public\n";
  const { code, message, hint } = restoreFailure(printed, target);
  assert.equal(code, "target/unsuitable");
  assert.equal(message, "'chatwoot' may not create tables in the database 'back'");
  assert.match(hint ?? "", /GRANT CREATE ON SCHEMA public TO "chatwoot";$/);
});
