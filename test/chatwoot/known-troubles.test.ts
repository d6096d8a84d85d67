import assert from "node:assert/strict";
import { test } from "node:test";
import { releaseFindings, schemaFindings } from "../../src/chatwoot/known-troubles.ts";

function told(version: string, hasVector = true): string[] {
  return releaseFindings(version, { hasVector }).map(({ level, message, hint }) => `${level}: ${message} | ${hint}`);
}

test("a release that cannot be upgraded at once is told, with the steps", () => {
  assert.match(told("2.16.0").join("\n"), /^note: Chatwoot 2\.16\.0 cannot .* 3\.6 .* \| Upgrade to 3\.5\.2 first/);
  for (const version of ["2.17.0", "3.16.0", "4.0.4"]) {
    assert.match(told(version).join("\n"), /cannot be upgraded to 4\.2 .* \| Upgrade to 4\.1\.0 first/, version);
  }
  for (const version of ["4.1.0", "4.15.1", "5.0.0"]) assert.deepEqual(told(version), [], version);
});

test("a server without pgvector is told before an upgrade needs it", () => {
  assert.equal(told("3.16.0", false).length, 2);
  assert.match(told("3.16.0", false)[1] ?? "", /lacks pgvector, which Chatwoot 4\.0\.0/);
  assert.deepEqual(told("4.2.0", false), []);
});

test("a database of another release than the one that runs is told", () => {
  assert.deepEqual(schemaFindings("4.15.1", { lacking: [], ahead: [] }), []);
  const [pending] = schemaFindings("4.15.1", { lacking: ["1", "2"], ahead: [] });
  assert.deepEqual([pending?.kind, pending?.level], ["migrations-pending", "warning"]);
  assert.match(pending?.message ?? "", /lacks 2 migrations that Chatwoot 4\.15\.1 has/);
  const [newer] = schemaFindings("4.9.0", { lacking: [], ahead: ["3"] });
  assert.deepEqual([newer?.kind, newer?.level], ["database-newer", "warning"]);
});
