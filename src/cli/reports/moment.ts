/** What is told of a restore point that was made of a moment, so that whoever named a moment sees that it is that one. */
import type { ToldMoment } from "../../job/moment-position.ts";
import type { Look } from "../look.ts";
import { formatAge } from "../when.ts";

/** None of any other point. */
export function momentPairs(moment: ToldMoment | undefined, look: Look): [string, string][] {
  if (moment === undefined) return [];
  const { at, lastCommitAt, position } = moment;
  return [
    ["moment", `${at}, ${formatAge(at, look.nowMs)}`],
    ["last commit", `${lastCommitAt ?? "before the base"}, ${position}`],
  ];
}

/** The same for a plan: 'now' and '-5m' are another moment when the restore is begun, and a position never is. */
export function plannedMomentPairs(moment: ToldMoment, look: Look): [string, string][] {
  return [...momentPairs(moment, look), ["same again", `chatkeep restore ${moment.position}`]];
}
