/** What `import --database` and `export --plain` say. */
import { formatBytes, formatSeconds, listSome, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { DumpImportSummary } from "../../job/plain-summaries.ts";
import type { Look } from "../look.ts";
import { formatPairs } from "../table.ts";
import { formatUtc } from "../when.ts";
import { formatCopied } from "./copy.ts";

const SAID_BY = {
  dump: "as the dump says, in this machine's time zone where it names none",
  file: "by the time of its file: the dump does not say it",
  option: "as --made-at says",
} as const satisfies Record<DumpImportSummary["imported"]["madeAtFrom"], string>;

export function formatDumpImport(summary: DumpImportSummary, look: Look): string[] {
  const { imported, database, storage, added, others } = summary;
  const { format, packing, serverVersion, clientVersion } = imported;
  const kind = `${imported.file}: format ${format}${packing === null ? "" : `, packed with ${packing}`}`;
  const missing = storage.missing === 0 ? "" : `, ${storage.missing} of them missing or damaged`;
  const pairs: [string, string][] = [
    ["made of", `${kind}; of PostgreSQL ${short(serverVersion)} by pg_dump ${short(clientVersion)}`],
    ["dated", `${formatUtc(summary.takenAt)}, ${SAID_BY[imported.madeAtFrom]}`],
    ...(imported.database === null ? [] : [["database", imported.database] as [string, string]]),
    ...(others.length === 0
      ? []
      : [["left out", `the dump's other databases: ${listSome(others)}`] as [string, string]]),
    ["loaded into", `${summary.server}, thrown away`],
    ["rows", `${plural(database.rows, "row")} in ${plural(database.tables, "table")}`],
    ["files", `${plural(storage.blobs, "uploaded file")}, ${formatBytes(storage.bytes)}${missing}`],
    [
      "added",
      `${formatBytes(added.bytes)}${added.packs === 0 ? "" : ` in ${plural(added.packs, "pack")}`}, compressed and encrypted`,
    ],
    ...summary.copies.map((copy) => ["copied to", formatCopied(copy)] as [string, string]),
  ];
  return [
    `restore point ${look.paint("bold", shortId(summary.point))} made of a dump in ${formatSeconds(summary.seconds)}, in ${summary.to}`,
    ...formatPairs(pairs, look, "  "),
    `Prove that it restores: chatkeep drill ${shortId(summary.point)}`,
  ];
}

/** `15.20 (Debian 15.20-1.pgdg12+1)` → `15.20`. */
function short(version: string | null): string {
  return version?.split(" ")[0] ?? "(not said)";
}
