/** Comparisons of two points of an installation that does not exist. */
import type { DiffSummary } from "../../src/job/summaries.ts";

const FIRST = "4f3a91c2".padEnd(64, "0");
const SECOND = "b07d55e1".padEnd(64, "1");
const INSTALLATION = { id: "6f1c0d5e-9a77-4d0e-8f2b-3f6f5b1c2d3e", name: "acme" };

const NO_OBJECTS = { count: 0, examples: [] };
const NO_CHANGE = { added: NO_OBJECTS, changed: NO_OBJECTS, removed: NO_OBJECTS };
const LONG = "A customer with a name that is longer than anybody would ever write on paper, but did";

function differing(name: string, added: number, changed: number, removed: number): DiffSummary["tables"][number] {
  return {
    schema: "public",
    name,
    rowsBefore: 20_000 + removed,
    rowsAfter: 20_000 + added,
    added,
    changed,
    removed,
    columnsAdded: [],
    columnsRemoved: [],
    isPartial: false,
  };
}

export const DIFF: DiffSummary = {
  type: "summary",
  verb: "diff",
  repository: "primary",
  installation: INSTALLATION,
  before: { point: FIRST, takenAt: "2026-11-22T02:30:11.000Z" },
  after: { point: SECOND, takenAt: "2026-11-23T02:30:09.000Z" },
  swapped: false,
  tables: [
    differing("messages", 442, 12, 5_003),
    { ...differing("conversations", 30, 61, 0), columnsAdded: ["summary"] },
    { ...differing("companies", 3, 0, 0), rowsBefore: null, rowsAfter: 3 },
    { ...differing("old_things", 0, 0, 7), schema: "legacy", rowsBefore: 7, rowsAfter: null },
    { ...differing("contacts", 2, 0, 1), isPartial: true },
  ],
  tablesCompared: 91,
  accounts: [
    {
      account: "1",
      name: "Acme",
      objects: {
        conversations: {
          ...NO_CHANGE,
          added: { count: 1, examples: [{ id: "1501", what: "#1501", at: "2026-11-23T02:11:45.123Z" }] },
        },
        messages: {
          ...NO_CHANGE,
          added: {
            count: 442,
            examples: [
              { id: "20001", what: "incoming in #1501", at: "2026-11-22T02:31:00Z" },
              { id: "20002", what: "outgoing in #1501", at: "2026-11-22T02:33:00Z" },
              { id: "20003", what: "activity in #17", at: "2026-11-22T02:34:00Z" },
            ],
          },
          removed: { count: 1, examples: [{ id: "12", what: "incoming in #3", at: null }] },
        },
        contacts: {
          ...NO_CHANGE,
          added: { count: 1, examples: [{ id: "9", what: `${LONG} <somebody@example.org>`, at: null }] },
        },
        inboxes: { ...NO_CHANGE, changed: { count: 1, examples: [{ id: "2", what: "Website", at: null }] } },
        agents: {
          ...NO_CHANGE,
          removed: { count: 1, examples: [{ id: "4", what: "Grace Hopper <grace@acme.example>", at: null }] },
        },
      },
    },
    {
      account: "2",
      name: null,
      objects: {
        conversations: NO_CHANGE,
        messages: NO_CHANGE,
        contacts: { ...NO_CHANGE, added: { count: 1, examples: [{ id: "10", what: "+4930123456", at: null }] } },
        inboxes: NO_CHANGE,
        agents: NO_CHANGE,
      },
    },
  ],
  largeObjects: { before: 3, after: 4 },
  storage: [
    {
      service: "local",
      added: { files: 12, bytes: 12_897_484 },
      changed: { files: 0, bytes: 0 },
      removed: { files: 1, bytes: 512 },
    },
  ],
  config: {
    added: [],
    changed: ["home/chatwoot/chatwoot/.env"],
    removed: [],
    counts: { added: 0, changed: 1, removed: 0 },
  },
  code: {
    added: Array.from({ length: 12 }, (_, at) => `untracked/app/our_own_${at + 10}.rb`),
    changed: [],
    removed: [],
    counts: { added: 12, changed: 0, removed: 0 },
    head: { before: "0123456789abcdef", after: "fedcba9876543210" },
  },
  secrets: {
    added: ["OUR_OWN_TOKEN"],
    changed: ["SMTP_PASSWORD"],
    removed: [],
    counts: { added: 1, changed: 1, removed: 0 },
    isKnown: true,
  },
  chatwoot: { before: "4.14.0", after: "4.15.1" },
  postgresql: { before: "15.14", after: "15.14" },
  migrations: { added: 12, removed: 0 },
  rows: null,
  read: { ranges: 8, bytes: 88_080_384 },
  damaged: [],
  seconds: 1.2,
};

export const DIFF_OF_NOTHING: DiffSummary = {
  ...DIFF,
  tables: [],
  accounts: [],
  largeObjects: null,
  storage: [],
  config: { added: [], changed: [], removed: [], counts: { added: 0, changed: 0, removed: 0 } },
  code: {
    added: [],
    changed: [],
    removed: [],
    counts: { added: 0, changed: 0, removed: 0 },
    head: { before: null, after: null },
  },
  secrets: { added: [], changed: [], removed: [], counts: { added: 0, changed: 0, removed: 0 }, isKnown: true },
  chatwoot: { before: "4.15.1", after: "4.15.1" },
  migrations: { added: 0, removed: 0 },
  read: { ranges: 0, bytes: 0 },
};

export const DIFF_OF_TABLE: DiffSummary = {
  ...DIFF_OF_NOTHING,
  tables: [differing("messages", 442, 2, 1)],
  tablesCompared: 1,
  accounts: null,
  storage: null,
  config: null,
  code: null,
  secrets: null,
  rows: {
    table: "public.messages",
    hasIds: true,
    added: Array.from({ length: 100 }, (_, at) => String(20_001 + at)),
    changed: [
      { id: "17", columns: ["status", "updated_at"] },
      { id: "18", columns: ["status"] },
    ],
    removed: ["12"],
  },
};
