import { plural } from "../../base/bytes.ts";
import type { ChannelLine, NotifySummary } from "../../job/schedule-summary.ts";
import { hintWidth, wrap, type Look } from "../look.ts";
import { formatTable } from "../table.ts";

export function formatNotify({ channels, tested }: NotifySummary, look: Look): string[] {
  if (channels.length === 0) {
    return ["nobody is told: the configuration has neither 'notify' nor 'ping' ('chatkeep help daily')"];
  }
  const table = formatTable<ChannelLine>(
    [
      { title: "channel", cell: ({ name }) => look.paint("bold", name) },
      { title: "kind", cell: ({ kind }) => kind },
      { title: "told of", cell: ({ on }) => on.join(", ") },
      { title: "waiting", cell: ({ waiting }) => (waiting === 0 ? "" : plural(waiting, "notice")), leaveOut: 1 },
      ...(tested ? [{ title: "trial", cell: (line: ChannelLine) => trial(line, look) }] : []),
    ],
    channels,
    look,
  );
  const failed = channels.flatMap(({ name, message, hint }) => {
    if (message === null) return [];
    return [
      `${look.paint("red", "error:")} ${name}: ${message}`,
      ...(hint === null ? [] : wrap(hint, hintWidth(look), "  ")),
    ];
  });
  return [...table, ...failed];
}

function trial({ delivered }: ChannelLine, look: Look): string {
  return delivered === true ? look.paint("green", "✓ sent") : look.paint("red", "✗ failed");
}
