import { formatSeconds } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { RepositoryState, RunStage, RunSummary } from "../../job/run-summary.ts";
import { hintWidth, wrap, type Look } from "../look.ts";
import { formatPairs, formatTable } from "../table.ts";
import { formatAge } from "../when.ts";

const WORDS = {
  success: { mark: "✓", colour: "green", text: "the day's work is done" },
  finding: { mark: "!", colour: "yellow", text: "the day's work is done, and something needs a look" },
  failure: { mark: "✗", colour: "red", text: "not all of the day's work was done" },
} as const;

/** Stage by stage, then what there is to restore. */
export function formatRun(summary: RunSummary, look: Look): string[] {
  const { mark, colour, text } = WORDS[summary.outcome];
  return [
    `${look.paint(colour, mark)} ${text}, in ${formatSeconds(summary.seconds)}`,
    ...formatTable(
      [
        { title: "stage", cell: stageName },
        { title: "outcome", cell: (stage) => statusOf(stage, look) },
        {
          title: "time",
          cell: ({ status, seconds }) => (status === "skipped" ? "" : formatSeconds(seconds)),
          align: "right",
        },
        { title: "because", cell: ({ why }) => why ?? "" },
      ],
      summary.stages,
      look,
    ).map((line) => `  ${line}`.trimEnd()),
    "",
    ...formatPairs(
      [...summary.repositories.map((state) => repositoryPair(state, look)), ...tellingPairs(summary)],
      look,
      "  ",
    ),
  ];
}

function stageName({ stage, repository }: RunStage): string {
  return repository === null ? stage : `${stage} in ${repository}`;
}

function statusOf({ status }: RunStage, look: Look): string {
  if (status === "done") return look.paint("green", "✓ done");
  return status === "failed" ? look.paint("red", "✗ failed") : look.paint("dim", "- left out");
}

function repositoryPair({ name, newest, proven, trouble }: RepositoryState, look: Look): readonly [string, string] {
  const point =
    newest === null ? "no restore point" : `newest ${shortId(newest.point)}, ${formatAge(newest.at, look.nowMs)}`;
  const proof =
    proven === null ? "never proven" : `${shortId(proven.point)} proven ${formatAge(proven.at, look.nowMs)}`;
  return [name, `${point}; ${proof}${trouble === null ? "" : "; as known before"}`];
}

function tellingPairs({ notices }: RunSummary): (readonly [string, string])[] {
  const told = notices
    .filter(({ delivered }) => delivered)
    .map(({ channel, isLate }) => (isLate ? `${channel} (late)` : channel));
  return told.length === 0 ? [] : [["told", told.join(", ")]];
}

/** Of each stage that failed, why and what to do. */
export function formatFailures({ stages }: RunSummary, look: Look): string[] {
  return stages.flatMap((stage) => {
    if (stage.error === null) return [];
    const { message, hint } = stage.error;
    return [
      `${look.paint("red", "error:")} ${stageName(stage)}: ${message}`,
      ...(hint === null ? [] : wrap(hint.replaceAll(/\s*\n\s*/g, " / "), hintWidth(look), "  ")),
    ];
  });
}
