/** What `import --database` and `export --plain` say. */
import { formatBytes, formatSeconds, listSome, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { DumpImportSummary, PlainExportSummary } from "../../job/plain-summaries.ts";
import { type Look, proseWidth, wrap } from "../look.ts";
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

export function formatPlainExport(summary: PlainExportSummary, look: Look): string[] {
  const { point, takenAt, folder, database, storage, hasEnvironment, hasCode, major, seconds } = summary;
  const dump = `chatwoot.dump (${formatBytes(database.bytes)}: ${plural(database.rows, "row")}; for pg_restore of PostgreSQL ${major} or newer)`;
  const files =
    storage.files === 0 ? [] : [`storage/ (${plural(storage.files, "file")}, ${formatBytes(storage.bytes)})`];
  const rest = [...(hasEnvironment ? [".env"] : []), ...(hasCode ? ["code/"] : []), "README.txt"];
  return [
    `${look.paint("green", "✓")} restore point ${look.paint("bold", shortId(point))} of ${formatUtc(takenAt)} written as plain files in ${formatSeconds(seconds)}`,
    `  ${folder}`,
    ...[dump, ...files, rest.join(", ")].map((line) => `  ${line}`),
    "",
    ...wrap(
      "Nothing in it is encrypted: whoever can read it has every conversation and every secret. README.txt has the steps of a restore without Chatkeep.",
      proseWidth(look),
    ),
  ];
}
