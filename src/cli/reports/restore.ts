import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import type { Finding } from "../../base/findings.ts";
import { shortId } from "../../base/ids.ts";
import type { RestorePlan, RestoreSummary } from "../../job/summaries.ts";
import { PARTS } from "../commands.ts";
import { formatFindings } from "../findings.ts";
import { proseWidth, wrap, type Look } from "../look.ts";
import { formatPairs, formatTable } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";
import { plannedMomentPairs } from "./moment.ts";

const NOUNS = { database: "database", storage: "uploaded files", config: "configuration", code: "code" } as const;

/** A page that can be read at three in the morning: what, where, what not, and what stands in the way. */
export function formatPlan(plan: RestorePlan & ReadFrom, look: Look): string[] {
  const steps = formatTable(
    [
      { title: "", cell: ({ index }) => `${index + 1}.`, align: "right" },
      { title: "", cell: ({ step }) => look.paint("bold", NOUNS[step.part]) },
      { title: "", cell: ({ step }) => `${step.what}${step.bytes > 0 ? `, ${formatBytes(step.bytes)}` : ""}` },
      { title: "", cell: ({ step }) => `→ ${step.target}` },
    ],
    plan.steps.map((step, index) => ({ step, index })),
    // Targets are never left out or broken, whatever the width: they are what must be read.
    { ...look, width: undefined },
  ).slice(1);
  const left = PARTS.filter((part) => !plan.steps.some((step) => step.part === part)).map((part) => NOUNS[part]);
  const untouched = plan.isLive
    ? "The database that Chatwoot uses is read by nobody but Chatwoot until the restored one is complete and compared. Then both names are swapped in one moment, in which sessions are ended, and the old one is kept, with what Chatwoot wrote until then: 'chatkeep rollback' puts it back. Files, configuration and code stay as they are. The repository is only read."
    : "A restore writes only into a new or empty database and a new or empty folder: nothing that exists is overwritten. The Chatwoot that runs now, its database and its files stay as they are. The repository is only read.";
  return [
    `plan of a restore of ${look.paint("bold", plan.installation)}`,
    ...formatPairs(
      [
        ["restore point", shortId(plan.point)],
        ...repositoryPairs(plan),
        ...(plan.moment === undefined
          ? [["taken", `${formatUtc(plan.takenAt)}, ${formatAge(plan.takenAt, look.nowMs)}`] as const]
          : plannedMomentPairs(plan.moment, look)),
        ["chatwoot", plan.chatwoot ?? "version unknown"],
      ],
      look,
      "  ",
    ),
    "",
    "written",
    ...(steps.length === 0 ? ["  nothing"] : steps.map((line) => `  ${line}`)),
    ...estimate(plan, look),
    ...roles(plan, look),
    "",
    "not touched",
    ...wrap(untouched, proseWidth(look), "  "),
    ...(left.length === 0 ? [] : [`  Not part of this restore: ${left.join(", ")}.`]),
    ...(plan.findings.length === 0 ? [] : ["", ...formatFindings(plan.findings, look)]),
    ...formatBlockers(plan.blockers, look),
    "",
  ];
}

export interface ReadFrom {
  repository?: string;
  repositoryWhy?: string;
}

/** None where it is the first of the configuration, or the one that was named. */
export function repositoryPairs({ repository, repositoryWhy }: ReadFrom): [string, string][] {
  if (repository === undefined || repositoryWhy === undefined) return [];
  return [["repository", `${repository}: ${repositoryWhy}`]];
}

function roles({ roles: planned }: RestorePlan, look: Look): string[] {
  if (planned === null) return [];
  const { create, keep } = planned;
  const made = create.length === 0 ? "none is lacking" : `made without passwords: ${create.join(", ")}`;
  const kept = keep.length === 0 ? "" : `; there already, and left as they are: ${keep.join(", ")}`;
  const text = `${made}${kept}. Owners and grants of everything in the database are what they were.`;
  return ["", "roles", ...wrap(text, proseWidth(look), "  ")];
}

function estimate({ estimate: found }: RestorePlan, look: Look): string[] {
  if (found === null) return [];
  const { diskBytes, freeBytes, seconds } = found;
  const free = freeBytes === null ? "how much is free there is not known" : `${formatBytes(freeBytes)} free`;
  const time =
    seconds === null ? "no drill has told how long it takes" : `about ${formatSeconds(seconds)} by the last drill`;
  const text = `The database takes about ${formatBytes(diskBytes)} on the server's disk (${free}); ${time}.`;
  return wrap(text, proseWidth(look), "  ");
}

export function formatBlockers(found: readonly Finding[], look: Look): string[] {
  if (found.length === 0) return [];
  return [
    "",
    look.paint("red", "✗ in the way"),
    ...found.flatMap(({ message, hint }) => [`  ${message}`, ...wrap(hint, proseWidth(look), "    ")]),
  ];
}

export function formatRestored(summary: RestoreSummary, look: Look): string[] {
  const { database, storage, config, code } = summary;
  const pairs: [string, string][] = [];
  if (database !== null) {
    const kept = database.previous === null ? "" : `; the old one is kept as ${database.previous}`;
    pairs.push(["database", `${database.name}: ${plural(database.rows, "row")}${kept}`]);
  }
  if (storage !== null)
    pairs.push(["uploaded files", `${plural(storage.blobs, "file")}, ${formatBytes(storage.bytes)}`]);
  if (config !== null) pairs.push(["configuration", config]);
  if (code !== null) pairs.push(["code", code]);
  return [
    `${look.paint("green", "✓ restored")} from restore point ${shortId(summary.point)} in ${formatSeconds(summary.seconds)}`,
    ...formatPairs(pairs, look, "  "),
  ];
}

export function formatNext({ next }: RestoreSummary, look: Look): string[] {
  if (next.length === 0) return [];
  return [
    "",
    "what is left for you",
    ...next.flatMap((step, index) => {
      const [first = "", ...rest] = wrap(step, proseWidth(look), "     ");
      return [`  ${index + 1}. ${first.trimStart()}`, ...rest];
    }),
  ];
}
