/** What a restore into the own place and its rollback look like on paper. */
import { test } from "node:test";
import { plainLook } from "../../src/cli/look.ts";
import {
  formatWhole,
  formatWholeNext,
  formatWholePlan,
  formatWholeRollback,
  formatWholeRollbackPlan,
} from "../../src/cli/reports/restore-whole.ts";
import type { WholePlan, WholeRollbackSummary, WholeSummary } from "../../src/job/whole-summaries.ts";
import { MOMENT } from "./moment-entry.ts";

const LOOK = plainLook(Date.parse("2026-11-23T17:00:00Z"), 100);
const POINT = "b07d55e1".padEnd(64, "0");

const PLAN: WholePlan = {
  type: "plan",
  verb: "restore",
  isWhole: true,
  point: POINT,
  snapshot: POINT,
  takenAt: "2026-11-23T02:30:00.000Z",
  installation: "acme",
  chatwoot: "4.15.1",
  place: {
    kind: "linux-vm",
    root: "/home/chatwoot/chatwoot",
    database: "chatwoot_production",
    frontendUrl: "https://chat.acme.example",
  },
  replaces: null,
  parts: ["database", "storage", "config"],
  stages: [
    { name: "stop", lines: ["the worker and the web process are stopped"] },
    {
      name: "database",
      lines: [
        "90 tables, 20,134 rows, 84.0 MiB, are loaded beside 'chatwoot_production' and compared with the point",
        "it takes about 153.0 MiB on the server's disk (78.2 GiB free); about 1 min 35 s by the last drill",
      ],
    },
    { name: "swap", lines: ["the restored database is called 'chatwoot_production' from then on"] },
    { name: "environment", lines: ["2 variables of /home/chatwoot/chatwoot/.env become the saved ones"] },
  ],
  environment: [],
  blockers: [],
  findings: [],
};

const DONE: WholeSummary = {
  type: "summary",
  verb: "restore",
  isWhole: true,
  restore: "20261123T165900Z-b07d55e1",
  point: POINT,
  state: "done",
  held: null,
  stages: [
    { name: "stop", state: "done", seconds: 1.2, lines: ["stopped: the worker, the web process"] },
    { name: "database", state: "done", seconds: 95, lines: ["20,134 rows of 90 tables, compared with the point"] },
    {
      name: "swap",
      state: "done",
      seconds: 0.3,
      lines: [
        "'chatwoot_production' is the restored database; the earlier one is kept as 'chatwoot_production_before_20261123T165900'",
      ],
    },
  ],
  seconds: 96.5,
  findings: [],
  next: ["connect the WhatsApp inbox 'Sales' again", "look whether all is as it should be"],
};

const ROLLED_BACK: WholeRollbackSummary = {
  type: "summary",
  verb: "rollback",
  isWhole: true,
  restore: DONE.restore,
  point: POINT,
  state: "undone",
  held: null,
  stages: [
    {
      name: "swap",
      state: "undone",
      seconds: 0.3,
      lines: ["database 'chatwoot_production' is the one that was there before"],
    },
    { name: "database", state: "undone", seconds: 0, lines: [] },
  ],
  seconds: 0.3,
  findings: [],
  next: [],
};

const REPORTS: Readonly<Record<string, readonly string[]>> = {
  "the plan": formatWholePlan(PLAN, LOOK),
  "the plan of a moment": formatWholePlan({ ...PLAN, moment: MOMENT }, LOOK),
  "the plan in another place, with all that stands in the way": formatWholePlan(
    {
      ...PLAN,
      replaces: {
        name: "staging.acme.example",
        why: ["the restore point is of https://chat.acme.example, and this place is https://staging.acme.example"],
      },
      blockers: [
        { kind: "a", level: "alarm", message: "the server lacks the extension vector", hint: "Install pgvector." },
        { kind: "b", level: "alarm", message: "'/srv' has 1 MiB free", hint: "Free some space." },
      ],
    },
    LOOK,
  ),
  "what was restored": [...formatWhole(DONE, LOOK), ...formatWholeNext(DONE, LOOK)],
  "what is held": formatWhole(
    {
      ...DONE,
      state: "held",
      held: { stage: "outbound", why: "3 campaigns would go out" },
      stages: [
        ...DONE.stages,
        { name: "outbound", state: "begun", seconds: 0.1, lines: ["3 campaigns would go out"] },
        { name: "worker", state: "waiting", seconds: 0, lines: [] },
      ],
    },
    LOOK,
  ),
  "the plan of a rollback": formatWholeRollbackPlan(
    {
      type: "plan",
      verb: "rollback",
      isWhole: true,
      restore: DONE.restore,
      point: POINT,
      installation: "acme",
      beganAt: "2026-11-23T16:59:00.000Z",
      state: "restoring",
      stages: ["swap", "database"],
      blockers: [],
      findings: [],
    },
    LOOK,
  ),
  "what was rolled back": formatWholeRollback(ROLLED_BACK, LOOK),
};

for (const [name, lines] of Object.entries(REPORTS)) {
  test(name, (t) => t.assert.snapshot(lines.join("\n"), { serializers: [String] }));
}
