import assert from "node:assert/strict";
import { test } from "node:test";
import { plainLook } from "../../src/cli/look.ts";
import { formatMoments, formatUnread } from "../../src/cli/reports/moments.ts";
import type { MomentsSummary } from "../../src/job/commits-summary.ts";

const PLAIN = plainLook(0);
const NOTHING: MomentsSummary = {
  type: "summary",
  verb: "moments",
  repository: "primary",
  searched: [{ from: "lsn:0/1000000", to: "lsn:0/2000000", bytes: 16_777_216 }],
  commits: 1661,
  matching: 0,
  found: [],
  unnamed: null,
  unread: [],
  seconds: 1,
};

test("a time of which there is no log is not one in which nothing was done", () => {
  assert.deepEqual(formatMoments({ ...NOTHING, searched: [], commits: 0 }, PLAIN), [
    "the log has nothing of that time: 'chatkeep list' shows from when to when it is there",
  ]);
});

test("nothing that was committed since a time is said without reading the log", () => {
  const end = "lsn:0/2000000";
  assert.deepEqual(formatMoments({ ...NOTHING, searched: [{ from: end, to: end, bytes: 0 }], commits: 0 }, PLAIN), [
    "nothing was committed since then, as far as the log reaches: 'chatkeep list' shows until when that is",
  ]);
});

test("nothing that was found is not the same as nothing that could be looked for", () => {
  assert.deepEqual(formatMoments(NOTHING, PLAIN), ["nothing of that in 1,661 transactions in 16.0 MiB of the log"]);
  assert.deepEqual(formatUnread(NOTHING), []);
  const [from, to] = ["2026-11-23T10:31:07.482911Z", "2026-11-23T10:36:07.000000Z"];
  const summary = { ...NOTHING, unnamed: { commits: 1020, from, to, baseComes: true } };
  assert.match(formatMoments(summary, PLAIN)[0] ?? "", /; of 1,020 of them it is not known which tables they changed$/);
  const [warning, ...more] = formatUnread(summary);
  assert.deepEqual(more, []);
  assert.ok(
    warning?.startsWith(`warning: 1,020 transactions from ${from} to ${to} changed a database that no base knows`),
  );
  assert.match(warning ?? "", /'chatkeep watch' takes a base then, which says their names$/);
  const [over] = formatUnread({ ...summary, unnamed: { ...summary.unnamed, baseComes: false } });
  assert.match(over ?? "", /and --table does not find them$/, "of a cluster that is followed no more no base comes");
});
