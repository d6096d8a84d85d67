/** What a restore into Chatwoot's own place, and its rollback, look like on paper. */
import { formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type {
  StageSummary,
  WholePlan,
  WholeRollbackPlan,
  WholeRollbackSummary,
  WholeSummary,
} from "../../job/whole-summaries.ts";
import { formatFindings } from "../findings.ts";
import { type Look, padEnd, padStart, proseWidth, wrap } from "../look.ts";
import { formatPairs } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";
import { plannedMomentPairs } from "./moment.ts";
import { formatBlockers, type ReadFrom, repositoryPairs } from "./restore.ts";

/** The steps as people call them. */
const NAMES: Readonly<Record<StageSummary["name"], string>> = {
  stop: "stop",
  database: "database",
  files: "files",
  code: "code",
  image: "image",
  clone: "copy",
  swap: "swap",
  environment: "environment",
  redis: "redis",
  migrate: "migrate",
  web: "web",
  health: "health",
  outbound: "outbound",
  worker: "worker",
};
const NAME_WIDTH = Math.max(...Object.values(NAMES).map(({ length }) => length));

export function formatWholePlan(plan: WholePlan & ReadFrom, look: Look): string[] {
  const { kind, root, database, frontendUrl } = plan.place;
  const place = [kind, ...(root === null ? [] : [root]), `database '${database}'`].join(", ");
  return [
    `plan of a restore of ${look.paint("bold", plan.installation)} into its own place`,
    ...formatPairs(
      [
        ["restore point", shortId(plan.point)],
        ...repositoryPairs(plan),
        ...(plan.moment === undefined
          ? [["taken", `${formatUtc(plan.takenAt)}, ${formatAge(plan.takenAt, look.nowMs)}`] as const]
          : plannedMomentPairs(plan.moment, look)),
        ["chatwoot", plan.chatwoot ?? "version unknown"],
        ["place", place],
        ...(frontendUrl === null ? [] : [["address", frontendUrl] as const]),
      ],
      look,
      "  ",
    ),
    ...(plan.replaces === null
      ? []
      : [
          "",
          look.paint("yellow", "! another place than the point's"),
          ...plan.replaces.why.flatMap((line) => wrap(line, proseWidth(look), "  ")),
        ]),
    "",
    "in this order",
    ...(plan.stages.length === 0 ? ["  nothing"] : plan.stages.flatMap((stage, index) => planned(stage, index, look))),
    "",
    ...wrap(
      "Each step is recorded before it changes anything, and what was there before is kept: 'chatkeep rollback' undoes all of it, also half-way. The repository is only read.",
      proseWidth(look),
      "  ",
    ),
    ...(plan.findings.length === 0 ? [] : ["", ...formatFindings(plan.findings, look)]),
    ...formatBlockers(plan.blockers, look),
    "",
  ];
}

function planned({ name, lines }: WholePlan["stages"][number], index: number, look: Look): string[] {
  const head = `  ${padStart(String(index + 1), 2)}. ${look.paint("bold", padEnd(NAMES[name], NAME_WIDTH))}  `;
  return hang(head, lines, 8 + NAME_WIDTH, look);
}

/** Lines behind a head, each wrapped below itself. */
function hang(head: string, lines: readonly string[], width: number, look: Look): string[] {
  const indent = " ".repeat(width);
  const wrapped = lines.flatMap((line) => wrap(line, Math.max(proseWidth(look), width + 30), indent));
  const [first = "", ...rest] = wrapped;
  return [`${head}${first.trimStart()}`.trimEnd(), ...rest];
}

export function formatWhole(summary: WholeSummary, look: Look): string[] {
  const done = summary.stages.filter(({ state }) => state === "done").length;
  const head =
    summary.state === "done"
      ? `${look.paint("green", "✓ restored")} from restore point ${shortId(summary.point)} in ${formatSeconds(summary.seconds)}`
      : `${look.paint("yellow", "! held")} after ${done} of ${plural(summary.stages.length, "step")}: restore point ${shortId(summary.point)}`;
  return [head, ...steps(summary.stages, look)];
}

/** What stands where a stage has no words of its own: an empty place would look as if something had gone wrong. */
const NOTHING_SAID: Record<StageSummary["state"], readonly string[]> = {
  waiting: ["not yet"],
  begun: ["not done"],
  done: ["done"],
  undone: ["nothing to undo"],
};

function steps(stages: readonly StageSummary[], look: Look): string[] {
  const times = stages.map(({ state, seconds }) => (state === "waiting" ? "" : formatSeconds(seconds)));
  const width = Math.max(0, ...times.map(({ length }) => length));
  return stages.flatMap(({ name, state, lines }, index) => {
    const head = `  ${padEnd(NAMES[name], NAME_WIDTH)}  ${padStart(times[index] ?? "", width)}  `;
    const said = lines.length > 0 ? lines : NOTHING_SAID[state];
    return hang(head, state === "waiting" ? NOTHING_SAID.waiting : said, NAME_WIDTH + width + 6, look);
  });
}

export function formatWholeNext({ next }: WholeSummary | WholeRollbackSummary, look: Look): string[] {
  if (next.length === 0) return [];
  return [
    "",
    `what is left for you: ${plural(next.length, "step")}`,
    ...next.flatMap((step, index) => {
      const [first = "", ...rest] = wrap(step, proseWidth(look), "      ");
      return [`  ${padStart(String(index + 1), 2)}. ${first.trimStart()}`, ...rest];
    }),
  ];
}

export function formatWholeRollbackPlan(plan: WholeRollbackPlan, look: Look): string[] {
  const state = { restoring: "not finished", done: "done", undoing: "its rollback is not finished" }[plan.state];
  const names = plan.stages.map((name) => NAMES[name]).join(", ");
  return [
    `plan of a rollback of a restore of ${look.paint("bold", plan.installation)}`,
    ...formatPairs(
      [
        ["restore begun", `${formatUtc(plan.beganAt)}, ${formatAge(plan.beganAt, look.nowMs)}: ${state}`],
        ["restore point", shortId(plan.point)],
        ["undone", names === "" ? "nothing: no step was begun" : names],
      ],
      look,
      "  ",
    ),
    "",
    ...wrap(
      "What was there before the restore is there again afterwards. What came into the restored database since is kept beside it.",
      proseWidth(look),
      "  ",
    ),
    ...(plan.findings.length === 0 ? [] : ["", ...formatFindings(plan.findings, look)]),
    ...formatBlockers(plan.blockers, look),
    "",
  ];
}

export function formatWholeRollback(summary: WholeRollbackSummary, look: Look): string[] {
  return [
    summary.held === null
      ? `${look.paint("green", "✓ rolled back")} the restore of point ${shortId(summary.point)} in ${formatSeconds(summary.seconds)}`
      : `${look.paint("yellow", "! the rollback")} of the restore of point ${shortId(summary.point)} stopped before the end, after ${formatSeconds(summary.seconds)}`,
    ...steps(summary.stages, look),
  ];
}
