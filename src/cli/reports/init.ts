import type { InitSummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatPairs } from "../table.ts";

function formatFiles(summary: InitSummary, look: Look): string[] {
  const known = new Set([summary.config, summary.kit, summary.kitPage]);
  const others = summary.files.filter((file) => !known.has(file));
  return formatPairs(
    [
      ["repository", `${summary.repository} (${summary.created ? "made now" : "was there"})`],
      ["configuration", summary.config],
      ...(summary.kit === ""
        ? []
        : ([
            ["recovery kit", summary.kitPage],
            ["the same as text", summary.kit],
          ] as const)),
      ...others.map((file) => ["also written", file] as const),
    ],
    look,
    "  ",
  );
}

export function formatInit(summary: InitSummary, look: Look): string[] {
  return [
    ...(summary.notes.length === 0 ? [] : ["found", ...summary.notes.map((note) => `  ${note}`), ""]),
    "ready",
    ...formatFiles(summary, look),
    "",
    "next",
    "  1. print the recovery kit, keep it away from this machine, and delete both files: without it,",
    "     and without this machine, nobody can open the repository",
    "  2. chatkeep doctor     what worries it",
    "  3. chatkeep backup     the first restore point",
    "  4. chatkeep drill      the proof that it restores",
    summary.inContainer === true
      ? "  5. docker compose up --detach chatkeep   the same every night ('chatkeep help daily')"
      : "  5. chatkeep schedule install   the same every night ('chatkeep help daily')",
  ];
}

/** After `init --from`: the repository is known again, and its points can be looked at and restored. */
export function formatReturn(summary: InitSummary, look: Look): string[] {
  return [
    "the repository is known here again",
    ...formatFiles(summary, look),
    "",
    "next",
    "  1. chatkeep list                        which restore points there are",
    "  2. chatkeep restore latest --plan …     what a restore would do ('chatkeep help restore')",
  ];
}

/** After `init --add`: the configuration has one repository more. */
export function formatAdded(summary: InitSummary, look: Look): string[] {
  return [
    "one more repository is known",
    ...formatFiles(summary, look),
    "",
    "next",
    "  1. print its recovery kit and keep it away from this machine, beside the other one",
    "  2. chatkeep backup     makes a restore point, and copies it and the earlier ones there",
  ];
}
