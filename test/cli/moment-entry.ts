import type { ToldMoment } from "../../src/job/moment-position.ts";

/** Of a restore point that was made of a moment. */
export const MOMENT: ToldMoment = {
  at: "2026-11-23T10:31:00.000000Z",
  systemIdentifier: "7412345678901234567",
  timeline: 1,
  replayedTo: "0/4A1F6C8",
  lastCommitAt: "2026-11-23T10:30:58.204117Z",
  base: "b0".padEnd(64, "0"),
  configurationOf: null,
  position: "lsn:0/4A1F6C8",
};
