import { plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { GapLine, MomentLine, RangeLine, WindowReport } from "../../job/window-summary.ts";
import type { Look } from "../look.ts";
import { formatAge, formatUtc } from "../when.ts";

const REASONS: Record<GapLine["reason"], string> = {
  "log-missing": "the log is missing there",
  "log-twice": "the log is there in two versions, and neither can be told to be the right one",
  "log-minimal": "the server ran with wal_level = minimal, and what it wrote then cannot be replayed",
  "no-base": "no base lies before the log",
  "base-without-log": "a base is there, and not the log that it needs",
  "history-unknown": "nobody knows where this timeline of the log began",
  "other-cluster": "another server, or a restored one, began",
};

/** Moments that were made into points, at most so many of them. */
const MOMENTS = 10;

/** From when to when any moment can be had, and what lies between; one line for each. */
export function formatWindow(window: WindowReport, look: Look, indent = ""): string[] {
  const { ranges, gaps, moments, unusable } = window;
  const lines = [
    ...ranges.map((range) => ({ at: range.from, line: rangeLine(range, ranges, look) })),
    ...gaps.map((gap) => ({ at: gap.from ?? gap.to ?? "", line: gapLine(gap, look) })),
  ].toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  const told = [
    ...(ranges.length === 0 ? ["no moment can be had yet"] : []),
    ...lines.map(({ line }) => line),
    ...moments.slice(0, MOMENTS).map((moment) => momentLine(moment, look)),
    ...(moments.length > MOMENTS ? [`and ${plural(moments.length - MOMENTS, "older moment")} as points`] : []),
    ...(unusable > 0 ? [`${plural(unusable, "piece is", "pieces are")} there that cannot be used`] : []),
  ];
  return told.map((line) => `${indent}${line}`);
}

function rangeLine({ from, to, timeline, timelines, left }: RangeLine, all: readonly RangeLine[], look: Look): string {
  const isSplit = new Set(all.flatMap((range) => range.timelines)).size > 1;
  const where = isSplit ? `, timeline ${(timelines.length > 1 ? timelines : [timeline]).join(" → ")}` : "";
  if (left !== null) {
    const words = `POINT is ${left.from} to ${left.to}`;
    return `${formatUtc(to ?? from)}  ${look.paint("yellow", "left behind")}: what the old server alone had (timeline ${timeline}); ${words}`;
  }
  const until = to === null ? `${formatUtc(from)}, as nothing was written since` : formatUtc(to);
  return `${formatUtc(from)} – ${until}  ${look.paint("green", "any moment")}${where}`;
}

function gapLine({ reason, from, to }: GapLine, look: Look): string {
  const [begin, end] = [from, to].map((at) => (at === null ? "?" : formatUtc(at)));
  return `${begin} – ${end}  ${look.paint("red", "none")}: ${REASONS[reason]}`;
}

function momentLine({ moment, point, provenAt }: MomentLine, look: Look): string {
  const proof = provenAt === null ? "not proven" : look.paint("green", `✓ proven ${formatAge(provenAt, look.nowMs)}`);
  return `${formatUtc(moment)}  a moment as point ${look.paint("bold", shortId(point))}, ${proof}`;
}
