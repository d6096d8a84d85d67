/** The demo's second act: what was acknowledged in time is back, and nothing of the demo is left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { callCli, summaryOf } from "../harness/cli.ts";
import { temporaryFolder } from "../harness/temporary.ts";

test("the demo's second act brings back what was acknowledged, and tells so", async () => {
  await using folder = await temporaryFolder();
  const { status, stdout, stderr } = await callCli(["demo", "--continuous", "--json"], { cwd: folder.path });
  assert.equal(status, 0, stderr);
  const summary = summaryOf(stdout);
  assert.deepEqual([summary["proven"], summary["kept"]], [true, null]);
  const [, back, promised] =
    /acknowledged more than 3 seconds before: ([\d,]+) of ([\d,]+) messages are back/.exec(stderr) ?? [];
  assert.ok(back !== undefined && back !== "0" && back === promised, stderr);
  assert.match(stderr, /4 {2}Disaster {14}the database server is killed amid them/);
});
