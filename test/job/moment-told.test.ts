/** What a restore point of a moment says of that moment is told to whoever drills or restores it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Finding } from "../../src/base/findings.ts";
import { formatDrill } from "../../src/cli/reports/drill.ts";
import { momentFindings } from "../../src/job/moment-told.ts";
import { plainLook } from "../../src/cli/look.ts";
import { DRILL } from "../cli/summaries.ts";

const UNLOGGED: Finding = {
  kind: "unlogged-tables",
  level: "warning",
  message: "the moment has no rows of 1 unlogged table",
  hint: "Make it an ordinary table.",
};
const LATER: Finding = { ...UNLOGGED, kind: "moment-configuration-later", level: "note" };
const OTHER: Finding = { ...UNLOGGED, kind: "files-missing" };
const MOMENT = {
  at: "2026-11-23T16:18:50.000000Z",
  systemIdentifier: "7",
  timeline: 1,
  replayedTo: "0/2000000",
  lastCommitAt: null,
  base: "a".repeat(64),
  configurationOf: null,
};

test("of a moment's findings those are told that are about the moment, and of any other point none", () => {
  const findings = [UNLOGGED, OTHER, LATER];
  assert.deepEqual(momentFindings({ moment: MOMENT, findings }), [UNLOGGED, LATER]);
  assert.deepEqual(momentFindings({ findings }), []);
});

test("a drill's report has them below what it proved", () => {
  const shown = formatDrill({ ...DRILL, findings: [UNLOGGED] }, plainLook(0)).join("\n");
  assert.ok(shown.includes(UNLOGGED.message) && shown.includes(UNLOGGED.hint));
});
