import { formatBytes, formatCount, formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { ScrubbedProblem, ScrubbedService, ScrubSummary } from "../../job/scrub-summary.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";

/** More than these are counted, not named; `--json` names them all. */
const PROBLEMS = 20;

export function formatScrub(summary: ScrubSummary, look: Look): string[] {
  const { services, problems, seconds } = summary;
  const files = services.reduce((sum, { filesRead }) => sum + filesRead, 0);
  const bytes = services.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  const scope = `${plural(files, "file")} read, ${formatBytes(bytes)} in ${formatSeconds(seconds)}`;
  const head =
    problems.length === 0
      ? `${look.paint("green", "✓")} every file is what was uploaded: ${scope}`
      : `${look.paint("red", "✗")} ${plural(problems.length, "file is not as it should be", "files are not as they should be")}: ${scope}`;
  return [
    head,
    ...(services.length === 0 ? [] : ["", ...servicesTable(services, look)]),
    ...problemsTable(summary, look),
  ];
}

function servicesTable(services: readonly ScrubbedService[], look: Look): string[] {
  return formatTable(
    [
      { title: "storage", cell: ({ name }) => name },
      { title: "files", cell: ({ files }) => formatCount(files), align: "right", leaveOut: 2 },
      { title: "read", cell: ({ filesRead }) => formatCount(filesRead), align: "right" },
      { title: "size read", cell: ({ bytesRead }) => formatBytes(bytesRead), align: "right", leaveOut: 1 },
      { title: "wrong", cell: (service) => formatCount(service.problems), align: "right" },
    ],
    services,
    look,
  );
}

function problemsTable({ problems, point }: ScrubSummary, look: Look): string[] {
  if (problems.length === 0) return [];
  const shown = problems.slice(0, PROBLEMS);
  const rest = problems.length - shown.length;
  const inPoint = point === null ? "in a point" : `in ${shortId(point)}`;
  return [
    "",
    ...formatTable<ScrubbedProblem>(
      [
        { title: "blob", cell: ({ id }) => id, align: "right" },
        { title: "storage", cell: ({ service }) => service, leaveOut: 2 },
        { title: "file", cell: ({ filename }) => filename || "(no name)", leaveOut: 3 },
        { title: "what", cell: ({ reason }) => reason },
        { title: "known since", cell: ({ since, isNew }) => (isNew ? "new" : (since ?? "").slice(0, 10)) },
        { title: inPoint, cell: ({ saved }) => (point === null ? "?" : saved === null ? "no" : "yes"), leaveOut: 1 },
      ],
      shown,
      look,
    ),
    ...(rest > 0 ? [`and ${plural(rest, "other")}: --json has all of them`] : []),
  ];
}
