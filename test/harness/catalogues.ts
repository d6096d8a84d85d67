/** The tables and columns of Chatwoot's releases, as PostgreSQL's catalogue has them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readCatalogue } from "../../src/demo/catalogue.ts";

export interface CatalogueTable {
  schema: string;
  name: string;
  columns: { name: string; type: string; isNullable: boolean }[];
}

/** Chatwoot 4.15.1. */
export function chatwoot4(): CatalogueTable[] {
  return [...readCatalogue().tables].map(([name, columns]) => ({
    schema: "public",
    name,
    columns: columns.map((column) => ({ name: column.name, type: column.type, isNullable: !column.isRequired })),
  }));
}

/** Chatwoot 3.16.0. */
export function chatwoot3(): CatalogueTable[] {
  const text = readFileSync(join(import.meta.dirname, "../fixtures/chatwoot-3.16.0-columns.txt"), "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [name = "", list = ""] = line.split(": ");
      const columns = list.split(", ").map((entry) => {
        const [column = "", ...type] = entry.replace(/!$/, "").split(" ");
        return { name: column, type: type.join(" "), isNullable: !entry.endsWith("!") };
      });
      return { schema: "public", name, columns };
    });
}
