import { shortId } from "../../base/ids.ts";
import type { KeySummary } from "../../job/summaries.ts";
import type { Look } from "../look.ts";
import { formatTable } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";

const DONE: Record<Exclude<KeySummary["action"], "list">, (summary: KeySummary) => string> = {
  add: ({ added }) => `key ${shortId(added ?? "")} added: its password opens the repository`,
  remove: ({ removed }) => `key ${shortId(removed ?? "")} removed: its password opens nothing any more`,
  passwd: ({ added, removed }) =>
    `password changed: key ${shortId(added ?? "")} is in the place of ${shortId(removed ?? "")}`,
};

export function formatKeys(summary: KeySummary, look: Look): string[] {
  const { action, keys, files, renewedKits, repository } = summary;
  const table = formatTable(
    [
      { title: "key", cell: ({ key }) => look.paint("bold", shortId(key)) },
      { title: "", cell: ({ current }) => (current ? "in use" : "") },
      { title: "user", cell: ({ user }) => user || "-" },
      { title: "host", cell: ({ host }) => host || "-", leaveOut: 1 },
      { title: "age", cell: ({ created }) => formatAge(created, look.nowMs) },
      { title: "created", cell: ({ created }) => formatUtc(created), leaveOut: 3 },
      { title: "fingerprint", cell: ({ fingerprint }) => fingerprint, leaveOut: 2 },
    ],
    keys,
    look,
  );
  if (action === "list") return table;
  return [
    `${look.paint("green", "✓")} ${DONE[action](summary)}`,
    ...files.map((file) => `  its password is in ${file}`),
    ...renewedKits.map((file) => `  recovery kit written anew: ${file}`),
    "",
    `keys of ${repository}`,
    ...table,
  ];
}

export function formatUnreadable({ damaged }: KeySummary): string[] {
  return damaged.map(({ name, message }) => `warning: key file ${shortId(name)} cannot be read: ${message}`);
}
