/** What `guard` answers, of an installation that does not exist. */
import type { GuardSummary } from "../../src/job/guard-summary.ts";

export const GUARD_WELL: GuardSummary = {
  type: "summary",
  verb: "guard",
  outcome: "well",
  command: "cwctl --upgrade",
  status: 0,
  signal: null,
  point: "4f3a91c2".padEnd(64, "0"),
  repository: "primary",
  takenAt: "2026-11-23T16:40:00Z",
  before: "4.14.0",
  after: "4.15.1",
  changes: [
    "Chatwoot: 4.14.0 → 4.15.1",
    "migrations: 12 more, up to 20251119161025",
    "rows of messages: 50,000 → 50,003",
  ],
  reasons: [],
  back: [],
  next: ["Look at it yourself: log in, open a conversation with a picture, send a message."],
  seconds: 734.5,
  findings: [],
};

export const GUARD_WRONG: GuardSummary = {
  ...GUARD_WELL,
  outcome: "wrong",
  status: 143,
  signal: "SIGTERM",
  changes: ["Chatwoot: 4.14.0 → 4.15.1"],
  reasons: [
    {
      kind: "guard-not-well",
      level: "alarm",
      message: "Chatwoot is not well: http://localhost:3000 does not answer: connect ECONNREFUSED 127.0.0.1:3000",
      hint: "Look at what its web process logs. If it only needs longer, 'chatkeep guard --check' looks again.",
    },
  ],
  next: ["Everything as it was: 'chatkeep guard --back'."],
};

export const GUARD_BACK: GuardSummary = {
  ...GUARD_WRONG,
  outcome: "back",
  after: "4.14.0",
  back: [
    "20,134 rows of 90 tables, compared with the point",
    "rails runs chatwoot/chatwoot:latest as it was (sha256:5d2e9a8b7c6d)",
  ],
  next: [],
};

/** Going back is done as far as the worker. */
export const GUARD_HELD: GuardSummary = {
  ...GUARD_WRONG,
  reasons: [
    {
      kind: "guard-held",
      level: "alarm",
      message: "putting everything back stopped at 'outbound': the worker is not started, for it would act by itself",
      hint: "All before it is done, and is not done again.",
    },
  ],
  back: ["20,134 rows of 90 tables, compared with the point"],
  next: ["Look at what would be sent: 'chatkeep guard --back --outbound defuse' goes on without it."],
};
