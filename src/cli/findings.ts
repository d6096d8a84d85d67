/** Findings on paper: the worst first, each with a word (never only a colour) and what to do about it. */
import { needsAttention, sortFindings, type Finding, type FindingLevel } from "../base/findings.ts";
import { hintWidth, wrap, type Colour, type Look } from "./look.ts";

const COLOURS: Record<FindingLevel, Colour> = { alarm: "red", warning: "yellow", note: "cyan" };

export function formatFindings(findings: readonly Finding[], look: Look): string[] {
  return sortFindings(findings).flatMap((finding) => [
    `${look.paint(COLOURS[finding.level], `${finding.level}:`)} ${finding.message}`,
    ...wrap(finding.hint, hintWidth(look), "  "),
  ]);
}

/** 3 when somebody must look, else 0. */
export function statusOf(findings: readonly Finding[]): 0 | 3 {
  return needsAttention(findings) ? 3 : 0;
}
