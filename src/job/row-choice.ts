/** Which rows of a point a restore brings back: all of them, those of some tables, or none. */
import { plural } from "../base/bytes.ts";
import { Failure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import { nearNames } from "../base/near.ts";
import type { Manifest, TableEntry } from "../point/manifest.ts";
import type { Archive } from "../postgres/archive.ts";
import { foreignKeysWithoutRows, fromArchiveText, partitionsOf } from "../postgres/archive-list.ts";

export type RowChoice =
  | { kind: "all" }
  | { kind: "none" }
  /** As they were given: `messages`, or with the schema in front. */
  | { kind: "tables"; names: readonly string[] };

export const ALL_ROWS: RowChoice = { kind: "all" };

export interface ChosenRows {
  tables: readonly TableEntry[];
  /** False: tables, sequences and views are as a new installation has them, but for the rows of some. */
  isWhole: boolean;
  /** Entries of the schema that would not fit rows of some tables alone. */
  leaveOut: ReadonlySet<number>;
  findings: Finding[];
}

/** @throws Failure `usage/invalid` for a table that the point does not have, with those that may be meant. */
export async function chooseRows(
  choice: RowChoice,
  manifest: Manifest,
  archive: () => Promise<Archive>,
): Promise<ChosenRows> {
  if (choice.kind === "all") return { tables: manifest.tables, isWhole: true, leaveOut: new Set(), findings: [] };
  if (choice.kind === "none") return { tables: [], isWhole: false, leaveOut: new Set(), findings: [] };
  const schema = await archive();
  const tables = new Set(choice.names.flatMap((name) => findTables(name, manifest, schema)));
  const keys = foreignKeysWithoutRows(schema, [...tables]);
  return {
    tables: manifest.tables.filter((table) => tables.has(table)),
    isWhole: false,
    leaveOut: new Set(keys.map(({ id }) => id)),
    findings: keys.length === 0 ? [] : [keysLeftOut(keys.map(({ tag }) => fromArchiveText(tag)))],
  };
}

function keysLeftOut(names: readonly string[]): Finding {
  const shown = names.slice(0, 5).map((name) => name.split(" ").at(-1) ?? name);
  return {
    kind: "foreign-keys-left-out",
    level: "note",
    message: `${plural(names.length, "foreign key")} to tables without rows ${names.length === 1 ? "is" : "are"} left out: ${shown.join(", ")}${names.length > 5 ? "; …" : ""}`,
    hint: "Name those tables with --table too, to have the foreign keys.",
  };
}

function findTables(name: string, manifest: Manifest, archive: Archive): TableEntry[] {
  const { tables } = manifest;
  const parts = name.includes(".") ? [name.slice(0, name.indexOf(".")), name.slice(name.indexOf(".") + 1)] : [];
  const [schema = "public", bare = name] = parts;
  const exact = tables.find((table) => table.schema === schema && table.name === bare);
  if (exact !== undefined) return [exact];
  const below = partitionsOf(archive, { schema, name: bare });
  const partitions = tables.filter((table) =>
    below.some((part) => part.schema === table.schema && part.name === table.name),
  );
  if (partitions.length > 0) return partitions;
  const named = tables.filter((table) => table.name === name);
  const [only] = named;
  if (only !== undefined && named.length === 1) return [only];
  const known = (named.length > 1 ? named : tables).map((table) => `${table.schema}.${table.name}`);
  const near = named.length > 1 ? known : nearTables(name, tables);
  throw new Failure(
    "usage/invalid",
    named.length > 1 ? `'${name}' is in several schemas` : `the restore point has no table '${name}'`,
    {
      hint: `${near.length === 0 ? "" : `Is it ${near.join(" or ")}? `}'chatkeep ls POINT database/data' shows the tables, each with its schema in front.`,
    },
  );
}

function nearTables(name: string, tables: readonly TableEntry[]): string[] {
  const bare = nearNames(
    name,
    tables.map((table) => table.name),
  );
  if (bare.length > 0) return bare;
  return nearNames(
    name,
    tables.map((table) => `${table.schema}.${table.name}`),
  );
}
