/** A schema said in the words of another major is the same schema, and what really differs is named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compareSchemas, countObjects, parseSchemaObjects } from "../../src/postgres/schema-objects.ts";

function entry(type: string, name: string, sql: string): string {
  return `--\n-- Name: ${name}; Type: ${type}; Schema: public; Owner: -\n--\n\n${sql}\n\n\n`;
}

const HEAD = "--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n\n";
const TABLE = `CREATE TABLE public.users (
    id bigint NOT NULL,
    name text DEFAULT 'a  b'::text
);`;
const OLDER = [
  HEAD,
  "--\n-- Name: public; Type: SCHEMA; Schema: -; Owner: -\n--\n\nCREATE SCHEMA public;\n\n\n",
  entry("TYPE", "span", "CREATE TYPE public.span AS RANGE (\n    subtype = integer\n);"),
  entry(
    "FUNCTION",
    "shout()",
    "CREATE FUNCTION public.shout() RETURNS text\n    LANGUAGE sql\n    AS $$ select 'x' $$;",
  ),
  `${entry("VIEW", "named", "CREATE VIEW public.named AS\n SELECT users.id,\n    users.name\n   FROM public.users\n  WHERE (users.name IS NOT NULL);").trimEnd()}\n\n\nSET default_tablespace = '';\n\n`,
  entry("TABLE", "users", TABLE),
  entry("INDEX", "by_name", "CREATE INDEX by_name ON public.users USING btree (name);"),
  entry(
    "TRIGGER",
    "users shout",
    "CREATE TRIGGER shout BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.shout();",
  ),
  "--\n-- PostgreSQL database dump complete\n--\n",
].join("");

const NEWER = OLDER.replace("CREATE SCHEMA public;", "-- *not* creating schema, since initdb creates it")
  .replace("subtype = integer\n", "subtype = integer,\n    multirange_type_name = public.span_multirange\n")
  .replace(/SELECT users\.id,\s+users\.name\s+FROM/, "SELECT id,\n    name\n   FROM")
  .replace("(users.name IS NOT NULL)", "(name IS NOT NULL)")
  .replace("id bigint NOT NULL", "id bigint CONSTRAINT users_id_nn NOT NULL")
  .replace("SET default_tablespace = '';", "SET default_tablespace = '';\n\nSET default_table_access_method = heap;")
  .replace("SET statement_timeout = 0;", "SET statement_timeout = 0;\nSET transaction_timeout = 0;");

test("the words of another major are the same objects", () => {
  assert.notEqual(OLDER, NEWER);
  const [older, newer] = [parseSchemaObjects(OLDER), parseSchemaObjects(NEWER)];
  assert.deepEqual(
    older.map(({ type, name }) => `${type} ${name}`),
    ["TYPE span", "FUNCTION shout()", "VIEW named", "TABLE users", "INDEX by_name", "TRIGGER users shout"],
  );
  assert.deepEqual(compareSchemas(older, newer), []);
  assert.equal(countObjects(older), "1 table, 1 index, 1 trigger, 1 function, 1 view, 1 other object");
});

test("what is lacking, added or another thing is named", () => {
  const changes: [text: string, how: string][] = [
    [OLDER.replace("name text", "name varchar"), "TABLE public.users different"],
    [OLDER.replace("'a  b'", "'a b'"), "TABLE public.users different"],
    [OLDER.replace("btree (name)", "btree (id)"), "INDEX public.by_name different"],
    [OLDER.replace("users.name IS NOT NULL", "users.name IS NULL"), "VIEW public.named different"],
    [OLDER.replace("BEFORE INSERT", "AFTER INSERT"), "TRIGGER public.users shout different"],
    [OLDER.replace(/--\n-- Name: by_name[^]*?(?=--\n-- Name)/, ""), "INDEX public.by_name lacking"],
    [OLDER.replace("$$ select 'x' $$", "$$ select 'y' $$"), "FUNCTION public.shout() different"],
  ];
  for (const [text, how] of changes) {
    const differences = compareSchemas(parseSchemaObjects(OLDER), parseSchemaObjects(text));
    assert.deepEqual(
      differences.map((difference) => `${difference.object} ${difference.how}`),
      [how],
    );
  }
  const one = parseSchemaObjects(OLDER);
  assert.deepEqual(
    compareSchemas(one, [...one, ...parseSchemaObjects(entry("TABLE", "more", "CREATE TABLE more ();"))]),
    [{ object: "TABLE public.more", how: "added" }],
  );
});
