/** What is told of a restore point that was made of a moment, so that whoever named a moment sees that it is that one. */
import type { MomentEntry } from "../../point/manifest.ts";
import type { Look } from "../look.ts";
import { formatAge } from "../when.ts";

/** None of any other point. */
export function momentPairs(moment: MomentEntry | undefined, look: Look): [string, string][] {
  if (moment === undefined) return [];
  const { at, lastCommitAt, replayedTo } = moment;
  return [
    ["moment", `${at}, ${formatAge(at, look.nowMs)}`],
    ["last commit", `${lastCommitAt ?? "before the base"}, lsn:${replayedTo}`],
  ];
}
