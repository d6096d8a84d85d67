/** What `stats` says of a repository with continuous protection, for its report. */
import type { StatsSummary } from "../../src/job/stats-summary.ts";
import { FIRST, INSTALLATION, SECOND } from "./summaries.ts";

const SIZE = {
  point: FIRST,
  takenAt: "2026-11-22T16:18:50.000Z",
  installation: INSTALLATION,
  files: 402,
  bytes: 1_376_570_572,
  addedBytes: 1_150_000_000,
  addedChunks: 2_011,
  uniqueBytes: 12_000,
};

export const STATS: StatsSummary = {
  type: "summary",
  verb: "stats",
  repository: "primary",
  stored: { packs: 74, bytes: 1_171_000_000, chunks: 2_190 },
  used: { chunks: 2_187, trees: 61, bytes: 1_170_800_000, unpackedBytes: 1_410_000_000 },
  unusedBytes: 200_000,
  beside: { files: 9, bytes: 190_000 },
  ratios: { compression: 1.2043, deduplication: 1.957, overall: 2.3566 },
  points: [
    SIZE,
    { ...SIZE, point: SECOND, takenAt: "2026-11-23T16:18:50.000Z", addedBytes: 20_800_000, uniqueBytes: 20_700_000 },
  ],
  otherSnapshots: 1,
  otherSizes: [
    { what: "moments", snapshots: 1, addedBytes: 1_100_000 },
    { what: "bases", snapshots: 3, addedBytes: 310_000_000 },
    { what: "log", snapshots: 1_204, addedBytes: 92_000_000 },
    { what: "files", snapshots: 40, addedBytes: 5_200_000 },
    { what: "marks", snapshots: 4, addedBytes: 3_000 },
  ],
  newest: {
    point: SECOND,
    database: {
      rows: 20_134,
      bytes: 88_080_384,
      tables: Array.from({ length: 10 }, (_table, at) => ({
        name: at === 0 ? "messages" : `table_${at}`,
        rows: 10_000 - 1000 * at,
        bytes: 70_000_000 >> (2 * at),
      })),
    },
    storage: [{ name: "local", kind: "Disk", files: 300, bytes: 1_288_490_188 }],
  },
  damaged: [],
  seconds: 0.4,
};
