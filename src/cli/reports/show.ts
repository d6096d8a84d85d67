import { formatBytes, formatCount, plural } from "../../base/bytes.ts";
import { shortId } from "../../base/ids.ts";
import type { ShowSummary } from "../../job/summaries.ts";
import { missingList } from "../../point/layout.ts";
import {
  type CodeEntry,
  countMissing,
  type KeyProofEntry,
  type MissingBlob,
  type ServiceEntry,
} from "../../point/manifest.ts";
import { formatFindings } from "../findings.ts";
import type { Look } from "../look.ts";
import { formatPairs, formatTable } from "../table.ts";
import { formatAge, formatUtc } from "../when.ts";
import { describeRecovery, formatChecks, withoutFiles } from "./drill.ts";
import { momentPairs } from "./moment.ts";

/** More than this many are counted, not named; the manifest, or the lists beside it, name them all. */
const NAMED = 10;

export function formatShow(summary: ShowSummary, look: Look): string[] {
  const { line, manifest } = summary;
  return [
    `restore point ${look.paint("bold", shortId(line.point))} of ${manifest.installation.name}, ${formatUtc(line.takenAt)}, ${formatAge(line.takenAt, look.nowMs)}`,
    ...formatPairs(origin(summary, look), look, "  "),
    "",
    "holds",
    ...formatPairs(contents(summary), look, "  "),
    ...largest(summary, look),
    ...missing(manifest.storage, look),
    "",
    ...proof(summary, look),
    ...(manifest.findings.length === 0
      ? []
      : ["", "findings when it was taken", ...formatFindings(manifest.findings, look)]),
    ...(line.shrunk === null
      ? []
      : [
          line.shrunk === "awaiting"
            ? "nobody has acknowledged that accounts shrank"
            : "that accounts shrank is acknowledged",
        ]),
  ];
}

type Pairs = [string, string][];

function origin({ line, manifest, moment }: ShowSummary, look: Look): Pairs {
  const { chatwoot, server } = manifest;
  const extensions = server.extensions.map(({ name, version }) => `${name} ${version}`).join(", ");
  return [
    ["name", line.point],
    ...momentPairs(moment, look),
    ["chatwoot", [chatwoot.version ?? "version unknown", chatwoot.edition, chatwoot.commit].filter(Boolean).join(", ")],
    ...(chatwoot.image === undefined
      ? []
      : ([["image", `${chatwoot.image.name}, ${chatwoot.image.digest ?? chatwoot.image.id}`]] as Pairs)),
    [
      "postgresql",
      `${server.version}, database '${server.database}'${extensions === "" ? "" : `, with ${extensions}`}`,
    ],
    [
      "made by",
      `${manifest.program}, ${manifest.parent === null ? "with no point before it" : `upon ${shortId(manifest.parent)}`}`,
    ],
    ...(line.notWhole ? ([["whole", "no: 'repair packs' found something lacking that no pack has"]] as Pairs) : []),
    ...(line.lacksRows ? ([["rows", "not all: some could not be read by the server, see the findings"]] as Pairs) : []),
    ...(line.tags.length === 0 ? [] : ([["tags", line.tags.join(", ")]] as Pairs)),
    ...(line.holds.length === 0 ? [] : ([["held", line.holds.join(", ")]] as Pairs)),
  ];
}

function contents({ manifest }: ShowSummary): Pairs {
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0);
  const bytes = manifest.tables.reduce((sum, table) => sum + table.bytes, 0);
  return [
    [
      "database",
      `${plural(rows, "row")} in ${plural(manifest.tables.length, "table")}, ${formatBytes(bytes)}; ${plural(manifest.sequences.length, "sequence")}`,
    ],
    ...(manifest.largeObjects === undefined
      ? []
      : ([["", plural(manifest.largeObjects.objects, "large object")]] as Pairs)),
    ...manifest.storage.map((service): [string, string] => [
      "files",
      `${plural(service.blobs, "uploaded file")}, ${formatBytes(service.bytes)}, of storage service '${service.name}'${service.withoutChecksum > 0 ? `; ${formatCount(service.withoutChecksum)} without a checksum` : ""}`,
    ]),
    ["config", plural(manifest.config.files, "file")],
    ["code", code(manifest.code)],
    ["keys", keys(manifest.keyProof)],
  ];
}

function code(entry: CodeEntry): string {
  if (entry.kind === "none") return "none";
  const files = plural(entry.files, "file");
  if (entry.kind === "files") return files;
  const state = entry.isDirty ? "with uncommitted changes" : "clean";
  return `git ${entry.branch ?? "without a branch"} at ${(entry.head ?? "?").slice(0, 12)}, ${state}; ${files}`;
}

function opens(ok: boolean | null): string {
  return ok === null ? "nothing to try" : ok ? "✓ open" : "✗ do not open";
}

function keys({ encryption, secretKeyBase }: KeyProofEntry): string {
  return `encryption keys: ${opens(encryption)}; SECRET_KEY_BASE: ${opens(secretKeyBase)}`;
}

function largest({ manifest }: ShowSummary, look: Look): string[] {
  const tables = manifest.tables
    .toSorted((a, b) => b.bytes - a.bytes)
    .slice(0, 5)
    .filter((table) => table.rows > 0);
  if (tables.length === 0) return [];
  return [
    "",
    ...formatTable(
      [
        { title: "largest tables", cell: (table) => table.name },
        { title: "rows", cell: (table) => formatCount(table.rows), align: "right" },
        { title: "size", cell: (table) => formatBytes(table.bytes), align: "right" },
      ],
      tables,
      look,
    ).map((text) => `  ${text}`),
  ];
}

function missing(storage: readonly ServiceEntry[], look: Look): string[] {
  const blobs = storage.flatMap((service) => service.missing);
  const count = storage.reduce((sum, service) => sum + countMissing(service).blobs, 0);
  if (count === 0) return [];
  const rest = count - Math.min(blobs.length, NAMED);
  const listed = storage.filter(({ missingInAll }) => missingInAll !== undefined).map(({ name }) => missingList(name));
  return [
    "",
    `${plural(count, "uploaded file is", "uploaded files are")} not as the database describes them`,
    ...formatTable(
      [
        { title: "blob", cell: ({ id }: MissingBlob) => id, align: "right" },
        { title: "what", cell: ({ reason }: MissingBlob) => reason },
        { title: "size", cell: ({ bytes }: MissingBlob) => formatBytes(bytes), align: "right" },
        { title: "since", cell: ({ since }: MissingBlob) => formatUtc(since), leaveOut: 1 },
        { title: "name", cell: ({ filename }: MissingBlob) => filename },
      ],
      blobs.slice(0, NAMED),
      look,
    ).map((text) => `  ${text}`),
    ...(rest > 0 ? [`  and ${formatCount(rest)} more: chatkeep dump POINT ${listed[0] ?? "manifest.json"}`] : []),
    ...listed.slice(1).map((path) => `  and: chatkeep dump POINT ${path}`),
  ];
}

function proof({ proof: found, line }: ShowSummary, look: Look): string[] {
  if (found === null) return [`not proven yet: chatkeep drill ${shortId(line.point)}`];
  const head = found.proven ? look.paint("green", "✓ proven") : look.paint("red", "✗ the last drill failed");
  return [
    `${head} ${formatAge(found.at, look.nowMs)}, ${formatUtc(found.at)}, on ${found.server}${found.proven ? withoutFiles(line.lost ?? 0) : ""}`,
    ...formatChecks(found.checks, look),
    ...(found.recovery === null ? [] : ["", `  ${describeRecovery(found.recovery)}`]),
  ];
}
