/** Names and texts as SQL writes them. */

/** `a"b` → `"a""b"`. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `it's` → `'it''s'`; right for every session of ours, as all have `standard_conforming_strings` on. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** `"schema"."name"`. */
export function qualifiedName({ schema, name }: { schema: string; name: string }): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/** `schema.name` for people. */
export function shownName({ schema, name }: { schema: string; name: string }): string {
  return `${schema}.${name}`;
}
