/** What `export` and `import` say. */
import { basename } from "node:path";
import { formatBytes, formatSeconds, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import { shellWord } from "../../point/restore-script.ts";
import type { DatabaseExportSummary, ExportSummary, ImportSummary } from "../../job/summaries.ts";
import { padEnd, proseWidth, wrap, type Look } from "../look.ts";
import { formatUtc } from "../when.ts";

export function formatExport(summary: ExportSummary, look: Look): string[] {
  const { point, takenAt, file, bytes, sha256, folder, passwordFile, wasBegun, seconds } = summary;
  const went = wasBegun ? ", going on where an export was stopped" : "";
  const name = shellWord(basename(file));
  return [
    `${look.paint("green", "✓")} restore point ${look.paint("bold", shortId(point))} of ${formatUtc(takenAt)} exported in ${formatSeconds(seconds)}${went}`,
    `  ${file}`,
    `  ${formatBytes(bytes)}, read back to the last chunk; SHA-256 ${sha256}`,
    ...(passwordFile === null ? [] : [`  its password is in ${passwordFile}: send it another way than the file`]),
    "",
    ...wrap(
      "Whoever has the file and its password has every conversation and every secret of the installation.",
      proseWidth(look),
    ),
    ...formatCommands([
      [`chatkeep import ${name}`, "takes it into a repository"],
      [`tar xf ${name}`, `makes ${folder}, which stock restic opens`],
    ]),
  ];
}

export function formatDatabaseExport(summary: DatabaseExportSummary, look: Look): string[] {
  const { point, takenAt, file, format, bytes, tables, rows, major, seconds } = summary;
  const name = shellWord(basename(file));
  const command =
    format === "plain"
      ? `psql -X -v ON_ERROR_STOP=1 -d DATABASE -f ${name}`
      : `pg_restore --no-owner --no-acl -e -j 2 -d DATABASE ${name}`;
  return [
    `${look.paint("green", "✓")} database of restore point ${look.paint("bold", shortId(point))} of ${formatUtc(takenAt)} exported in ${formatSeconds(seconds)}`,
    `  ${file}`,
    `  ${formatBytes(bytes)}: ${plural(tables, "table")}, ${plural(rows, "row")}; format ${format}, of PostgreSQL ${major}`,
    "",
    ...wrap(
      "It is not encrypted: whoever can read it has every conversation. DATABASE must be new or empty.",
      proseWidth(look),
    ),
    `  ${command}`,
  ];
}

function formatCommands(commands: readonly (readonly [command: string, does: string])[]): string[] {
  const column = Math.max(...commands.map(([command]) => command.length)) + 3;
  return commands.map(([command, does]) => `  ${padEnd(command, column)}${does}`);
}

export function formatImport(summary: ImportSummary, look: Look): string[] {
  const { imported, skipped, added, file, to, others, seconds } = summary;
  const there = skipped === 0 ? "" : `; ${plural(skipped, "restore point")} there already`;
  const head =
    imported.length === 0
      ? `nothing new in ${file} for ${to}${there}`
      : `imported ${plural(imported.length, "restore point")} from ${file} into ${to} in ${formatSeconds(seconds)}${there}`;
  const mark = summary.failed.length === 0 ? `${look.paint("green", "✓")} ` : "";
  return [
    `${mark}${head}`,
    ...imported.map(({ point, takenAt }) => `  ${look.paint("bold", shortId(point))}  ${formatUtc(takenAt)}`),
    ...(imported.length === 0
      ? []
      : [`  added ${formatBytes(added.bytes)}${added.packs === 0 ? "" : ` in ${plural(added.packs, "pack")}`}`]),
    ...(others === 0 ? [] : [`  ${plural(others, "point")} of another installation: 'chatkeep list --all' shows them`]),
  ];
}

export function formatNotImported({ failed }: ImportSummary, look: Look): string[] {
  return [
    ...failed.map(({ message }) => `${look.paint("red", "error:")} ${message}`),
    "hint: The other points were imported. Bring the file over once more, and compare its SHA-256.",
  ];
}
