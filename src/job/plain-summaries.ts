/** What `import --database` and `export --plain` answer. */
import type { Finding } from "../base/findings.ts";
import type { ImportedEntry } from "../point/manifest.ts";
import type { CopyOutcome } from "./summaries.ts";

/** A restore point made of a dump. */
export interface DumpImportSummary {
  type: "summary";
  verb: "import";
  point: string;
  /** When the dump was made. */
  takenAt: string;
  to: string;
  /** What it was made of. */
  imported: ImportedEntry;
  /** Further databases in the dump, which were not imported. */
  others: string[];
  /** What the dump was loaded into. */
  server: string;
  database: { tables: number; rows: number };
  storage: { blobs: number; bytes: number; missing: number };
  added: { bytes: number; packs: number };
  /** The other repositories, after it. */
  copies: CopyOutcome[];
  seconds: number;
  findings: Finding[];
}

/** A point as plain files: what Chatwoot's own way of restoring takes. */
export interface PlainExportSummary {
  type: "summary";
  verb: "export";
  point: string;
  takenAt: string;
  installation: string;
  repository: string;
  folder: string;
  /** Major version of the PostgreSQL whose pg_restore reads the dump, it or a newer one. */
  major: number;
  database: { tables: number; rows: number; bytes: number };
  storage: { files: number; bytes: number };
  hasEnvironment: boolean;
  hasCode: boolean;
  seconds: number;
  findings: Finding[];
}
