import assert from "node:assert/strict";
import { test } from "node:test";
import { versionFindings } from "../../src/postgres/known-troubles.ts";

const IN_2026 = Date.parse("2026-06-01T00:00:00Z");

function told(version: string, nowMs = IN_2026): string[] {
  const server = { version, major: Number.parseInt(version, 10) };
  return versionFindings(server, nowMs).map(({ kind, level }) => `${level} ${kind}`);
}

test("minor versions with faults that matter here are told, and the ones beside them are not", () => {
  const fault = "warning postgres-known-fault";
  for (const version of ["14.0", "14.3", "14.21", "15.16", "16.12", "17.8", "18.2"]) {
    assert.deepEqual(told(version), [fault], version);
  }
  for (const version of ["14.4", "14.20", "14.22", "15.15", "15.17", "16.4", "17.9", "18.1", "18.3", "19beta1"]) {
    assert.deepEqual(told(version), [], version);
  }
});

test("a major version is out of support from the day after the last", () => {
  const out = "note postgres-out-of-support";
  assert.deepEqual(told("13.23"), [out]);
  assert.deepEqual(told("14.22", Date.parse("2026-11-12T20:00:00Z")), []);
  assert.deepEqual(told("14.22", Date.parse("2026-11-13T00:00:00Z")), [out]);
  assert.deepEqual(told("25.1"), [], "nobody knows yet");
});
