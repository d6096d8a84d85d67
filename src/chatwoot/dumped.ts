/** Whether a dump holds a Chatwoot whole: of several databases which one, or why none will do. Pure. */
import { listSome, plural } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { REQUIRED_TABLES } from "./database.ts";

interface DumpedTable {
  isCreated: boolean;
  rows: number | undefined;
  isBare: boolean;
}

export interface DumpedTables {
  name: string | undefined;
  tables: ReadonlyMap<string, DumpedTable>;
  /** Its rows are INSERTs: an empty table leaves no trace then. */
  isByInserts: boolean;
}

/** From what says least of what somebody meant to import to what says most. */
const ORDER = ["empty", "other", "rows-only", "schema-only", "tables-lacking", "rows-lacking", "good"] as const;

interface Verdict {
  kind: (typeof ORDER)[number];
  /** Tables. */
  names: string[];
}

function verdictOf({ tables, isByInserts }: DumpedTables): Verdict {
  const created = [...tables].filter(([, table]) => table.isCreated);
  const filled = [...tables].filter(([, table]) => table.rows !== undefined);
  const missing = REQUIRED_TABLES.filter((name) => tables.get(name)?.isCreated !== true);
  if (created.length === 0) return { kind: filled.length > 0 ? "rows-only" : "empty", names: [] };
  // What nearly every Rails application with uploads has says nothing.
  const isOthers = !["accounts", "conversations", "inboxes", "messages"].some((name) => tables.has(name));
  if (missing.length > 0) return { kind: isOthers || missing.length > 7 ? "other" : "tables-lacking", names: missing };
  if (filled.length === 0) return { kind: "schema-only", names: [] };
  const lacking = isByInserts ? [] : REQUIRED_TABLES.filter((name) => isWithoutRows(tables.get(name)));
  return lacking.length > 0 ? { kind: "rows-lacking", names: lacking } : { kind: "good", names: [] };
}

/** pg_dump writes a COPY for every table, also for one that is empty. */
function isWithoutRows(table: DumpedTable | undefined): boolean {
  return table !== undefined && table.isCreated && !table.isBare && table.rows === undefined;
}

function accountsOf({ tables }: DumpedTables): number {
  return tables.get("accounts")?.rows ?? 0;
}

/** The application's own name for its database. */
const USUAL = "chatwoot_production";

/**
 * The database that holds the Chatwoot; of several the one with accounts.
 * @throws Failure `dump/unsuitable`.
 */
export function chooseDumped<Database extends DumpedTables>(databases: readonly Database[], file: string): Database {
  const judged = databases.map((database) => ({ database, verdict: verdictOf(database) }));
  const good = judged.filter(({ verdict }) => verdict.kind === "good").map(({ database }) => database);
  const withAccounts = good.filter((database) => accountsOf(database) > 0);
  const [first, second] = withAccounts.length > 0 ? withAccounts : good;
  if (first !== undefined && second === undefined) return first;
  const usual = withAccounts.find(({ name }) => name === USUAL);
  if (usual !== undefined) return usual;
  if (first !== undefined) {
    throw new Failure(
      "dump/unsuitable",
      `'${file}' holds ${plural(withAccounts.length, "Chatwoot")}: the databases ${listSome(withAccounts.map(({ name }) => name ?? ""))}`,
      {
        hint: "Load it into a server, dump the one that is meant by itself, and import that.",
      },
    );
  }
  const best = judged.toSorted((a, b) => ORDER.indexOf(b.verdict.kind) - ORDER.indexOf(a.verdict.kind))[0];
  throw refusal(best?.verdict ?? { kind: "empty", names: [] }, file, best?.database.name);
}

function refusal({ kind, names }: Verdict, file: string, database: string | undefined): Failure {
  const of = database === undefined ? "" : ` of the database '${database}'`;
  const [why, hint] = {
    empty: [
      `holds no tables${of}`,
      "Compose makes an empty database 'chatwoot' beside the one that Chatwoot uses, which is 'chatwoot_production' unless POSTGRES_DATABASE or DATABASE_URL says otherwise: is there a dump of that one?",
    ],
    other: [
      `is not a Chatwoot's: it lacks ${plural(names.length, "table")} that every Chatwoot has, such as '${names[0] ?? ""}'`,
      "Name a dump of the database that Chatwoot uses: POSTGRES_DATABASE or DATABASE_URL in its environment.",
    ],
    "rows-only": [
      "has rows without tables (pg_dump --data-only)",
      "Loaded into tables that are there, with their triggers, such rows get other numbers and may be lost silently. Only a dump of everything can be imported.",
    ],
    "schema-only": [
      "has tables without any rows (pg_dump --schema-only)",
      "Only a dump of everything can be imported.",
    ],
    "tables-lacking": [
      `lacks ${plural(names.length, "table")} of Chatwoot's: ${listSome(names)} (pg_dump --table or --exclude-table)`,
      "What refers to them could not be brought back. Only a dump of everything can be imported.",
    ],
    "rows-lacking": [
      `has no rows of ${listSome(names)} (pg_dump --exclude-table-data)`,
      "Chatwoot cannot run without them. Only a dump of everything can be imported.",
    ],
    good: ["", ""],
  }[kind] as [string, string];
  return new Failure("dump/unsuitable", `'${file}' ${why}`, { hint });
}

/** Other tables whose rows the dump was made without. */
export function lackingRows({ tables, isByInserts }: DumpedTables): Finding[] {
  const names = isByInserts ? [] : [...tables].filter(([, table]) => isWithoutRows(table)).map(([name]) => name);
  if (names.length === 0) return [];
  return [
    {
      kind: "dump-without-rows",
      level: "alarm",
      message: `the dump was made without the rows of ${listSome(names)}`,
      hint: "They are not in the restore point either. Where that was not meant, look at the pg_dump command for --exclude-table-data.",
      names,
    },
  ];
}
