/**
 * What PostgreSQL's catalogue says of a Chatwoot 4.15.1 database (assets/chatwoot-4.15.1): tables, columns,
 * indexes, sequences and migrations. The files are facts, tab-separated, one header line each.
 */
import { assert } from "../base/errors.ts";
import { readPart } from "../system/own-parts.ts";

export interface ColumnFact {
  name: string;
  type: string;
  isRequired: boolean;
  default: string | undefined;
}

export interface IndexFact {
  table: string;
  name: string;
  isPrimary: boolean;
  isUnique: boolean;
  /** Columns or expression, as the catalogue shows them. */
  on: string;
  definition: string;
}

export interface SequenceFact {
  name: string;
  type: string;
  /** `table.column` */
  ownedBy: string;
}

export interface Catalogue {
  version: string;
  /** In the order of their names. */
  tables: ReadonlyMap<string, readonly ColumnFact[]>;
  indexes: readonly IndexFact[];
  sequences: readonly SequenceFact[];
  migrations: readonly string[];
}

const VERSION = "4.15.1";

function readLines(name: string): string[] {
  return readPart(`assets/chatwoot-${VERSION}/${name}`)
    .split("\n")
    .filter((line) => line !== "");
}

function readTable(name: string): string[][] {
  return readLines(name)
    .slice(1)
    .map((line) => line.split("\t"));
}

/** Reads the facts of the release that the demo is shaped as. */
export function readCatalogue(): Catalogue {
  const tables = new Map<string, ColumnFact[]>();
  for (const [table = "", , name = "", type = "", required, value] of readTable("columns.tsv")) {
    const columns = tables.get(table) ?? [];
    tables.set(table, columns);
    columns.push({ name, type, isRequired: required === "t", default: value === "" ? undefined : value });
  }
  const indexes = readTable("indexes.tsv").map(
    ([table = "", name = "", unique, primary, , on = "", , definition = ""]) => ({
      table,
      name,
      on,
      definition,
      isUnique: unique === "t",
      isPrimary: primary === "t",
    }),
  );
  const sequences = readTable("sequences.tsv").map(([name = "", type = "", ownedBy = ""]) => ({ name, type, ownedBy }));
  assert(tables.size > 0 && indexes.length > 0, "the catalogue of Chatwoot is empty");
  return { version: VERSION, tables, indexes, sequences, migrations: readLines("migrations.txt") };
}
