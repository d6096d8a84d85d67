/**
 * A schema as the objects in it, read from the text that pg_dump writes. Two majors of server or client say the same
 * schema in other words: then the texts cannot be equal, but every object must be there, and say the same in plain words.
 */

import { plural } from "../base/bytes.ts";

export interface SchemaObject {
  /** As pg_dump names it: `TABLE`, `INDEX`, `FUNCTION` … */
  type: string;
  schema: string;
  /** As pg_dump names it: a trigger's and a constraint's begins with their table. */
  name: string;
  /** What makes it, without what differs between majors. */
  definition: string;
}

const HEADER = /^--\n-- Name: (.*); Type: ([A-Z][A-Z ]*); Schema: (.*?); Owner: .*\n--\n/gm;

/** Every object of a schema's text, in its order. Pure. */
export function parseSchemaObjects(sql: string): SchemaObject[] {
  const heads = [...sql.matchAll(HEADER)];
  return heads
    .map(([head, name = "", type = "", schema = ""], at) => {
      const start = (heads[at]?.index ?? 0) + head.length;
      const text = sql.slice(start, heads[at + 1]?.index ?? sql.length);
      return { type, schema, name, definition: plainWords(type, text) };
    })
    .filter((object) => !isOfServer(object));
}

/** What each server makes by itself, and says in its own words. */
function isOfServer({ type, schema, name }: SchemaObject): boolean {
  if (type === "COMMENT") return name.startsWith("EXTENSION ") || name === "SCHEMA public";
  return (type === "SCHEMA" && name === "public") || (type === "ACL" && schema === "-");
}

/** Of these the server writes the text anew from what it has read: each major in its own way. */
const REWRITTEN = new Set(["VIEW", "MATERIALIZED VIEW", "RULE"]);

function plainWords(type: string, text: string): string {
  let plain = text
    // Settings of the session for what comes next.
    .replace(/(?:\n*^SET \w+ = .*;$)+\s*$/m, "")
    .replace(/\n--\n-- PostgreSQL database dump complete\n--\n?/, "");
  if (type === "TABLE") plain = plain.replaceAll(/CONSTRAINT (?:"[^"]*"|\w+) NOT NULL/g, "NOT NULL");
  // Since 14 every range type has its multirange.
  if (type === "TYPE") plain = plain.replace(/,?\s*multirange_type_name = \S+/, "");
  if (REWRITTEN.has(type) || /\bBEGIN ATOMIC\b/.test(plain)) {
    plain = plain.replaceAll(/(?:"[^"]*"|\b\w+)\.(?=["\w])/g, "").replaceAll(/[()\s]+/g, " ");
  }
  return plain.trim();
}

export interface SchemaDifference {
  /** `TABLE public.users`. */
  object: string;
  how: "lacking" | "added" | "different";
}

/** What is not the same in two schemas. Pure. */
export function compareSchemas(expected: readonly SchemaObject[], found: readonly SchemaObject[]): SchemaDifference[] {
  const [before, after] = [byObject(expected), byObject(found)];
  const differences: SchemaDifference[] = [];
  for (const [object, definitions] of before) {
    const own = after.get(object);
    if (own === undefined) differences.push({ object, how: "lacking" });
    else if (own.join("\n") !== definitions.join("\n")) differences.push({ object, how: "different" });
  }
  for (const object of after.keys()) if (!before.has(object)) differences.push({ object, how: "added" });
  return differences;
}

function byObject(objects: readonly SchemaObject[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { type, schema, name, definition } of objects) {
    const key = `${type} ${schema === "-" ? "" : `${schema}.`}${name}`;
    found.set(key, [...(found.get(key) ?? []), definition].toSorted());
  }
  return found;
}

/** `143 tables, 402 indexes …`: what was compared, the kinds that people know first. */
export function countObjects(objects: readonly SchemaObject[]): string {
  const kinds = [
    ["table", /^TABLE$/],
    ["index", /^INDEX$/],
    ["constraint", /CONSTRAINT$/],
    ["trigger", /TRIGGER$/],
    ["function", /^(?:FUNCTION|PROCEDURE|AGGREGATE)$/],
    ["sequence", /^SEQUENCE$/],
    ["view", /VIEW$/],
  ] as const;
  const counted = kinds.map(([kind, match]) => ({
    kind,
    count: objects.filter(({ type }) => match.test(type)).length,
  }));
  const rest = objects.length - counted.reduce((sum, { count }) => sum + count, 0);
  return [...counted, { kind: "other object", count: rest }]
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => plural(count, kind, kind === "index" ? "indexes" : `${kind}s`))
    .join(", ");
}
