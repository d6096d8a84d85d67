import { plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { LockLine, UnlockSummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";
import { formatAge } from "../when.ts";

export function formatUnlock({ repository, removed, left }: UnlockSummary, look: Look): string[] {
  const head =
    removed.length === 0 ? `no lock to remove in ${repository}` : `${plural(removed.length, "lock")} removed`;
  return [
    head,
    ...(removed.length === 0 ? [] : formatLocks(removed, look)),
    ...(left.length === 0 ? [] : ["", `${plural(left.length, "lock")} in use, left alone`, ...formatLocks(left, look)]),
  ];
}

export function formatLocks(locks: readonly LockLine[], look: Look): string[] {
  return formatTable(
    [
      { title: "lock", cell: ({ lock }) => shortId(lock) },
      { title: "kind", cell: ({ exclusive }) => (exclusive === null ? "?" : exclusive ? "exclusive" : "shared") },
      { title: "refreshed", cell: ({ since }) => (since === null ? "?" : formatAge(since, look.nowMs)) },
      {
        title: "whose",
        cell: ({ user, host, pid, damage }) =>
          damage === null ? `${user || "unknown"}@${host || "unknown"}, process ${pid}` : `unknown: ${damage}`,
      },
    ],
    locks,
    look,
  ).map((line) => `  ${line}`);
}
