import type { WatchServiceSummary } from "../../job/watch-service-summary.ts";
import type { Look } from "../look.ts";
import { formatPairs } from "../table.ts";

export function formatWatchService(summary: WatchServiceSummary, look: Look): string[] {
  const { manifest, action, by, state, installed, server } = summary;
  if (manifest !== null) return manifest.trimEnd().split("\n");
  if (action === "remove") return removedLines(summary);
  if (server !== null) return acceptedLines(server, look);
  return [
    `${look.paint("green", "✓")} installed`,
    ...formatPairs(
      [
        ["by", by ?? "nothing"],
        ...installed.map((what) => ["installed", what] as const),
        ["now", state ?? "unknown"],
        ["how it is", "chatkeep status"],
        ["to look", `${by === "systemd user" ? "journalctl --user" : "journalctl"} --unit ${unitOf(installed)}`],
      ],
      look,
      "  ",
    ),
  ];
}

function acceptedLines({ address, systemId }: NonNullable<WatchServiceSummary["server"]>, look: Look): string[] {
  return [
    `${look.paint("green", "✓")} the server at ${address} (${systemId}) is the one to follow from now on`,
    "A watch that runs on this machine goes on with it within half a minute, and takes a base.",
  ];
}

function unitOf([path = ""]: readonly string[]): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function removedLines({ removed, slot, stays }: WatchServiceSummary): string[] {
  return [
    ...(removed.length === 0
      ? ["no service of continuous protection is installed for this user"]
      : removed.map((what) => `removed  ${what}`)),
    ...(slot?.isDropped === true ? [`dropped  the replication slot '${slot.name}' at the server`] : []),
    ...(slot?.wasThere === false ? ["the server has no replication slot of ours"] : []),
    ...stays,
  ];
}
